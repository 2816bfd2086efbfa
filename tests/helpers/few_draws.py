"""measure_run with fewer bootstrap draws, for tests that need a measured run and not its intervals to the last digit."""

from functools import partial

import pytest

from kinetext.evaluation import measure
from kinetext.evaluation.intervals import metric_interval

DRAWS = 50  # of 1000, which take most of the time of a small run


def measure_quickly(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "metric_interval", partial(metric_interval, draws=DRAWS))
        measure.measure_run(*arguments)
