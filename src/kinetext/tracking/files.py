"""The files that go into MLflow with a run, put together in a temporary folder: {folder}/files and {folder}/model.

What lies in the run folder goes along up to LARGEST_BYTES, figures are drawn, texts become a table that MLflow shows.
"""

import csv
import warnings
from pathlib import Path

from kinetext.config.report import TrackingOptions
from kinetext.core.tables import read_rows
from kinetext.tracking.content import FILES, Run
from kinetext.tracking.figures import draw_figures
from kinetext.tracking.model import link, save_model, why_not

LARGEST_BYTES = 2 << 20  # larger ones stay where they are
TEXT_COLUMNS = ("label", "rival", "kind", "phase", "sentence", "source", "model", "status")


def write_files(run: Run, options: TrackingOptions, folder: Path) -> str:
    """Write the files of a run; says of its model which it is, or why there is none. Raises ValueError for a file that
    cannot be read.
    """
    files = folder / "files"
    (files / "figures").mkdir(parents=True)
    predictions = run.folder / "predictions.parquet"
    for path in (*(run.folder / name for name in FILES), predictions):
        if path.is_file() and path.stat().st_size <= LARGEST_BYTES:
            link(path, files / path.name)
    texts = run.made_from.get("texts")
    if texts is not None and texts.stat().st_size <= LARGEST_BYTES:
        with (files / "texts.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, TEXT_COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(read_rows("texts", texts))
    if predictions.is_file():
        for name, figure in draw_figures(predictions):
            figure.savefig(files / "figures" / name)
    reason = why_not(run.folder, options)
    if reason is not None:
        return f"none: {reason}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would like an example to try the model on
        save_model(run.folder, options, folder)
    return options.models
