"""Check, before the first job, what would stop a run or impair its results. Each finding is one sentence with a remedy.

The checks cover keys and servers (one request each), weights, disk space, changed clips, classes per split, files that
give no clip, and the device. They also estimate how long the study takes and what the language model costs. Nothing is
changed.
"""

import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kinetext.config.data import DatasetOptions
from kinetext.config.experiment import Config
from kinetext.config.run import RunSpec
from kinetext.core.tables import read_metadata, read_rows
from kinetext.data.datasets.base import Clip, build_dataset
from kinetext.data.index import list_dataset
from kinetext.data.lists import printable
from kinetext.data.stale import stale_clips
from kinetext.plan import frame_sets, plan_runs
from kinetext.plan.inputs import configured_facts
from kinetext.start import budget
from kinetext.start.checks import Check
from kinetext.start.choices import interval_points
from kinetext.start.servers import (
    chat_providers,
    check_methods,
    check_texts,
    check_tracking,
    check_weights,
    server_options,
    texts_path,
)
from kinetext.start.survey import first_of, warnings_of

GPUS = 2  # jobs that compute at once (profiles/default/config.yaml)
MIN_FREE_SHARE = 1.2  # of what the study is expected to fill


def preflight(config: Config, config_file: str, jobs_here: bool = True) -> Iterator[Check]:
    """Yield the findings on a configuration before it runs. Problems become findings and are not raised.

    The time is estimated only if the jobs run on this machine (`jobs_here`).
    """
    results = Path(config.results)
    runs = list(plan_runs(config).values())
    missing = [run for run in runs if not (results / "runs" / run.run / "metrics.parquet").is_file()]
    counts: dict[tuple[str, str], budget.Counts] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(run.dataset for run in runs):
        try:
            clips, classes, skipped = listed_clips(name, config.datasets[name], results)
        except ValueError as error:
            yield Check("stop", f"datasets.{name}", str(error))
            continue
        if clips is None:
            continue
        labels[name] = tuple(classes)
        yield from check_clips(name, config, config_file, clips, classes, skipped, results)
        for run in runs:
            if run.dataset == name:
                counts.setdefault((name, run.protocol), counts_of(run.protocol, clips, classes))
    yield from check_texts(config, runs, results)
    yield from check_methods(config, runs, results)
    yield from check_weights(config, runs, results)
    yield from check_tracking(config, results)
    yield from check_space(config, missing, counts, results)
    yield from _money(config, missing, labels, counts, results)
    yield from _money_of_methods(missing, counts)
    if jobs_here:
        yield from _time(config, missing, counts, results)


def listed_clips(name: str, options: DatasetOptions, results: Path) -> tuple[list[Clip] | None, list[str], list[str]]:
    """Return the clips (or None), the classes, and the folders and files that give no clip.

    They come from clips.parquet if it exists, else from the user's lists. Clips are None if the data set renders them
    and has not done so yet. Raises ValueError as index_clips does.
    """
    table = results / "data" / name / "clips.parquet"
    if table.is_file():
        metadata = read_metadata(table)
        names = Clip.__dataclass_fields__
        rows = ({key: row[key] for key in names} for row in read_rows("clips", table))
        clips = [Clip(**{**row, "path": Path(row["path"])}) for row in rows]
        skipped: dict[str, Any] = metadata.get("skipped", {})
        return clips, list(metadata["labels"]), list(skipped.get("first", []))
    if build_dataset(name, options).root is None:
        return None, [], []
    with TemporaryDirectory() as media:
        dataset, clips, classes = list_dataset(name, options, Path(media))
    return clips, classes, dataset.skipped()


def check_clips(
    name: str,
    config: Config,
    config_file: str,
    clips: list[Clip],
    classes: list[str],
    skipped: list[str],
    results: Path,
) -> Iterator[Check]:
    """Yield the number of clips of a data set, then what is unusual about them."""
    where = f"datasets.{name}"
    splits = Counter(clip.split for clip in clips)
    yield Check(
        "note",
        where,
        f"{len(clips)} clips (train {splits['train']}, val {splits['val']}, test {splits['test']}), "
        + (f"{len(classes)} classes" if classes else "captions"),
    )
    if not splits["test"]:
        yield Check("stop", where, "no test clips", "add some, or another split")
    elif splits["test"] < 100 and classes:
        points = interval_points(splits["test"])
        message = f"{splits['test']} test clips: an accuracy of 50 % has an interval of about +- {points:.0f} points"
        yield Check("warning", where, message, "add test clips to tell methods apart")
    for warning in warnings_of(clips, classes):
        yield Check("warning", where, printable(warning))
    if skipped:
        message = f"{len(skipped)} folders and files give no clip: {printable(first_of(skipped))}"
        yield Check(
            "warning", where, message, f"`kinetext inspect {name} --config {shlex.quote(config_file)}` lists all"
        )
    table = results / "data" / name / "clips.parquet"
    stale = stale_clips(table) if table.is_file() else []
    if stale:
        message = f"{len(stale)} videos changed since they were listed: {printable(first_of(stale))}"
        yield Check(
            "warning",
            where,
            message,
            f"`kinetext run {shlex.quote(config_file)} -- --forcerun index_clips` reads them again",
        )


def counts_of(protocol: str, clips: list[Clip], classes: list[str]) -> budget.Counts:
    """Return the number of training clips and test clips under a protocol, and of classes."""
    train = [clip for clip in clips if clip.split == "train"]
    per_class = Counter(label for clip in train for label in clip.classes)
    shots = budget.shots_of(protocol)
    if shots:
        per_class = Counter({label: min(count, shots) for label, count in per_class.items()})
    num_train = sum(per_class.values()) if shots else len(train)
    return budget.Counts(num_train, sum(clip.split == "test" for clip in clips), len(classes), per_class)


def check_space(
    config: Config, missing: list[RunSpec], counts: dict[tuple[str, str], budget.Counts], results: Path
) -> Iterator[Check]:
    """Yield how much disk space the study needs, and how much is free."""
    facts = {run.backbone: configured_facts(config, run.backbone) for run in missing}
    needed = sum(4.0 * facts[name].parameters for name in facts if not (results / "backbones" / name).is_dir())
    needed += sum(budget.checkpoint_bytes(run, facts[run.backbone]) for run in missing)
    for name in dict.fromkeys(run.dataset for run in missing):
        clips = max((count.train + count.test for (key, _), count in counts.items() if key == name), default=0)
        for frame_set, options in frame_sets(missing, name).items():
            if not (results / "data" / name / "frames" / frame_set).is_dir():
                needed += clips * budget.frame_bytes(options)
    folder = next(parent for parent in (results.absolute(), *results.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    message = f"about {needed / 2**30:.2g} GiB to write, {free / 2**30:.3g} GiB free"
    if free < needed * MIN_FREE_SHARE:
        yield Check("stop", f"disk of {results}", message, "free space, or set `results` to another disk")
    elif missing:
        yield Check("note", f"disk of {results}", message)


def _money(
    config: Config,
    missing: list[RunSpec],
    labels: dict[str, tuple[str, ...]],
    counts: dict[tuple[str, str], budget.Counts],
    results: Path,
) -> Iterator[Check]:
    """Yield what the language models cost. Equal text sets, such as the one that a control rearranges, count once."""
    tables = {(run.texts, run.dataset, run.protocol, run.backbone): run for run in missing}
    asked = set()
    for (name, dataset, *_), run in tables.items():
        try:
            providers = chat_providers(config, name, dataset)
        except ValueError:  # check_texts says it
            continue
        if dataset not in labels or texts_path(results, run).is_file():
            continue
        for where, provider in providers.items():
            key = (repr(provider.config), dataset, run.protocol, run.backbone)
            if key in asked:
                continue
            asked.add(key)
            cost = provider.estimate_cost(labels[dataset], counts[dataset, run.protocol].train_per_class)
            tokens = cost.tokens.prompt + cost.tokens.completion
            price = f"about {cost.usd:.2g} USD" if cost.usd is not None else "price unknown (price_in, price_out)"
            message = f"{len(labels[dataset])} classes of {dataset}: about {tokens} tokens, {price}"
            yield Check("note", where, message)


def _money_of_methods(missing: list[RunSpec], counts: dict[tuple[str, str], budget.Counts]) -> Iterator[Check]:
    """Yield what the questions of methods that ask a model behind an API cost, and lists of choices that are too long.

    Cached answers are not left out.
    """
    for run in missing:
        options = server_options(run)
        if options is None or (run.dataset, run.protocol) not in counts:
            continue
        count = counts[run.dataset, run.protocol]
        choices, longest = budget.num_choices(count), budget.frame_method(run).max_choices
        if longest is not None and choices > longest:
            message = f"each of its requests would list {choices} choices of {run.dataset}, and options.max_choices is {longest}"
            yield Check("stop", f"methods.{run.method}", message, "raise it, or take the experiment out")
            continue
        requests, tokens = budget.questions(run, count)
        price = (
            f"about {options.prices.cost(tokens):.2g} USD" if options.prices else "price unknown (price_in, price_out)"
        )
        message = (
            f"{requests} requests about clips of {run.dataset}, seed {run.seed}: about {tokens.prompt} tokens, {price}"
        )
        yield Check("note", f"methods.{run.method}", message)


def _time(
    config: Config, missing: list[RunSpec], counts: dict[tuple[str, str], budget.Counts], results: Path
) -> Iterator[Check]:
    """Yield the device and roughly how long the missing runs take."""
    cores = len(os.sched_getaffinity(0))
    rate = budget.measure_rate(min(cores, GPUS))
    if rate is None:
        yield Check("note", "time", f"{len(missing)} runs to do, no estimate: the device could not be tried")
        return
    device = "a GPU" if rate.device == "cuda" else "no GPU: everything is computed on the CPU"
    facts = {run.backbone: configured_facts(config, run.backbone) for run in missing}
    known = [run for run in missing if (run.dataset, run.protocol) in counts and facts[run.backbone].image_gflop]
    seconds = budget.run_seconds(known, facts, counts, rate)
    for name in dict.fromkeys(run.dataset for run in known):
        if not (results / "data" / name / "frames").is_dir():
            seconds += budget.DECODE_S * max(c.train + c.test for (key, _), c in counts.items() if key == name) / cores
    estimate = f"roughly {budget.duration(seconds)} on {cores} cores" if known else "no estimate yet"
    if len(known) < len(missing):
        estimate += f" ({len(missing) - len(known)} without an estimate: their clips are not listed, or the backbone's size is unknown)"
    message = f"{device}; {len(missing)} runs to do, {estimate}"
    yield Check("note", "time", message)
