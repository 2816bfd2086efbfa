"""The code of the model that MLflow keeps (its "models from code"): a copy of this file lies beside each model, and
`mlflow.pyfunc.load_model` runs it. What it does is evaluation/classify.py; kinetext must be installed where it is loaded.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Served(PythonModel):
    """A run that answers for video files: a table with a column `path` (and start_s, end_s, if need be) in, the table of
    evaluation/run_files.ANSWER_COLUMNS out, `top` rows a video.
    """

    def load_context(self, context: Any) -> None:
        """Load the parts that tracking/model.py put together. The backbone is in the model, or where it was when the model
        was logged, or is fetched again.
        """
        from kinetext.backbones.embed import prepare_backbone
        from kinetext.config.backbone import BackboneOptions
        from kinetext.config.run import read_run
        from kinetext.evaluation.classify import VideoClassifier
        from kinetext.evaluation.run_files import RunFiles

        folder = Path(context.artifacts["run"])
        about = json.loads((folder / "parts.json").read_text())
        checkpoint = folder / "checkpoint.safetensors"
        with tempfile.TemporaryDirectory() as fetched:
            for backbone in (folder / "backbone", Path(about["backbone"]), Path(fetched)):
                described = backbone / "backbone.yaml"
                if described.is_file() and described.read_text() == about["backbone.yaml"]:
                    break
            else:
                prepare_backbone(BackboneOptions(**read_run(folder / "run.yaml").backbone_options), backbone)
            files = RunFiles(
                folder / "run.yaml",
                backbone,
                folder / "texts.parquet",
                checkpoint if checkpoint.is_file() else None,
                about["labels"],
                about["captions"],
            )
            self.classifier = VideoClassifier(files)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The likeliest labels of each video."""
        from kinetext.evaluation.run_files import ANSWER_COLUMNS

        rows: list[dict[str, Any]] = []
        for clip in model_input.to_dict("records"):
            start_s, end_s = (None if pd.isna(clip.get(key)) else float(clip[key]) for key in ("start_s", "end_s"))
            rows += self.classifier.top_labels(clip["path"], start_s, end_s, top=(params or {}).get("top", 5))
        return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))


set_model(Served())
