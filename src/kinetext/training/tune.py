"""tune_method: train one trial of a method's tuning and judge it on the validation clips.

The weights that are judged are those that a run would write. A trial that diverges has no score; it does not stop the
others. No test clip is read.
"""

import logging
import math
from pathlib import Path

from kinetext.config.run import RunSpec
from kinetext.core import distributed
from kinetext.training.choose import write_score
from kinetext.training.setup import Inputs, Prepared, prepare
from kinetext.training.state import clear_state
from kinetext.training.train import finish_weights, fit_method, train_epochs
from kinetext.training.watch import DivergedError

log = logging.getLogger(__name__)


def tune_method(spec: RunSpec, inputs: Inputs, cache: Path, output: Path, threads: int = 1) -> None:
    """Train a trial and write its score, as JSON. An interrupted trial resumes.

    Each of several processes calls it; the first one writes. Raises ValueError if there are no validation clips, or as
    `train_method`.
    """
    prepared = prepare(spec, inputs, threads)
    if not len(prepared.val_clips):
        raise ValueError(
            f"{spec.run}: tuning judges by validation clips, and {spec.protocol} of {spec.dataset} sets none aside; give the "
            f"data set validation clips (docs/data.md), or set methods.{spec.method}.tuning: {{trials: 0}}"
        )
    try:
        seconds, state = _train(prepared, inputs, cache)
    except DivergedError as error:
        log.warning("%s: %s", spec.run, error)
        if distributed.rank() == 0:
            write_score(spec, output, f"diverged: {error}")
        return
    objective = prepared.objective
    values = objective.validate(prepared.val_clips)
    if distributed.rank() == 0:
        score, clips = values[objective.best_by], len(prepared.val_clips.clip_ids)
        if not math.isfinite(score):
            raise ValueError(
                f"{spec.run}: {objective.best_by} of {clips} validation clips is {score}; add clips of all classes"
            )
        write_score(spec, output, metric=objective.best_by, score=score, clips=clips, seconds=round(seconds, 1))
        if state is not None:
            clear_state(state)


def _train(prepared: Prepared, inputs: Inputs, cache: Path) -> tuple[float, Path | None]:
    """Give the method the weights that a run would write; return the seconds it took and the saved state, if there is
    one.
    """
    spec, method = prepared.spec, prepared.method
    if method.fits:
        return fit_method(prepared).seconds, None
    if not method.trains or not spec.training.epochs:
        return prepared.seconds, None
    progress, state = train_epochs(prepared, inputs, cache)
    progress.restore(method)
    finish_weights(prepared, inputs.backbone)
    return progress.seconds, state
