"""The settings that tuning tries: a quasi-random design over a space of options, fixed before anything runs.

Trial 0 is the configured setting. The others are points of a scrambled Sobol sequence (Owen, J. Complexity 1998;
scipy's qmc.Sobol), which fills a space more evenly than random search (Bergstra and Bengio, JMLR 2012; Bousquet et al.,
arXiv:1706.03200). If the number of trials is raised, the earlier trials do not change and are not rerun.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) trains every trial for few epochs and only the best trials for
more. Each rung trains from the start, with warm-up and decay over the epochs of that rung.

N trials, D options.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kinetext.config.method import MethodOptions, TestingOptions
from kinetext.config.run import Rung, RunSpec, TuningRecord
from kinetext.config.tuning import RangeOptions, TuningOptions
from kinetext.core import plugins

if TYPE_CHECKING:
    from kinetext.methods.base import Method  # imports torch

TRIAL_SEED = 1_000_000  # + the seed of the design: trials train with a seed that no run has
Setting = dict[str, Any]  # option -> value


def tuning_record(method: type[Method], options: MethodOptions, shared: TuningOptions | None) -> TuningRecord | None:
    """Return the record of how a method is tuned, or None if tuning is off or there is no option to tune.

    The tuning options of the method take precedence over the `shared` ones. Raises ValueError if the space does not fit
    the method or if there are more rungs than the number of epochs allows.
    """
    if shared is None and options.tuning is None:
        return None
    merged = {
        key: value
        for part in (shared, options.tuning)
        if part is not None
        for key, value in part.model_dump(exclude_unset=True).items()
    }
    tuning = TuningOptions(**merged)
    space = absolute_space(method, options, tuning.space) if tuning.trials else {}
    if not space:
        return None
    if tuning.halving and "training.epochs" in space:
        raise ValueError("space: training.epochs is what successive halving decides; remove it, or halving")
    return TuningRecord(trials=tuning.trials, seed=tuning.seed, space=space, rungs=rungs(tuning, options, method))


def absolute_space(
    method: type[Method], options: MethodOptions, space: Mapping[str, RangeOptions] | None
) -> dict[str, dict[str, Any]]:
    """Return the range of each option to tune, by name, with factors converted to intervals.

    If `space` is None, the search space of the method's class is used, without options that are switched off (zero or
    null). Raises ValueError for an unknown option and for a factor of a value that is not a positive number.
    """
    default = space is None
    trains = method.trains and (method.fits or options.training.epochs > 0)
    if space is None:
        space = {name: RangeOptions(**fields) for name, fields in method.search_space.items()} if trains else {}
    config = plugins.configure(method, options.options)
    resolved = {}
    for name, range_options in sorted(space.items()):
        value = configured_value(options, config, name)
        if default and not value:
            continue
        fields = range_options.model_dump(exclude_defaults=True)
        if factor := fields.pop("factor", None):
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ValueError(f"space.{name}: its value {value!r} is no positive number; write low and high")
            low, high = (float(f"{end:.4g}") for end in (value / factor, value * factor))
            fields = {"low": low, "high": high, "log": True}
        resolved[name] = fields
    return resolved


def configured_value(options: MethodOptions, config: Any, name: str) -> Any:
    """Return the configured value of the option `name` (training.NAME or options.NAME).

    Raises ValueError for an unknown option.
    """
    first, *path = name.split(".")
    if first not in ("training", "options") or not path:
        raise ValueError(f"space.{name}: write training.NAME or options.NAME, for instance training.lr")
    value = options.training if first == "training" else config
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)  # options of a part, whose defaults are not known here
            continue
        known = list(getattr(type(value), "model_fields", {}))
        if key not in known:
            raise ValueError(f"space.{name}: there is no option '{key}'{plugins.nearest(key, known)}")
        value = getattr(value, key)
    return value


def rungs(tuning: TuningOptions, options: MethodOptions, method: type[Method]) -> list[Rung]:
    """Return the rungs of successive halving, or a single rung with all trials and epochs if it is off.

    Raises ValueError if there are too few epochs for the number of rungs.
    """
    trials, epochs = tuning.trials, options.training.epochs
    if tuning.halving is None or method.fits or not method.trains:  # without gradient descent there are no epochs
        return [Rung(trials=trials, epochs=epochs)]
    factor, count = tuning.halving.factor, tuning.halving.rungs
    if epochs < factor ** (count - 1):
        raise ValueError(
            f"halving: {count} rungs of factor {factor} need {factor ** (count - 1)} epochs or more, and training.epochs is "
            f"{epochs}; take fewer rungs"
        )
    return [
        Rung(trials=min(trials, max(2, math.ceil(trials / factor**r))), epochs=epochs // factor ** (count - 1 - r))
        for r in range(count)
    ]


def trial_settings(record: TuningRecord) -> list[Setting]:
    """Return the setting of each trial [N]. The setting of trial 0 is empty: it uses the configured values."""
    if record.trials == 1:
        return [{}]
    import numpy as np
    from scipy.stats import qmc  # takes a second to import

    names = sorted(record.space)
    power = math.ceil(math.log2(record.trials - 1)) if record.trials > 2 else 0  # 2^n points are balanced
    point_ND = qmc.Sobol(len(names), scramble=True, rng=np.random.default_rng(record.seed)).random_base2(power)
    ranges = [record.space[name] for name in names]
    points = [
        {name: _value(fields, share) for name, fields, share in zip(names, ranges, point_D.tolist(), strict=True)}
        for point_D in point_ND[: record.trials - 1]
    ]
    return [{}, *points]


def _value(fields: dict[str, Any], share: float) -> Any:
    """Return the value at position `share` (0 to 1) of a range, rounded to four digits, or one of its choices."""
    if choices := fields.get("choices"):
        return choices[min(int(share * len(choices)), len(choices) - 1)]
    low, high = fields["low"], fields["high"]
    value = low * (high / low) ** share if fields.get("log") else low + share * (high - low)
    return float(f"{value:.4g}")


def trial_run(spec: RunSpec, trial: int, rung: int = 0) -> RunSpec:
    """Return the run of a trial: the tuned run with the trial's setting, the epochs of the rung and the seed of trials.

    The warm-up is scaled with the number of epochs. The testing options are reset to their defaults, because trials are
    not tested.
    """
    record = spec.tuning
    assert record is not None, spec.run
    setting = trial_settings(record)[trial]
    if len(record.rungs) > 1:
        epochs = record.rungs[rung].epochs
        warmup = setting.get("training.warmup_epochs", spec.training.warmup_epochs)
        warmup *= epochs / record.rungs[-1].epochs
        setting = setting | {"training.epochs": epochs, "training.warmup_epochs": warmup}
    name = f"{spec.group}/trial{trial}/rung{rung}"
    update = {"run": name, "seed": TRIAL_SEED + record.seed, "tuning": None, "testing": TestingOptions()}
    return spec.model_copy(update=update).with_setting(setting)


def trial_number(spec: RunSpec) -> tuple[int, int]:
    """Return (trial, rung), read from the name of a run that `trial_run` returned."""
    match = re.search(r"/trial(\d+)/rung(\d+)$", spec.run)
    assert match, spec.run
    return int(match[1]), int(match[2])


def describe(setting: Setting) -> str:
    """Return a setting as text, such as "training.lr 1e-05"."""
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "the configured setting"
