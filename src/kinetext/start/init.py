"""Write a configuration for a user's videos and print what was chosen and why: `kinetext init`."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from kinetext.config.backbone import BackboneOptions
from kinetext.core.escape import for_terminal
from kinetext.data.lists import printable
from kinetext.plan import load_config, plan_runs
from kinetext.plan.inputs import backbone_facts
from kinetext.start.choices import (
    Machine,
    choose_backbone,
    choose_frames,
    choose_max_failed,
    choose_protocol,
    choose_training,
    interval_points,
)
from kinetext.start.descriptions import choose_descriptions
from kinetext.start.survey import Survey, first_of, split_counts, survey
from kinetext.start.template import Study, render


def init(
    source: Path,
    output: Path,
    root: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    texts: Path | None = None,
    server: str | None = None,
    model: str | None = None,
    describe: bool = True,
) -> None:
    """Write the configuration file `output`, which passes check-config, and print what was chosen and why.

    Raises ValueError if the file exists or the videos cannot be used.
    """
    if output.exists():
        raise ValueError(f"{output}: exists; name another file with -o, or delete it")
    machine = Machine(_has_gpu(), len(os.sched_getaffinity(0)))
    clips = survey(source, root)
    study = choose_study(source, output, clips, machine, backbone, weights)
    if describe and clips.labels:
        descriptions = choose_descriptions(clips.labels, texts, server, model)
        study = Study(**{**vars(study), "descriptions": descriptions})
    text = render(study)
    with TemporaryDirectory() as folder:  # the same name, so that a message names the right file
        draft = Path(folder) / output.name
        draft.write_text(text, "utf-8")
        runs = len(plan_runs(load_config(draft)))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, "utf-8")
    for line in report(study, output, runs, machine):
        print(for_terminal(printable(line)), flush=True)


def choose_study(
    source: Path, output: Path, clips: Survey, machine: Machine, backbone: str | None, weights: Path | None
) -> Study:
    """Return a study of the clips, still without descriptions."""
    chosen = choose_backbone(machine, backbone, str(weights.absolute()) if weights else None)
    name, options = chosen.value
    facts = backbone_facts(BackboneOptions(**options))
    tiny = name == "tiny"
    protocol = choose_protocol(clips, machine, tiny)
    dataset = re.sub(r"[^A-Za-z0-9_]+", "_", (source.absolute().name if source.is_dir() else source.stem)).strip("_")
    return Study(
        source=str(source),
        dataset=dataset or "videos",
        results=f"results_{re.sub(r'[^A-Za-z0-9_.-]+', '_', output.stem)}",
        clips=clips,
        backbone=chosen,
        frames=choose_frames(clips, machine, facts),
        protocol=protocol,
        training=choose_training(clips, machine, protocol.value, tiny),
        max_failed=choose_max_failed(clips),
        shard_clips=max(1, min(1000, -(-clips.total // machine.cores))),
        stan={"layers": 1, "time_std": 4.0} if tiny else {"layers": min(4 if machine.gpu else 1, facts.num_layers)},
        descriptions=None,
    )


def report(study: Study, output: Path, runs: int, machine: Machine) -> Iterator[str]:
    """Yield lines on what the survey showed, what was chosen and why, and what to do next."""
    clips = study.clips
    test = clips.clips("test")
    classes = f"{len(clips.labels)} classes" if clips.labels else "captions"
    yield f"{study.source}: {clips.total} clips ({split_counts(clips)}), {classes}"
    for line in clips.skipped:
        yield f"warning: no clip from {line}"
    if clips.unreadable:
        measured = len(clips.seconds) + len(clips.unreadable)
        yield f"warning: {len(clips.unreadable)} of {measured} clips cannot be read: {first_of(clips.unreadable)}"
    yield from (f"warning: {line}" for line in clips.warnings)
    name, options = study.backbone.value
    yield f"backbone {name} ({options.get('model')}): {study.backbone.reason}"
    yield f"frames {study.frames.value['num_frames']} of {study.frames.value['size_px']} px: {study.frames.reason}"
    yield f"protocol {study.protocol.value}: {study.protocol.reason}"
    yield f"training on the {'GPU' if machine.gpu else 'CPU'}: {study.training.reason}"
    if study.descriptions is not None:
        yield f"descriptions by {study.descriptions.value['module']}: {study.descriptions.reason}"
    elif clips.labels:
        yield "descriptions: none, as you asked; the study compares methods, not texts"
    yield f"{test} test clips: an accuracy of 50 % has an interval of about +- {interval_points(test):.0f} points" + (
        "; few methods will differ significantly" if test < 100 else ""
    )
    name = shlex.quote(str(output))
    yield f"{output}: {runs} runs. Next: `kinetext check-config {name} --preflight`, then `kinetext run {name}`"


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
