"""Figures of the report draw the user's text as it is, a line for chance, and ticks at whole epochs."""

import numpy as np
import pytest

from kinetext.evaluation.intervals import Estimate
from kinetext.report.figures import canvas
from kinetext.report.figures.bands import curve_plot, trial_plot
from kinetext.report.figures.cost import cost_plot
from kinetext.report.figures.dots import dot_plot
from kinetext.report.figures.kinds import kind_plot
from kinetext.report.figures.matrix import matrix_plot
from kinetext.report.keys import RowKey

ODD = ["$$", r"$\frac{$", "<script>&{x}"]
ESTIMATE = Estimate(value=0.5, low=0.4, high=0.6, least=0.5, most=0.5, seeds=1, clips=10, chance=0.3)


def test_names_are_drawn_as_they_are_not_as_formulas_or_tags(tmp_path):
    plots = [
        matrix_plot("matrix", np.eye(3), ODD, [(0, 3)], tmp_path),
        dot_plot("dots", [(name, [(name, ESTIMATE)]) for name in ODD], ODD[1], tmp_path, (0.3, ODD[0])),
        curve_plot("curves", {name: [[(1.0, 0.5), (2.0, 0.6)]] for name in ODD}, ODD[1], tmp_path),
    ]
    assert not any("<script>" in plot for plot in plots)


@pytest.fixture
def axes_of(monkeypatch, tmp_path):
    """A function that draws a plot and returns its axes."""
    monkeypatch.setattr(canvas, "save", lambda figure, name, folder: figure.axes[0])
    return lambda plot, *arguments, **options: plot("name", *arguments, folder=tmp_path, **options)


@pytest.mark.parametrize("epochs", [1, 3, 12, 300])
def test_ticks_of_learning_curves_are_a_few_whole_epochs(axes_of, epochs):
    curve = [(float(epoch), 0.5) for epoch in range(1, epochs + 1)]
    axes = axes_of(curve_plot, {"mean_pool": [curve]}, "top1")
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= 9
    assert all(tick == round(tick) for tick in ticks)


@pytest.mark.parametrize("cost", [0.0, 0.02, 1.0, 86_000_000.0])
def test_ticks_of_costs_are_a_few_and_zero_has_one(axes_of, cost):
    axes = axes_of(cost_plot, [("stan", "names", cost, ESTIMATE), ("moted", "names", 30.0, ESTIMATE)], "s", "top1")
    ticks = list(axes.get_xticks())
    assert 2 <= len(ticks) <= 8
    assert (0.0 in ticks) == (cost == 0)


def test_plots_of_accuracy_have_a_line_at_chance(axes_of):
    key = RowKey("tiny", "stan", "names")
    plots = [
        (axes_of(dot_plot, [("stan", [("stan", ESTIMATE)])], "top1", line=(0.3, "chance")), "x"),
        (axes_of(kind_plot, {"loop": {key: ESTIMATE}}, {key: "stan"}, "top1"), "x"),
        (axes_of(curve_plot, {"stan": [[(1.0, 0.5), (2.0, 0.6)]]}, "top1", chance=0.3), "y"),
        (axes_of(trial_plot, {"stan": [np.array([0.4, 0.5])] * 3}, "top1", chance=0.3), "y"),
        (axes_of(cost_plot, [("stan", "names", 1.0, ESTIMATE)], "s", "top1", chance=0.3), "y"),
    ]
    for axes, side in plots:
        dashed = [line for line in axes.lines if line.is_dashed()]
        values = [set(line.get_xdata() if side == "x" else line.get_ydata()) for line in dashed]
        assert values == [{30.0}]
