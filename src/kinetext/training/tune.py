"""tune_method: train one tuning trial of a method and score it on the validation clips.

The score is computed with the weights that a run would write as its checkpoint. A trial that diverges gets no score and
does not stop the other trials. No test clip is read.
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
    """Train a trial and write the score as JSON. An interrupted trial resumes.

    With several processes, every process calls this function, and the first one writes. Raises ValueError if there are
    no validation clips, if the score is not finite, or for the reasons given at `train_method`.
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
    """Train or fit the method as a run would; return (seconds, path of the saved state or None)."""
    spec, method = prepared.spec, prepared.method
    if method.fits:
        return fit_method(prepared).seconds, None
    if not method.trains or not spec.training.epochs:
        return prepared.seconds, None
    progress, state = train_epochs(prepared, inputs, cache)
    progress.restore(method)
    finish_weights(prepared, inputs.backbone, progress)
    return progress.seconds, state
