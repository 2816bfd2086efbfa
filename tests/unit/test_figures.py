"""Figures of the report draw the user's text as it is."""

import numpy as np

from kinetext.evaluation.intervals import Estimate
from kinetext.report.figures.bands import curve_plot
from kinetext.report.figures.dots import dot_plot
from kinetext.report.figures.matrix import matrix_plot

ODD = ["$$", r"$\frac{$", "<script>&{x}"]


def test_names_are_drawn_as_they_are_not_as_formulas_or_tags(tmp_path):
    estimate = Estimate(value=0.5, low=0.4, high=0.6, least=0.5, most=0.5, seeds=1, clips=10)
    plots = [
        matrix_plot("matrix", np.eye(3), ODD, [(0, 3)], tmp_path),
        dot_plot("dots", [(name, [(name, estimate)]) for name in ODD], ODD[1], tmp_path, (0.3, ODD[0])),
        curve_plot("curves", {name: [[(1.0, 0.5), (2.0, 0.6)]] for name in ODD}, ODD[1], tmp_path),
    ]
    assert not any("<script>" in plot for plot in plots)
