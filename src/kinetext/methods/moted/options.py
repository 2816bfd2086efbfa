"""The options of moted: its parts, the alignment, the losses and the score. Each part can be switched off."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from kinetext.core.plugins import Options

Phase = Literal["whole", "start", "end"]


class MotedOptions(Options):
    """Options of the parts, the alignment, the losses and the score."""

    visual: str | None = Field(
        "stan", description="method whose frame features are added to the motion tokens; null: none"
    )
    visual_options: dict[str, Any] = Field(default_factory=dict, description="options of that method")
    reader: bool = Field(
        True, description="the perception module that reads the descriptions' words in order; off: their means alone"
    )
    heads: int = Field(8, ge=1, description="attention heads of the perception module")
    phases: tuple[Phase, ...] | None = Field(
        None,
        min_length=1,
        description="ablation: compare these parts of clip and descriptions instead of aligning frames and steps; [start, "
        "end]: ends only; [whole]: all descriptions with the mean frame",
    )
    weights: Literal["uniform", "learned"] = Field(
        "uniform",
        description="weights of a class's descriptions of one step; learned: softmax of a linear score that starts at zero",
    )
    temperature: float = Field(
        0.01, ge=0, description="temperature of the alignment: 0 is the best one, above 0 a soft maximum; in cosines"
    )
    order: float = Field(
        0.1, ge=0, description="prior of the alignment: the cost of a frame at the wrong end of the clip, in cosines"
    )
    ordered: bool = Field(True, description="off: ablation, the mean cosine of frames and steps in any order")
    pairs: bool = Field(True, description="compare descriptions against one rival, weighted by the rival's probability")
    align: float = Field(1.0, ge=0, description="weight of the motion alignment loss over all classes")
    hard: float = Field(1.0, ge=0, description="weight of the same among a class and its rivals")
    reversed: float = Field(
        0.0, ge=0, description="weight of a loss that sets a class's steps against the same steps in reverse order"
    )
    random_description: bool = Field(
        False, description="while training, use one random description per step and batch instead of their mean"
    )
    fused: bool = Field(
        True, description="train the score that is used; off: ablation, train appearance alone, with a fixed weight"
    )
    motion: float = Field(1.0, ge=0, description="weight of the motion score beside appearance, learned from here")

    @model_validator(mode="after")
    def _needs_steps(self) -> "MotedOptions":
        if self.phases and (self.reversed or self.random_description):
            option = "reversed" if self.reversed else "random_description"
            raise ValueError(f"{option}: has no effect with phases; remove one of them")
        if self.reversed and not self.ordered:
            raise ValueError("reversed: has no effect with ordered: false; remove one of them")
        return self

    @field_validator("phases")
    @classmethod
    def _once_each(cls, phases: tuple[Phase, ...] | None) -> tuple[Phase, ...] | None:
        repeated = [phase for phase in phases or () if (phases or ()).count(phase) > 1]
        if repeated:
            raise ValueError(f"{repeated[0]} is listed twice")
        return phases
