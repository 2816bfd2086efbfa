"""Describe each class with a text provider, check the sentences, and write the table `texts`.

Sentences that fail a check (texts/checks.py) are repaired where the provider can do so. Those that still fail stay in
the table with the reason as their status. For a data set with captions the captions are the texts, one label per clip.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from kinetext.config.texts import TextOptions
from kinetext.core import plugins
from kinetext.core.detached import raise_if_stopping
from kinetext.core.schemas import DESCRIPTIONS, is_used
from kinetext.core.tables import read_metadata, read_rows, write_table
from kinetext.data.labels import row_classes
from kinetext.data.splits import read_splits
from kinetext.texts.chat.limits import MAX_WORDS, words_within
from kinetext.texts.checks import TokenLimit, check_texts, mark_cut, named_failure
from kinetext.texts.mining import class_labels
from kinetext.texts.providers.base import Context, Provider, Text, load_provider
from kinetext.texts.providers.names import Names
from kinetext.texts.rivals import choose_rivals, confusion_of_pairs
from kinetext.texts.rounds import TextsByLabel, check_round, warn_failed_pairs


def is_paid(options: TextOptions, name: str) -> bool:
    """Return whether answers of a provider cost money; for a control, answers of the provider that it rearranges."""
    try:
        provider = plugins.load("texts", options.module or name)
        return provider(plugins.configure(provider, options.options)).paid
    except ValueError:  # describe_classes reports it
        return False


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
    frames: Path | None = None,
) -> None:
    """Write the table `texts`: for every label of every split one or more rows of kind `name`, and its descriptions.

    `name` is the key of the text set in config.yaml; `limit` is the token limit of the backbone. `frames` is the
    frames.json of the data set, for a provider that reads training clips. Other providers get class names only, never
    the label of a clip. A data set with captions needs the provider `captions`; other
    data sets need another provider. A class without a description gets a row whose status states the reason
    (checks.REASONS). Raises ValueError if the provider refuses its options or the whole table, and if no description
    can be used.
    """
    table = load_provider(f"texts.{name}", options.module or name, options.options)
    metadata = read_metadata(clips)
    captioned = not metadata.get("labels")
    if captioned != table.of_captions:
        kind, suitable = ("captions", "the module captions") if captioned else ("classes", "any module but captions")
        raise ValueError(f"texts.{name}: {clips} has {kind}; use {suitable}")
    scored = {label for split in read_splits(splits).values() for label in split.labels}
    captions = (
        {row["clip_id"]: row["captions"] for row in read_rows("clips", clips) if row["clip_id"] in scored}
        if captioned
        else {}
    )
    labels = list(captions) if captioned else class_labels(metadata, clips)
    rivals = choose_rivals(confusables, [label for label in labels if label in scored], rule)
    train_clips = _train_clips(splits) if frames else {}
    max_words = words_within(limit.tokens) if limit else MAX_WORDS
    context = Context(labels, cache, captions, confusion_of_pairs(confusables, rule), train_clips, frames, max_words)
    texts = make_table(table, rivals, context, name, limit)
    warn_undescribed(texts, name)
    warn_cut(texts, name)
    rows = [text for of_class in texts.values() for text in of_class]
    raise_if_stopping()  # a process that survived its command stores answers only; the next command writes the table
    write_table("texts", [text.row() for text in rows], output, {"control": table.control_name(rows)})


def _train_clips(splits: Path) -> dict[str, list[str]]:
    """Return the clip_ids of the training clips of each class."""
    clips: dict[str, list[str]] = {}
    for row in read_splits(splits)["train"].rows:
        for label in row_classes(row):
            clips.setdefault(label, []).append(row["clip_id"])
    return clips


def make_table(
    provider: Provider, rivals: dict[str, list[str]], context: Context, name: str, limit: TokenLimit | None
) -> TextsByLabel:
    """Return the checked and repaired rows of every class. A provider with a `source` gets the finished rows of that."""
    check = partial(
        check_texts,
        rivals=rivals,
        sentences=provider.sentences,
        limit=limit,
        skip_checks=provider.skip_checks,
        steps=provider.steps,
        wrote=provider.wrote,
    )
    if provider.source:  # it is described and checked as a table of its own
        source = make_table(provider.source, rivals, context, name, limit)
        refined = provider.refine(source, context)
        if refined is None:
            return provider.rearrange(source, rivals)
        check = partial(check_round, source=source, wrote=provider.wrote, check=check)
        texts = _named(repair_all(check(refined), check, provider, rivals, context, name))
        warn_failed_pairs(texts, provider.wrote, name)
        return texts
    provider.prepare(rivals, context)
    texts = describe_all(provider, rivals, context, name)
    if provider.of_captions:
        return _named({label: [mark_cut(text, limit) for text in rows] for label, rows in texts.items()})
    for label, rows in texts.items():
        if all(_describes(text) for text in rows):
            texts[label] = [*Names(Names.Config()).describe(label, [], context), *rows]
    return _named(repair_all(check(texts), check, provider, rivals, context, name))


def _named(texts: TextsByLabel) -> TextsByLabel:
    """Return the texts with the reasons of known failures as their statuses."""
    return {label: [replace(text, status=named_failure(text.status)) for text in rows] for label, rows in texts.items()}


def describe_all(provider: Provider, rivals: dict[str, list[str]], context: Context, name: str) -> TextsByLabel:
    """Return the provider's rows of every class, by label.

    Raises ValueError if the provider raises it, or if every class failed.
    """

    def describe(label: str) -> list[Text]:
        try:
            return provider.describe(label, rivals[label], context)
        except ValueError:  # every other class would fail too
            raise
        except Exception as error:  # costs this class only
            return [Text(label, "", kind="motion", status=f"failed: {type(error).__name__}: {error}")]

    labels = list(rivals)
    texts = {label: describe(label) for label in labels[:1]}  # alone: it shows what a server accepts
    with ThreadPoolExecutor(provider.at_once) as pool:
        bar = tqdm(
            pool.map(describe, labels[1:]), f"describe {name}", len(labels), initial=1, unit="class", disable=None
        )
        texts |= zip(labels[1:], bar, strict=True)
    statuses = [text.status for rows in texts.values() for text in rows]
    if all(named_failure(status).startswith("failed") for status in statuses):  # others may be repaired
        raise ValueError(f"texts.{name}: none of {len(texts)} classes could be described; {(statuses or [''])[0]}")
    return texts


def repair_all(
    texts: TextsByLabel,
    check: Callable[[TextsByLabel], TextsByLabel],
    provider: Provider,
    rivals: dict[str, list[str]],
    context: Context,
    name: str,
) -> TextsByLabel:
    """Request repairs for classes whose answers have faults, in up to `max_repairs` rounds; return the checked texts.

    A class without an answer is not repaired; the next run requests its answer again. A class keeps its rows if its
    repair fails, for example because the key or money is missing.
    """
    errors: dict[str, Exception] = {}

    def repair(rows: list[Text]) -> list[Text]:
        descriptions = [text for text in rows if may_change(text)]
        label = descriptions[0].label
        try:
            descriptions = provider.repair(label, rivals[label], descriptions, context)
        except Exception as error:
            errors[label] = error
        return [text for text in rows if not may_change(text)] + descriptions

    def may_change(text: Text) -> bool:
        return _describes(text) and provider.wrote(text)

    def is_faulty(text: Text) -> bool:
        return may_change(text) and _is_faulty(text)

    for _ in range(provider.max_repairs):
        faulty = [rows for label, rows in texts.items() if label not in errors and any(map(is_faulty, rows))]
        if not faulty:
            break
        with ThreadPoolExecutor(provider.at_once) as pool:
            bar = tqdm(pool.map(repair, faulty), f"repair {name}", len(faulty), unit="class", disable=None)
            texts = check(texts | {rows[0].label: rows for rows in bar})
    if errors:
        label, error = next(iter(errors.items()))
        print(f"warning: texts.{name}: {len(errors)} classes not repaired; '{label}': {error}", file=sys.stderr)
    return texts


def warn_undescribed(texts: TextsByLabel, name: str) -> None:
    """Print the classes that have no usable description. Methods use their names instead (backbones/text_table.py).

    A table that holds only names is not checked. Raises ValueError if descriptions exist but none can be used.
    """
    descriptions = {label: [text for text in rows if _describes(text)] for label, rows in texts.items()}
    undescribed = [label for label, rows in descriptions.items() if not any(is_used(text.status) for text in rows)]
    if not any(descriptions.values()):
        return
    for label in undescribed:
        reasons = "; ".join(sorted({text.status for text in descriptions[label]})) or "the provider gave none"
        if len(undescribed) == len(texts):
            raise ValueError(f"texts.{name}: no class has a usable description; '{label}': {reasons}")
        print(f"warning: texts.{name}: class '{label}' has no usable description: {reasons}", file=sys.stderr)


def warn_cut(texts: TextsByLabel, name: str) -> None:
    """Print how many texts exceed the token limit of the backbone; their rows have the status `cut`."""
    rows = [text for of_label in texts.values() for text in of_label]
    cut = [text for text in rows if text.status.startswith("cut:")]
    if cut:
        print(
            f"warning: texts.{name}: {len(cut)} of {len(rows)} texts are cut at the token limit; the first: "
            f"'{cut[0].label}', {cut[0].status.removeprefix('cut: ')}",
            file=sys.stderr,
        )


def _is_faulty(text: Text) -> bool:
    """Return whether a description was answered but cannot be used."""
    return not is_used(text.status) and not named_failure(text.status).startswith("failed:")


def _describes(text: Text) -> bool:
    return text.kind in DESCRIPTIONS
