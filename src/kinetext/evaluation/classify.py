"""Classify video files with a trained run or an exported model: `kinetext classify`.

The result is printed or written as CSV. The model in MLflow returns it as a table. classifier.py computes the scores.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinetext.backbones.text_table import read_texts
from kinetext.config.run import read_run
from kinetext.core import distributed
from kinetext.core.escape import for_terminal, write_csv
from kinetext.core.schemas import is_used
from kinetext.core.tables import read_rows
from kinetext.data.frames import extract_clip
from kinetext.data.named_videos import find_videos
from kinetext.evaluation.classifier import Classifier, MethodClassifier, clip_row
from kinetext.evaluation.run_files import RunFiles, find_run_files
from kinetext.evaluation.scores import load_method
from kinetext.methods.base import configure_method
from kinetext.video.pool import map_with_timeout

CSV_COLUMNS = ("path", "start_s", "end_s", "rank", "label", "share", "score", "error")


class VideoClassifier(MethodClassifier):
    """A classifier that loads a run once and then classifies any number of videos."""

    def __init__(self, files: RunFiles) -> None:
        """Load the run. Raises ValueError if the method must be trained and the run has no checkpoint yet."""
        spec = read_run(files.run)
        self.calibration = replace(files.calibration, odds=files.multi_label)
        method, _ = configure_method(spec.method_module, spec.method_options)
        if method.reads == "frames":
            raise ValueError(
                f"{files.run.parent}: {spec.method} asks a model behind an API about clips of the data set only; take a "
                "run of another method"
            )
        if files.checkpoint is None and method.trains and spec.training.epochs:
            raise ValueError(f"{files.run.parent}: {spec.method} is not trained yet; run `snakemake` first")
        self.frames, self.views = spec.frame_options, spec.view_options
        self.device = distributed.device()
        self.method = load_method(spec, files.backbone, files.checkpoint, self.device, files.multi_label)
        table = read_texts(files.texts, files.labels, self.method.backbone)
        self.encode_texts(table, _captions(files) if files.captions else None)


def load_classifier(run: Path | None = None, model: Path | None = None) -> Classifier:
    """Load the classifier of a run folder or of an exported model. Raises ValueError unless one of the two is given."""
    if (run is None) == (model is None):
        raise ValueError("classify: give either --run, the folder of a run, or --model, an exported model")
    if model is not None:
        from kinetext.evaluation.exported import load_exported

        return load_exported(model)
    assert run is not None
    return VideoClassifier(find_run_files(run))


def classify(
    inputs: Iterable[Path],
    run: Path | None = None,
    top: int = 5,
    output: Path | None = None,
    num_workers: int = 1,
    model: Path | None = None,
) -> tuple[int, int]:
    """Classify videos with a run or an exported model; return the number of videos and of unreadable ones.

    The top labels of each video are printed, or written to the CSV file `output`. If they are printed, the last line
    states whether the probabilities are calibrated. For `inputs` see `find_videos`. `num_workers` processes decode,
    each video within the time limit of the run's clips.
    """
    videos = find_videos(inputs)
    classifier = load_classifier(run, model)
    work, limit_s = partial(extract_clip, options=classifier.frames), classifier.frames.clip_limit_s
    frames = map_with_timeout(work, [clip_row(video) for video in videos], limit_s, num_workers, preload=[__name__])
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


def _captions(files: RunFiles) -> list[str]:
    """Return the captions as sentences, in the order in which `read_texts` encodes them."""
    index = {label: k for k, label in enumerate(files.labels)}
    rows = [row for row in read_rows("texts", files.texts) if is_used(row["status"]) and row["label"] in index]
    return [row["sentence"] for row in sorted(rows, key=lambda row: index[row["label"]])]
