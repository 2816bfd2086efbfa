"""Code of a logged model (MLflow's "models from code"): MLflow copies this file into each model and runs it on loading.

The predictions are made by evaluation/classify.py, so kinetext must be installed where the model is loaded.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class ServedRun(PythonModel):
    """An MLflow model that classifies video files with a run.

    The input is a table with the column `path` and optionally `start_s` and `end_s`, in seconds. The output is a table
    with the columns evaluation/run_files.ANSWER_COLUMNS and `top` rows per video.
    """

    def load_context(self, context: Any) -> None:
        """Load the files that tracking/model.py wrote.

        The backbone is read from the model or, if it is not included, from the folder where it was when the model was
        logged. If that folder is missing or has changed, the backbone is prepared again, which may download it.
        """
        from kinetext.backbones.embed import prepare_backbone
        from kinetext.config.backbone import BackboneOptions
        from kinetext.config.run import read_run
        from kinetext.evaluation.calibration import read_calibration
        from kinetext.evaluation.classify import VideoClassifier
        from kinetext.evaluation.run_files import RunFiles

        folder = Path(context.artifacts["run"])
        metadata = json.loads((folder / "parts.json").read_text())
        checkpoint = folder / "checkpoint.safetensors"
        with tempfile.TemporaryDirectory() as fetched:
            for backbone in (folder / "backbone", Path(metadata["backbone"]), Path(fetched)):
                description = backbone / "backbone.yaml"
                if description.is_file() and description.read_text() == metadata["backbone.yaml"]:
                    break
            else:
                prepare_backbone(BackboneOptions(**read_run(folder / "run.yaml").backbone_options), backbone)
            files = RunFiles(
                run=folder / "run.yaml",
                backbone=backbone,
                texts=folder / "texts.parquet",
                checkpoint=checkpoint if checkpoint.is_file() else None,
                labels=metadata["labels"],
                captions=metadata["captions"],
                multi_label=metadata.get("multi_label", False),
                calibration=read_calibration(metadata.get("calibration")),
            )
            self.classifier = VideoClassifier(files)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the most likely labels of each video, one row per label; `top` labels per video (default 5)."""
        from kinetext.evaluation.run_files import ANSWER_COLUMNS

        rows: list[dict[str, Any]] = []
        for clip in model_input.to_dict("records"):
            start_s, end_s = (None if pd.isna(clip.get(key)) else float(clip[key]) for key in ("start_s", "end_s"))
            rows += self.classifier.top_labels(clip["path"], start_s, end_s, top=(params or {}).get("top", 5))
        return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))


set_model(ServedRun())
