"""What a run answers for a video file: decoded, sampled and shrunk as the run's own clips were, then scored for the texts
that the run was tested with. `kinetext classify` prints it; the model in MLflow gives it as a table.

K classes or captions, T frames, C channels, H, W pixels.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinetext.backbones.text_table import read_texts
from kinetext.config.data import FrameOptions
from kinetext.config.run import read_run
from kinetext.core import distributed
from kinetext.core.tables import read_rows
from kinetext.data.frames import extract_clip
from kinetext.data.loader import cut_views, decoded, tested_frames
from kinetext.evaluation.parts import COLUMNS, Parts, find_parts
from kinetext.evaluation.predict import load_method, score_clips
from kinetext.methods import configure_method


class Answerer:
    """A run, loaded once, that answers for any number of videos."""

    def __init__(self, parts: Parts) -> None:
        """Raises ValueError where there is no checkpoint of a method that trains."""
        self.spec = read_run(parts.run)
        module, _ = configure_method(self.spec.method_module, self.spec.method_options)
        if parts.checkpoint is None and getattr(module, "TRAINS", True) and self.spec.training.epochs:
            raise ValueError(f"{parts.run.parent}: {self.spec.method} is not trained yet; run `snakemake` first")
        self.frames = FrameOptions(**self.spec.dataset_options.get("frames", {}))
        self.device = distributed.device()
        self.method = load_method(self.spec, parts.backbone, parts.checkpoint, self.device)
        table = read_texts(parts.texts, parts.labels, self.method.backbone).to(self.device)
        with torch.inference_mode():
            if parts.captions:
                self.text = [self.method.encode_texts(part) for part in table.captions()]
                self.names = _captions(parts)
            else:
                self.text, self.names = [self.method.encode_texts(table)], parts.labels

    def scores(self, path: str | Path, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
        """The scores of a video, or of a part of it, score_K, in the order of `names`.

        Raises ValueError, with the reason, for a video that has no frames to give.
        """
        clip = {"clip_id": str(path), "path": str(path), "start_s": start_s, "end_s": end_s, "error": None}
        row = extract_clip(clip, self.frames)
        if row["status"] == "failed":
            raise ValueError(row["error"])
        images, testing = row["images"], self.spec.testing
        seen = sorted(set(tested_frames(self.spec, len(images))))
        frames_TCHW = cut_views(decoded([images[i] for i in seen]), self.spec, len(images))
        with torch.inference_mode():
            video = self.method.encode_video(frames_TCHW.unflatten(0, (testing.views, -1)).to(self.device))
            return score_clips(self.method, video, self.text, testing.views, testing.average)[0]

    def answer(
        self, path: str | Path, start_s: float | None = None, end_s: float | None = None, top: int = 5
    ) -> list[dict[str, Any]]:
        """The likeliest labels first, `top` rows of COLUMNS: `score` as in predictions.parquet, `share` its softmax over all
        labels (not calibrated). A video without frames has one row, without a label, that says why.
        """
        try:
            score_K = self.scores(path, start_s, end_s)
        except ValueError as error:
            return [dict.fromkeys(COLUMNS) | {"path": str(path), "error": str(error)}]
        weight_K = np.exp(score_K - score_K.max())
        share_K = weight_K / weight_K.sum()
        order = np.argsort(-score_K, kind="stable")[:top]
        found = [(self.names[k], float(score_K[k]), float(share_K[k])) for k in order]
        return [dict(zip(COLUMNS, (str(path), n, *one, None), strict=True)) for n, one in enumerate(found, 1)]


def classify(videos: Iterable[Path], run: Path, top: int = 5) -> int:
    """Print a run's answers for videos; how many had none."""
    answerer, silent = Answerer(find_parts(run)), 0
    for video in videos:
        rows = answerer.answer(video, top=top)
        print(video)
        for row in rows:
            silent += row["error"] is not None
            print(f"  {row['error']}" if row["error"] else f"  {100 * row['share']:5.1f} %  {row['label']}")
    return silent


def _captions(parts: Parts) -> list[str]:
    """The sentences of the captions, in the order in which `read_texts` has them."""
    place = {label: k for k, label in enumerate(parts.labels)}
    rows = [row for row in read_rows("texts", parts.texts) if row["status"] == "ok" and row["label"] in place]
    return [row["sentence"] for row in sorted(rows, key=lambda row: place[row["label"]])]
