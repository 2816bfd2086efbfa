"""Write the files that are logged with a run into a temporary folder: {folder}/files and {folder}/model.

Files of the run folder up to MAX_BYTES are linked, figures are drawn, and texts are written as CSV, which MLflow shows
as a table.
"""

import warnings
from pathlib import Path

from kinetext.config.report import TrackingOptions
from kinetext.core.escape import write_csv
from kinetext.core.tables import read_rows
from kinetext.tracking.content import FILES, Run
from kinetext.tracking.figures import draw_figures
from kinetext.tracking.model import link, save_model, skip_reason

MAX_BYTES = 2 << 20  # larger files are not logged
TEXT_COLUMNS = ("label", "rival", "kind", "position", "sentence", "source", "model", "status")


def write_files(run: Run, options: TrackingOptions, folder: Path) -> str:
    """Write the files of a run; return the kind of model that was written, or "none: " and the reason.

    Raises ValueError if a file cannot be read.
    """
    files = folder / "files"
    (files / "figures").mkdir(parents=True)
    predictions = run.folder / "predictions.parquet"
    for path in (*(run.folder / name for name in FILES), predictions):
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            link(path, files / path.name)
    texts = run.input_paths.get("texts")
    if texts is not None and texts.stat().st_size <= MAX_BYTES:
        write_csv(files / "texts.csv", read_rows("texts", texts), TEXT_COLUMNS)
    if predictions.is_file():
        for name, figure in draw_figures(predictions):
            figure.savefig(files / "figures" / name)
    reason = skip_reason(run.folder, options)
    if reason is not None:
        return f"none: {reason}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow asks for an input example
        save_model(run.folder, options, folder)
    return options.models
