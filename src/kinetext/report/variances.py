"""The table `clip_variances`: the variance of each mean over seeds that is due to clips (evaluation/seed_means.py)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kinetext.evaluation.seed_means import clip_parts
from kinetext.report.outcomes import Measured, SeedOutcomes, aligned


def variance_rows(outcomes: dict[Measured, SeedOutcomes]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table: one for each row of a comparison with at least two seeds or draws."""
    for measured, rows in outcomes.items():
        columns = {**measured.comparison._asdict(), "metric": measured.metric, "frame_order": measured.frame_order}
        for key, seeds in rows.items():
            if len(seeds) > 1:
                _, value_SB, group_B = aligned(seeds)
                keep_B = ~np.isnan(value_SB).any(axis=0)
                if keep_B.any():
                    parts = clip_parts(value_SB[:, keep_B], None if group_B is None else group_B[keep_B])
                    yield {**columns, **key._asdict(), **parts._asdict()}
