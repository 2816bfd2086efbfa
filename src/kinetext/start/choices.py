"""Choose a study that suits the clips and the machine. The reason for each choice is written beside it.

Learning rates: the released configurations of STAN have 2e-6 and, for new parameters, 2e-5 on 240,000 clips. Fewer
clips give fewer steps, so smaller data sets get the higher rates of the defaults. Below 2,000 clips the rates are five
times those of STAN (docs/recipes.md).
"""

import math
from dataclasses import dataclass
from typing import Any

from kinetext.backbones.base import Facts
from kinetext.backbones.catalogue import settings_of
from kinetext.config.backbone import TINY
from kinetext.config.data import FrameOptions
from kinetext.start.survey import Survey

SEEDS = [0, 1, 2]  # from three on, intervals and tests are about methods, not about these weights
MAX_CLIPS_CPU = 500  # training clips that a CPU trains on within an hour or so; above it, few_shot_16
SHOTS = 16
FEW_CLIPS, MANY_CLIPS = 2_000, 50_000  # training clips
LONG_CLIP_S = 10.0


@dataclass(frozen=True)
class Machine:
    """The machine on which the study will run."""

    gpu: bool
    cores: int


@dataclass(frozen=True)
class Choice:
    """A value of the configuration and the reason for it."""

    value: Any
    reason: str


def choose_backbone(machine: Machine, name: str | None, weights: str | None) -> Choice:
    """Return the name and options of the image-text model: those of the user, else a default for the device.

    Raises ValueError if weights are passed without a model, or if a model has none or several and they are not passed.
    """
    if name in ("tiny", TINY):
        return Choice(("tiny", {"model": TINY}), "for trying things out: it has only ever seen drawn shapes")
    if name is not None:
        source = {"weights": weights} if weights else {"pretrained": choose_tag(name)}
        return Choice((short_name(name), {"model": name, **source}), "as you asked")
    if weights is not None:
        raise ValueError("--weights: needs --backbone, the open_clip model that the weights belong to")
    if machine.gpu:
        return Choice(
            ("b16", {"model": "ViT-B-16", "pretrained": "openai"}), "the model of most papers; 600 MB download"
        )
    reason = "no GPU here: a quarter of the image tokens of ViT-B-16; 600 MB download"
    return Choice(("b32", {"model": "ViT-B-32", "pretrained": "openai"}), reason)


def choose_tag(model: str) -> str:
    """Return the tag of a model's published weights: openai, or the only one.

    Raises ValueError if open_clip has no such model, or no weights of it, or several that are not OpenAI's.
    """
    from kinetext.backbones.library import published_tags  # imports torch

    settings_of(model)
    tags = published_tags(model)
    if "openai" in tags:
        return "openai"
    if len(tags) == 1:
        return tags[0]
    has = f"several weights, {', '.join(tags)}" if tags else "no published weights"
    raise ValueError(f"--backbone: {model} has {has}; pass a file of its weights with --weights, or take another model")


def short_name(model: str) -> str:
    """Return a folder name for a model, for example b16 for ViT-B-16."""
    parts = model.split("-")
    return "".join(parts[1:3]).lower() if len(parts) > 2 and parts[0] == "ViT" else model.lower()


def choose_protocol(clips: Survey, machine: Machine, tiny: bool) -> Choice:
    """Return the protocol: all training clips, or 16 per class if a CPU would take too long."""
    train = clips.clips("train")
    if clips.labels and not machine.gpu and not tiny and train > MAX_CLIPS_CPU and clips.train_per_class > SHOTS:
        return Choice(
            f"few_shot_{SHOTS}", f"{SHOTS} of the training clips of each class; all {train} would take a CPU days"
        )
    return Choice("supervised", f"all {train} training clips")


def choose_frames(clips: Survey, machine: Machine, facts: Facts) -> Choice:
    """Return how many frames of each clip are stored, and their size in pixels."""
    length_s = sorted(clips.seconds)[len(clips.seconds) // 2] if clips.seconds else 0.0
    number = 16 if machine.gpu and length_s > LONG_CLIP_S else 8
    reason = f"half of the clips are longer than {length_s:.3g} s, so a frame every {length_s / number:.2g} s"
    if length_s > 3 * LONG_CLIP_S:
        reason += "; shorter movements are missed: list their start_s and end_s in a csv (docs/data.md)"
    options: dict[str, Any] = {"num_frames": number, "size_px": facts.image_size_px}
    for name in ("resize_mode", "interpolation"):  # CLIP's need not be written
        if getattr(facts, name) != FrameOptions.model_fields[name].default:
            options[name] = getattr(facts, name)
    return Choice(options, reason)


def choose_training(clips: Survey, machine: Machine, protocol: str, tiny: bool) -> Choice:
    """Return the training options of every method, from the number of training clips and the device."""
    train = clips.clips("train")
    if protocol != "supervised":
        train = min(train, SHOTS * len(clips.labels))
    batch_size = min(32, max(4, 2 ** int(math.log2(max(train, 1) / 4 + 1))))
    steps = 300 if tiny else 1500 if machine.gpu else 150
    epochs = min(30, max(3, math.ceil(steps * batch_size / train)))
    if tiny:
        rates, why = (3e-4, 2e-3), "rates for kinetext-tiny"
    elif train < FEW_CLIPS:
        rates, why = (1e-5, 1e-4), "few clips, so rates above STAN's 2e-6 and 2e-5"
    elif train < MANY_CLIPS:
        rates, why = (5e-6, 5e-5), "the defaults"
    else:
        rates, why = (2e-6, 2e-5), "STAN's rates"
    options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": rates[0], "lr_new": rates[1]}
    if machine.gpu and not tiny:
        options |= {"image_encoder": "lora" if train < FEW_CLIPS else "trained", "precision": "bfloat16"}
        why += "; low-rank updates of the image encoder, because full training overfits" if train < FEW_CLIPS else ""
    else:
        options["image_encoder"] = "frozen"
        why += "; image encoder frozen: its tokens are computed once"
    return Choice(options, f"{math.ceil(train / batch_size) * epochs} steps on {train} clips; {why}")


def interval_points(test_clips: int) -> float:
    """Return half the width of the 95 % interval of an accuracy of 50 %, in percentage points."""
    return 196 * math.sqrt(0.25 / test_clips)


def choose_max_failed(clips: Survey) -> Choice:
    """Return which fraction of the clips may fail: the default, or more if more of the sampled clips cannot be read."""
    share = clips.unreadable_share
    if share <= 0.025:
        return Choice(0.05, "the run stops before training if more clips than this share have no frames")
    value = min(1.0, math.ceil(share * 2 * 20) / 20)
    return Choice(value, f"{share:.0%} of the sample cannot be read; above this share the run stops before training")
