"""What each class is called and how it moves: asks a provider about every class and writes the table `texts`.
Where clips have captions instead of classes, those are the texts, and a clip stands where a class stands.

Sentences are checked (texts/checks.py), a provider that can is asked again about those that fail, and one that is not
used in the end stays in the table with the reason as its status.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from kinetext.config.texts import TextOptions
from kinetext.core import plugins
from kinetext.core.detached import go_on
from kinetext.core.tables import DESCRIPTIONS, read_metadata, read_rows, write_table
from kinetext.data.splits import read_splits
from kinetext.texts import providers
from kinetext.texts.checks import TokenLimit, check_texts, named_failure
from kinetext.texts.mining import class_labels
from kinetext.texts.providers import Context, Text, names

Told = dict[str, list[Text]]  # label -> its rows


def are_paid(options: TextOptions, name: str) -> bool:
    """Whether these texts, or those that a control rearranges, come from a provider whose answers cost money."""
    try:
        provider = plugins.load_module(providers, options.module or name)
        if hasattr(provider, "rearrange"):
            provider, _ = provider.of(plugins.configure(provider, options.options))
    except ValueError:  # describe_classes says what is wrong
        return False
    return getattr(provider, "PAID", False)


def describe_classes(
    clips: Path,
    splits: Path,
    confusables: Path,
    options: TextOptions,
    name: str,
    rule: str,
    cache: Path,
    output: Path,
    limit: TokenLimit | None = None,
) -> None:
    """Write the table `texts` for every label of every split, with one or more rows of kind `name` for each.

    `name` is the table's name in config.yaml; `limit` is the backbone's. Of a clip, only its data set's class names matter
    here, never its label. A data set with captions takes the provider `captions`, and no other does.
    A class that cannot be described becomes a row whose status says why (validate.REASONS); a ValueError of the provider, which is
    one about the configuration, stops everything, and so does a table in which no description can be used.
    """
    try:
        provider = plugins.load_module(providers, options.module or name)
    except ValueError as error:
        raise ValueError(f"texts.{name}: {error}") from None
    captioned = not read_metadata(clips).get("labels")
    if captioned != getattr(provider, "OF_CAPTIONS", False):
        has, takes = ("captions", "texts of the module captions") if captioned else ("classes", "other texts")
        raise ValueError(f"texts.{name}: {clips} has {has}; it takes {takes}")
    found = read_splits(splits)
    asked = {label for split in found.values() for label in split.labels}
    if captioned:
        said = {row["clip_id"]: row["captions"] for row in read_rows("clips", clips) if row["clip_id"] in asked}
        labels = described = list(said)
    else:
        said, labels = {}, class_labels(read_metadata(clips), clips)
        described = [label for label in labels if label in asked]
    rivals = choose_rivals(confusables, described, rule)
    context = Context(labels, cache, said)
    try:
        config = plugins.configure(provider, options.options)
        if hasattr(provider, "check"):
            provider.check(config)
        control, options_of_control = provider, config
        if hasattr(control, "rearrange"):  # described and checked as the table that it rearranges
            provider, config = control.of(config)
    except ValueError as error:
        raise ValueError(f"texts.{name}.options.{error}") from None
    if hasattr(provider, "prepare"):
        provider.prepare(rivals, config, context)
    told = ask(provider, rivals, config, context, name)
    for label, texts in told.items():
        if all(_describes(text) for text in texts):
            told[label] = [*names.describe(label, [], names.Config(), context), *texts]
    if not captioned:
        sentences, skip_checks = getattr(config, "sentences", None), getattr(config, "skip_checks", False)

        def check(told: Told) -> Told:
            return check_texts(told, rivals, sentences, limit, skip_checks)

        told = ask_again(told, check, provider, rivals, config, context, name)
    for label, texts in told.items():
        told[label] = [replace(text, status=named_failure(text.status)) for text in texts]
    if hasattr(control, "rearrange"):
        told = control.rearrange(told, rivals, options_of_control)
    warn_of_undescribed(told, name)
    texts = [text for of_class in told.values() for text in of_class]
    metadata = {"control": providers.control_name(control, texts)}
    go_on()  # what outlives a killed command keeps answers, but the table is the next command's
    write_table("texts", [text.row() for text in texts], output, metadata)


def ask(provider: ModuleType, rivals: dict[str, list[str]], config: Any, context: Context, name: str) -> Told:
    """What the provider says of each class, several at once if its `at_once` says so.

    Raises ValueError if the configuration is wrong, or if no class could be described.
    """

    def told_of(label: str) -> list[Text]:
        try:
            return provider.describe(label, rivals[label], config, context)
        except ValueError:  # the configuration is wrong, so every other class would fail too
            raise
        except Exception as error:  # one class must not cost the others
            return [Text(label, "", kind="motion", status=f"failed: {type(error).__name__}: {error}")]

    with ThreadPoolExecutor(getattr(config, "at_once", 1)) as pool:
        bar = tqdm(pool.map(told_of, rivals), f"describe {name}", len(rivals), unit="class", disable=None)
        told = dict(zip(rivals, bar, strict=True))
    failed = [text.status for texts in told.values() for text in texts if text.status.startswith("failed")]
    if len(failed) == sum(len(texts) for texts in told.values()):
        raise ValueError(f"texts.{name}: none of {len(told)} classes could be described; {(failed or [''])[0]}")
    return told


def ask_again(
    told: Told,
    check: Callable[[Told], Told],
    provider: ModuleType,
    rivals: dict[str, list[str]],
    config: Any,
    context: Context,
    name: str,
) -> Told:
    """The texts with their status, after up to `max_repairs` rounds in which the provider mends classes with a faulty answer.

    Where no answer came there is no fault to name: the next run asks anew. A class that cannot be asked about again, for
    want of a key or of money, keeps what it has.
    """
    problems: dict[str, Exception] = {}

    def mended(texts: list[Text]) -> list[Text]:
        own = [text for text in texts if _describes(text)]
        label = own[0].label
        try:
            own = provider.repair(label, rivals[label], own, config, context)
        except Exception as error:  # what there is can be used
            problems[label] = error
        return [text for text in texts if not _describes(text)] + own

    told = check(told)
    for _ in range(getattr(config, "max_repairs", 0) if hasattr(provider, "repair") else 0):
        bad = [
            texts for label, texts in told.items() if label not in problems and any(_is_faulty(text) for text in texts)
        ]
        if not bad:
            break
        with ThreadPoolExecutor(getattr(config, "at_once", 1)) as pool:
            bar = tqdm(pool.map(mended, bad), f"ask {name} again", len(bad), unit="class", disable=None)
            told = check(told | {texts[0].label: texts for texts in bar})
    if problems:
        label, error = next(iter(problems.items()))
        print(f"warning: texts.{name}: {len(problems)} classes not mended; '{label}': {error}", file=sys.stderr)
    return told


def warn_of_undescribed(told: Told, name: str) -> None:
    """Name the classes that have no usable description; methods take their names instead (models/texts.py).

    Raises ValueError where all sentences fail: what was to be tested is not there. A table of names has none, rightly.
    """
    described = {label: [text for text in texts if _describes(text)] for label, texts in told.items()}
    silent = [label for label, texts in described.items() if all(text.status != "ok" for text in texts)]
    if not any(described.values()):
        return
    for label in silent:
        why = "; ".join(sorted({text.status for text in described[label]})) or "the provider gave none"
        if len(silent) == len(told):
            raise ValueError(f"texts.{name}: no description of any class can be used; of '{label}': {why}")
        print(f"warning: texts.{name}: class '{label}' has no usable motion sentence: {why}", file=sys.stderr)


def choose_rivals(confusables: Path, labels: list[str], rule: str) -> dict[str, list[str]]:
    """Each label's rivals, the likeliest first: under `rule`, else by the likeness of names, else as given. A novel
    class has no training clips, so the rule `features` has no rivals for it.
    """
    rows = sorted(read_rows("confusables", confusables), key=lambda row: row["rank"])
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        found.setdefault(row["label"], {}).setdefault(row["rule"], []).append(row["rival"])
    chosen = {}
    for label in labels:
        of_label = found.get(label, {})
        chosen[label] = of_label.get(rule) or of_label.get("text") or of_label.get("declared") or []
    return chosen


def _is_faulty(text: Text) -> bool:
    """Whether a description is part of an answer, and cannot be used."""
    return _describes(text) and text.status != "ok" and not named_failure(text.status).startswith("failed:")


def _describes(text: Text) -> bool:
    """Whether a row describes its class, or a control stands where a description would."""
    return text.kind in DESCRIPTIONS
