"""Classify video files with a trained run.

Videos are decoded, sampled and resized in the same way as the clips of the run, then scored for the texts of the run.
`kinetext classify` prints the result or writes it as CSV. The model in MLflow returns it as a table.

K classes or captions, T frames, C channels, H, W pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from kinetext.backbones.text_table import read_texts
from kinetext.config.run import read_run
from kinetext.core import distributed
from kinetext.core.escape import for_terminal, write_csv
from kinetext.core.schemas import is_used
from kinetext.core.tables import read_rows
from kinetext.data.frames import extract_clip
from kinetext.data.named_videos import Video, find_videos
from kinetext.data.views import decode_views
from kinetext.evaluation.run_files import ANSWER_COLUMNS, RunFiles, find_run_files
from kinetext.evaluation.scores import load_method, score_clips
from kinetext.methods.base import configure_method
from kinetext.video.pool import NoResult, map_with_timeout

CSV_COLUMNS = ("path", "start_s", "end_s", "rank", "label", "share", "score", "error")


class VideoClassifier:
    """A classifier that loads a run once and then classifies any number of videos."""

    def __init__(self, files: RunFiles) -> None:
        """Load the run. Raises ValueError if the method must be trained and the run has no checkpoint yet."""
        self.spec = read_run(files.run)
        self.calibration = replace(files.calibration, odds=files.multi_label)
        method, _ = configure_method(self.spec.method_module, self.spec.method_options)
        if files.checkpoint is None and method.trains and self.spec.training.epochs:
            raise ValueError(f"{files.run.parent}: {self.spec.method} is not trained yet; run `snakemake` first")
        self.frames = self.spec.frame_options
        self.device = distributed.device()
        self.method = load_method(self.spec, files.backbone, files.checkpoint, self.device, files.multi_label)
        table = read_texts(files.texts, files.labels, self.method.backbone).to(self.device)
        with torch.inference_mode():
            if files.captions:
                self.text = [self.method.encode_texts(part) for part in table.captions()]
                self.names = _captions(files)
            else:
                self.text, self.names = [self.method.encode_texts(table)], files.labels

    def scores(self, path: str | Path, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
        """Return the scores [K] of a video, or of the segment from `start_s` to `end_s`, in the order of `names`.

        Raises ValueError, with the reason, if no frame can be read.
        """
        return self._scores_of(extract_clip(_clip(Video(Path(path), start_s, end_s)), self.frames))

    def _scores_of(self, row: dict[str, Any]) -> np.ndarray:
        """Return the scores [K] of a row of the table `frames`. Raises ValueError if it has no frames."""
        if row["status"] == "failed":
            raise ValueError(row["error"])
        testing, frames_TCHW = self.spec.testing, decode_views(row["images"], self.spec)
        with torch.inference_mode():
            video = self.method.encode_video(frames_TCHW.unflatten(0, (testing.views, -1)).to(self.device))
            return score_clips(self.method, video, self.text, testing.views, testing.average)[0]

    def top_labels(
        self, path: str | Path, start_s: float | None = None, end_s: float | None = None, top: int = 5
    ) -> list[dict[str, Any]]:
        """Return the `top` labels of a video, the most likely first, as rows of ANSWER_COLUMNS.

        `score` is defined as in predictions.parquet. `share` is the probability of the label: the softmax of the scores
        over all labels, or the sigmoid of the score in a multi-label run. `calibrated` states whether the probability
        was fitted on validation clips. An unreadable video has a single row, with the error and without a label.
        """
        return self.top_labels_of(path, extract_clip(_clip(Video(Path(path), start_s, end_s)), self.frames), top)

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


def classify(
    inputs: Iterable[Path], run: Path, top: int = 5, output: Path | None = None, num_workers: int = 1
) -> tuple[int, int]:
    """Classify videos; return the number of videos and the number of unreadable ones.

    The top labels of each video are printed, or written to the CSV file `output`. If they are printed, the last line
    states whether the probabilities are calibrated. For `inputs` see `find_videos`. `num_workers` processes decode,
    each video within the time limit of the run's clips.
    """
    videos = find_videos(inputs)
    classifier = VideoClassifier(find_run_files(run))
    work, limit_s = partial(extract_clip, options=classifier.frames), classifier.frames.clip_limit_s
    frames = map_with_timeout(work, [_clip(video) for video in videos], limit_s, num_workers, preload=[__name__])
    num_unreadable = 0

    def answers() -> Iterator[list[dict[str, Any]]]:
        nonlocal num_unreadable
        hidden = True if output is None and len(videos) < 2 else None  # None: only in a terminal
        for video, row in zip(videos, tqdm(frames, "videos", len(videos), unit="video", disable=hidden), strict=True):
            rows = classifier.top_labels_of(video.path, row, top)
            num_unreadable += rows[0]["error"] is not None
            yield [answer | {"start_s": video.start_s, "end_s": video.end_s} for answer in rows]

    if output is not None:
        write_csv(output, (row for rows in answers() for row in rows), CSV_COLUMNS)
        return len(videos), num_unreadable
    for rows in answers():
        with tqdm.external_write_mode():
            print(for_terminal(str(rows[0]["path"])))
            for row in rows:
                line = row["error"] or f"{100 * row['share']:5.1f} %  {row['label']}"
                print(for_terminal(f"  {line}"))
    print(classifier.calibration.sentence())
    return len(videos), num_unreadable


def _clip(video: Video) -> dict[str, Any]:
    """Return the video as a row of the table `clips`."""
    columns = {"clip_id": str(video.path), "path": str(video.path), "error": None}
    return columns | {"start_s": video.start_s, "end_s": video.end_s}


def _captions(files: RunFiles) -> list[str]:
    """Return the captions as sentences, in the order in which `read_texts` encodes them."""
    index = {label: k for k, label in enumerate(files.labels)}
    rows = [row for row in read_rows("texts", files.texts) if is_used(row["status"]) and row["label"] in index]
    return [row["sentence"] for row in sorted(rows, key=lambda row: index[row["label"]])]
