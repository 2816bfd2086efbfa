"""Scores of video files: what a run, an exported model and a model in MLflow have in common.

Videos are decoded, sampled and resized in the same way as the clips of the run, then scored for its classes or
captions.

K classes or captions, V views, T frames, C channels, H, W pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinetext.backbones.text_table import TextTable
from kinetext.config.data import FrameOptions
from kinetext.config.run import ViewOptions
from kinetext.data.frames import extract_clip
from kinetext.data.named_videos import Video
from kinetext.data.views import decode_views
from kinetext.evaluation.calibration import Calibration
from kinetext.evaluation.run_files import ANSWER_COLUMNS
from kinetext.evaluation.scores import average_views, score_views
from kinetext.methods.base import Method
from kinetext.video.pool import NoResult


class Classifier:
    """A classifier of video files. A subclass sets the attributes and overrides `score_frames`."""

    frames: FrameOptions
    views: ViewOptions
    names: list[str]  # classes or captions, in the order of the scores
    calibration: Calibration

    def score_frames(self, frames_VTCHW: Tensor) -> Tensor:
        """Return the scores [V, K] of the views of a video; the frames are uint8."""
        raise NotImplementedError

    def scores(self, path: str | Path, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
        """Return the scores [K] of a video, or of the segment from `start_s` to `end_s`, in the order of `names`.

        Raises ValueError, with the reason, if no frame can be read.
        """
        return self._scores_of(extract_clip(clip_row(Video(Path(path), start_s, end_s)), self.frames))

    def _scores_of(self, row: dict[str, Any]) -> np.ndarray:
        """Return the scores [K] of a row of the table `frames`. Raises ValueError if it has no frames."""
        if row["status"] == "failed":
            raise ValueError(row["error"])
        testing, frames_TCHW = self.views.testing, decode_views(row["images"], self.views)
        with torch.inference_mode():
            scores_VK = self.score_frames(frames_TCHW.unflatten(0, (testing.views, -1)))
            return average_views(scores_VK, testing.views, testing.average).cpu().numpy()[0]

    def top_labels(
        self, path: str | Path, start_s: float | None = None, end_s: float | None = None, top: int = 5
    ) -> list[dict[str, Any]]:
        """Return the `top` labels of a video, the most likely first, as rows of ANSWER_COLUMNS.

        `score` is defined as in predictions.parquet. `share` is the probability of the label: the softmax of the scores
        over all labels, or the sigmoid of the score in a multi-label run. `calibrated` states whether the probability
        was fitted on validation clips. An unreadable video has a single row, with the error and without a label.
        """
        return self.top_labels_of(path, extract_clip(clip_row(Video(Path(path), start_s, end_s)), self.frames), top)

    def top_labels_of(self, path: str | Path, row: dict[str, Any] | NoResult, top: int) -> list[dict[str, Any]]:
        """Return the rows of `top_labels` for a row of the table `frames`, or a row with the error if there is none."""
        try:
            if isinstance(row, NoResult):
                raise ValueError(row.reason)
            score_K = self._scores_of(row)
        except ValueError as error:
            return [dict.fromkeys(ANSWER_COLUMNS) | {"path": str(path), "error": str(error)}]
        share_K = self.calibration.shares(score_K[None].astype(np.float64))[0]
        return [
            {
                "path": str(path),
                "rank": rank,
                "label": self.names[k],
                "score": float(score_K[k]),
                "share": float(share_K[k]),
                "calibrated": self.calibration.fitted,
                "error": None,
            }
            for rank, k in enumerate(np.argsort(-score_K, kind="stable")[:top], 1)
        ]


class MethodClassifier(Classifier):
    """A classifier that runs a method of this package. A subclass sets `method` and calls `encode_texts`."""

    method: Method
    device: torch.device
    text: list[Any]  # features of the classes or captions, in chunks

    def encode_texts(self, table: TextTable, captions: list[str] | None = None) -> None:
        """Set `text` and `names` from a table of classes, or of `captions`."""
        table = table.to(self.device)
        with torch.inference_mode():
            parts = [table] if captions is None else table.captions()
            self.text = [self.method.encode_texts(part) for part in parts]
        self.names = table.labels if captions is None else captions

    def score_frames(self, frames_VTCHW: Tensor) -> Tensor:
        return score_views(self.method, self.method.encode_video(frames_VTCHW.to(self.device)), self.text)


def clip_row(video: Video) -> dict[str, Any]:
    """Return the video as a row of the table `clips`."""
    columns = {"clip_id": str(video.path), "path": str(video.path), "error": None}
    return columns | {"start_s": video.start_s, "end_s": video.end_s}
