"""A model logged to MLflow and loaded by mlflow.pyfunc gives a video file the scores of the run, and figures are drawn."""

import shutil

import numpy as np
import pandas as pd
import yaml

from kinetext.config.report import TrackingOptions
from kinetext.core.tables import read_rows
from kinetext.evaluation.measure import measure_run
from kinetext.evaluation.predict import predict_clips
from kinetext.evaluation.predictions import read_predictions
from kinetext.tracking.log import log_run
from kinetext.training.train import train_method
from tracked import client_of, logged_runs


def test_logged_model_classifies_a_video_file(world, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # mlflow.set_tracking_uri would set it for the tests after this one
    folder = tmp_path / "runs/shapes/supervised/tiny/mean_pool/test/seed0"
    run = world.write_run(folder, "mean_pool")
    spec = yaml.safe_load(run.read_text()) | {"fingerprint": "f00d"}
    spec |= {
        "num_frames": 3,
        "testing": {"clips": 2, "average": "probabilities"},
    }  # the model averages test views as the run does
    spec["dataset_options"] = {"frames": {"num_frames": 8, "size_px": 64, "encoding": "raw"}}
    run.write_text(yaml.safe_dump(spec))
    protocol = tmp_path / "data/shapes/supervised"
    (protocol / "tiny/texts").mkdir(parents=True)
    shutil.copy(world.texts, protocol / "tiny/texts/test.parquet")
    shutil.copy(world.splits(), protocol / "splits.parquet")
    shutil.copytree(world.backbone, tmp_path / "backbones/tiny")
    inputs = world.inputs()
    checkpoint, predictions = folder / "checkpoint.safetensors", folder / "predictions.parquet"
    train_method(run, inputs, tmp_path / "cache", checkpoint)
    predict_clips(run, inputs.splits, [world.frames], world.texts, world.backbone, checkpoint, predictions)
    measure_run(folder, predictions, world.confusables, folder / "metrics.parquet")
    log_run([folder], tmp_path, TrackingOptions(), tmp_path / "logged.json")

    (logged,) = logged_runs(uri, "seed")
    assert logged.data.tags["model"] == "trained"
    client = client_of(uri)
    assert {a.path for a in client.list_artifacts(logged.info.run_id)} >= {"texts.csv", "figures"}
    figures = {a.path for a in client.list_artifacts(logged.info.run_id, "figures")}
    assert figures == {"figures/ranks.png", "figures/confusion-test.png"}
    roles = {i.tags[0].value: i.dataset.digest for i in logged.inputs.dataset_inputs}
    assert roles.keys() == {"splits", "texts"}  # this folder has no frames of its own
    assert all(len(digest) == 32 for digest in roles.values())

    import mlflow

    (model,) = client.search_logged_models([logged.info.experiment_id])
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    sample = read_predictions(predictions)["test", "ordered"]
    clip = next(row for row in read_rows("clips", world.clips) if row["split"] == "test")
    answer = loaded.predict(pd.DataFrame({"path": [clip["path"]]}), params={"top": 4})
    assert set(answer["label"]) == set(sample.labels)
    assert answer["score"].is_monotonic_decreasing
    assert np.isclose(answer["share"].sum(), 1)
    scores = np.sort(answer["score"].to_numpy(float))
    assert np.isclose(np.sort(sample.scores_BK, 1), scores, atol=1e-4).all(1).any()  # a row of predictions.parquet
    missing = loaded.predict(pd.DataFrame({"path": [str(tmp_path / "no.mp4")]}))
    assert missing["error"].notna().all()
