"""Cut views from test clips: temporal clips x spatial crops. The scores of all views of a clip are averaged.

V views, T frames, C channels (RGB), H, W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kinetext.config.run import RunSpec, ViewOptions
from kinetext.data.augment import crop_square
from kinetext.data.loader import ClipDataset, Key
from kinetext.data.store import FrameStore, decode_stored
from kinetext.video.sampling import view_indices


class ClipViews(ClipDataset):
    """Test clips with all their views. An item is uint8 [V x T, H, W, C].

    The views that differ only in the crop follow each other.
    """

    def __init__(self, store: FrameStore, clip_ids: Sequence[str], spec: RunSpec) -> None:
        super().__init__(store, clip_ids)
        self.views = spec.view_options

    def images(self, key: Key) -> list[memoryview]:
        """Return the encoded frames that the views of an item need, each once, in ascending order."""
        images = self.store.images(self.clip_ids[key[0]])
        return [images[i] for i in _needed(self.views, len(images))]

    def transform(self, frames_TCHW: Tensor, key: Key) -> Tensor:
        """Cut the views from the decoded frames that `images` selected."""
        return _cut_views(frames_TCHW, self.views, len(self.store.images(self.clip_ids[key[0]])))


def decode_views(images: Sequence[bytes | memoryview], views: ViewOptions) -> Tensor:
    """Return the views of one clip, uint8 [V x T, C, H, W], from all of its encoded images."""
    frames_TCHW = decode_stored([images[i] for i in _needed(views, len(images))])
    return _cut_views(frames_TCHW, views, len(images))


def _needed(views: ViewOptions, stored: int) -> list[int]:
    return sorted(set(_frame_indices(views, stored)))


def _frame_indices(views: ViewOptions, stored: int) -> list[int]:
    """Return the indices of the stored frames of the temporal clips, one temporal clip after the other."""
    clips, T = views.testing.clips, views.num_frames or stored
    return [i for clip in range(clips) for i in view_indices(views.sampling, stored, T, views.stride, clip, clips)]


def _cut_views(frames_TCHW: Tensor, views: ViewOptions, stored: int) -> Tensor:
    """Return the views, uint8 [V x T, C, S, S] with the short side S, from the frames that `_needed` lists."""
    crops = {1: [0.5], 3: [0.0, 0.5, 1.0]}[views.testing.crops]
    row_of = {index: row for row, index in enumerate(_needed(views, stored))}
    rows = [row_of[index] for index in _frame_indices(views, stored)]
    clips = frames_TCHW[rows].chunk(views.testing.clips)
    return torch.cat([crop_square(clip_TCHW, crop) for clip_TCHW in clips for crop in crops])
