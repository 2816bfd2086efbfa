"""Classify video files with a trained run: decode, sample and resize them as the run's own clips, then score its texts.

`kinetext classify` prints the result; the model in MLflow returns it as a table.

K classes or captions, T frames, C channels, H, W pixels.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinetext.backbones.text_table import read_texts
from kinetext.config.run import read_run
from kinetext.core import distributed
from kinetext.core.schemas import is_used
from kinetext.core.tables import read_rows
from kinetext.data.frames import extract_clip
from kinetext.data.views import decode_views
from kinetext.evaluation.run_files import ANSWER_COLUMNS, RunFiles, find_run_files
from kinetext.evaluation.scores import load_method, score_clips
from kinetext.methods.base import configure_method


class VideoClassifier:
    """Classify videos with a run, which is loaded once."""

    def __init__(self, files: RunFiles) -> None:
        """Load the run. Raises ValueError if its method trains and has no checkpoint yet."""
        self.spec = read_run(files.run)
        method, _ = configure_method(self.spec.method_module, self.spec.method_options)
        if files.checkpoint is None and method.trains and self.spec.training.epochs:
            raise ValueError(f"{files.run.parent}: {self.spec.method} is not trained yet; run `snakemake` first")
        self.frames = self.spec.frame_options
        self.device = distributed.device()
        self.method = load_method(self.spec, files.backbone, files.checkpoint, self.device)
        table = read_texts(files.texts, files.labels, self.method.backbone).to(self.device)
        with torch.inference_mode():
            if files.captions:
                self.text = [self.method.encode_texts(part) for part in table.captions()]
                self.names = _captions(files)
            else:
                self.text, self.names = [self.method.encode_texts(table)], files.labels

    def scores(self, path: str | Path, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
        """Return the scores [K] of a video, or of a part of it, in the order of `names`.

        Raises ValueError, with the reason, if no frame can be read.
        """
        clip = {"clip_id": str(path), "path": str(path), "start_s": start_s, "end_s": end_s, "error": None}
        row = extract_clip(clip, self.frames)
        if row["status"] == "failed":
            raise ValueError(row["error"])
        images, testing = row["images"], self.spec.testing
        frames_TCHW = decode_views(images, self.spec)
        with torch.inference_mode():
            video = self.method.encode_video(frames_TCHW.unflatten(0, (testing.views, -1)).to(self.device))
            return score_clips(self.method, video, self.text, testing.views, testing.average)[0]

    def top_labels(
        self, path: str | Path, start_s: float | None = None, end_s: float | None = None, top: int = 5
    ) -> list[dict[str, Any]]:
        """Return the `top` labels of a video, the most likely first, as rows of ANSWER_COLUMNS.

        `score` is that of predictions.parquet, `share` its softmax over all labels (not calibrated). An unreadable
        video has one row without a label; it records the error.
        """
        try:
            score_K = self.scores(path, start_s, end_s)
        except ValueError as error:
            return [dict.fromkeys(ANSWER_COLUMNS) | {"path": str(path), "error": str(error)}]
        weight_K = np.exp(score_K - score_K.max())
        share_K = weight_K / weight_K.sum()
        return [
            {
                "path": str(path),
                "rank": rank,
                "label": self.names[k],
                "score": float(score_K[k]),
                "share": float(share_K[k]),
                "error": None,
            }
            for rank, k in enumerate(np.argsort(-score_K, kind="stable")[:top], 1)
        ]


def classify(videos: Iterable[Path], run: Path, top: int = 5) -> int:
    """Print the top labels of each video; return the number of unreadable videos."""
    classifier, num_unreadable = VideoClassifier(find_run_files(run)), 0
    for video in videos:
        rows = classifier.top_labels(video, top=top)
        print(video)
        for row in rows:
            num_unreadable += row["error"] is not None
            print(f"  {row['error']}" if row["error"] else f"  {100 * row['share']:5.1f} %  {row['label']}")
    return num_unreadable


def _captions(files: RunFiles) -> list[str]:
    """Return the captions as sentences, in the order in which `read_texts` encodes them."""
    index = {label: k for k, label in enumerate(files.labels)}
    rows = [row for row in read_rows("texts", files.texts) if is_used(row["status"]) and row["label"] in index]
    return [row["sentence"] for row in sorted(rows, key=lambda row: index[row["label"]])]
