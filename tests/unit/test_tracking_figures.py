"""Figures of a run for MLflow: a tie counts as wrong, as in top-1 accuracy."""

from dataclasses import replace

import numpy as np

from kinetext.evaluation.predictions import Predictions
from kinetext.tracking.figures import class_ranks, confusion_matrix, draw_figures

NAN = float("nan")
PREDICTIONS = Predictions(  # right, tied with class c, wrong, without frames
    labels=["a", "b", "c"],
    target_B=np.array([0, 0, 1, 2]),
    scores_BK=np.array([[3.0, 1.0, 2.0], [2.0, 1.0, 2.0], [5.0, 4.0, 3.0], [NAN, NAN, NAN]]),
)


def test_confusion_matrix_counts_a_tie_for_the_other_class():
    assert confusion_matrix(PREDICTIONS).tolist() == [[0.5, 0, 0.5], [1, 0, 0], [0, 0, 0]]


def test_class_ranks_put_a_tie_lower_and_clips_without_frames_last():
    assert class_ranks(PREDICTIONS).tolist() == [1, 2, 2, 3]


def test_figures_are_drawn_for_test_clips_and_for_all_clips_among_all_classes(tmp_path, monkeypatch):
    samples = {
        ("test", "ordered"): PREDICTIONS,
        ("novel_among_all", "ordered"): PREDICTIONS,
        ("test_among_all", "ordered"): PREDICTIONS,
        ("val", "ordered"): PREDICTIONS,
    }
    monkeypatch.setattr("kinetext.tracking.figures.read_predictions", lambda path, order: samples)
    figures = dict(draw_figures(tmp_path / "predictions.parquet"))
    assert list(figures) == ["confusion-test.png", "confusion-among_all.png", "ranks.png"]
    assert figures["confusion-among_all.png"].axes[0].get_title() == "among all: 8 clips, 3 classes"
    assert figures["confusion-among_all.png"].axes[0].images[0].get_array().tolist() == [
        [0.5, 0, 0.5],
        [1, 0, 0],
        [0] * 3,
    ]


def test_class_names_are_drawn_as_they_are_not_as_formulas(tmp_path, monkeypatch):
    odd = replace(PREDICTIONS, labels=["$$", r"$\frac{$", "<b>&{x}"])
    monkeypatch.setattr("kinetext.tracking.figures.read_predictions", lambda path, order: {("test", "ordered"): odd})
    for name, figure in draw_figures(tmp_path / "predictions.parquet"):
        figure.savefig(tmp_path / name)
