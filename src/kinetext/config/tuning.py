"""Options of tuning: how many settings of each method are tried, and which options vary (docs/training.md)."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from kinetext.core.plugins import Options


class RangeOptions(Options):
    """The values that tuning tries for one option: an interval, a list, or a range around the configured value."""

    low: float | None = Field(None, description="lowest value of an interval; needs high")
    high: float | None = Field(None, description="highest value of an interval")
    log: bool = Field(False, description="whether the interval is log-uniform; both ends are above zero then")
    factor: float | None = Field(
        None, gt=1, description="log-uniform from the configured value divided by this factor to the value times it"
    )
    choices: list[Any] | None = Field(None, min_length=2, description="values, each equally likely")

    @model_validator(mode="after")
    def _is_one_kind(self) -> "RangeOptions":
        interval = self.low is not None or self.high is not None
        if interval + (self.factor is not None) + (self.choices is not None) != 1:
            raise ValueError("a range is either low and high, or factor, or choices; write one of them")
        if interval and (self.low is None or self.high is None):
            raise ValueError("an interval needs low and high; add the other one")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}; low must be lower")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log: a log-uniform interval has low above zero; set low and high, or remove log")
        return self


class HalvingOptions(Options):
    """Successive halving (Jamieson and Talwalkar, AISTATS 2016) with a fixed number of rounds, called rungs."""

    factor: int = Field(3, ge=2, description="one of so many trials is promoted to the next rung")
    rungs: int = Field(
        3, ge=2, description="rungs; the last has the configured epochs, each rung below 1 / factor of the next"
    )


class TuningOptions(Options):
    """Tuning of a method: settings are tried and judged on validation clips before the final runs are trained."""

    trials: Annotated[int, Field(ge=0)] = Field(
        16, description="settings that are tried, the configured one included; 0: no tuning"
    )
    space: dict[str, RangeOptions] | None = Field(
        None,
        description="options to vary by their names, training.lr or options.NAME; absent: the default space of the method",
    )
    seed: int = Field(
        0, ge=0, description="seed of the design; the trials train with a seed that it determines and no run has"
    )
    halving: HalvingOptions | None = Field(
        None, description="successive halving: few epochs for all trials, more for the best; absent: all epochs for all"
    )
