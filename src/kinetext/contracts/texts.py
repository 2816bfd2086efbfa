"""Contract checks of text providers, on two classes that are each other's rivals, or on two clips with captions."""

import json
from collections import Counter
from dataclasses import replace

from kinetext.contracts import Case, require
from kinetext.core.schemas import DESCRIPTIONS
from kinetext.core.tables import write_shard
from kinetext.texts.chat.limits import Cost
from kinetext.texts.positions import is_position
from kinetext.texts.providers.base import Context, Provider, Text


def options_are_accepted(case: Case) -> None:
    """Check that the provider accepts the options."""
    _provider(case)


def attributes_have_known_values(case: Case) -> None:
    """Check that the optional attributes have the types and ranges of the base class."""
    provider = _provider(case)
    flags = ("gives_descriptions", "of_captions", "control", "paid", "skip_checks", "reads_clips", "needs_confusion")
    for name in flags:
        require(isinstance(getattr(provider, name), bool), f"{name} is {getattr(provider, name)!r}; take True or False")
    require(provider.at_once >= 1, f"at_once is {provider.at_once}; at least one class is described at a time")
    require(provider.max_repairs >= 0, f"max_repairs is {provider.max_repairs}")
    require(provider.steps is None or provider.steps >= 0, f"steps is {provider.steps}")
    require(provider.sentences is None or provider.sentences >= 1, f"sentences is {provider.sentences}")
    cost = provider.estimate_cost(["a", "b"])
    require(
        cost is None or isinstance(cost, Cost), f"estimate_cost returns {cost!r}; take None or {Cost.__module__}.Cost"
    )
    require(not (provider.of_captions and provider.gives_descriptions), "captions are no descriptions of classes")


def listed_files_exist(case: Case) -> None:
    """Check that every file that the provider lists exists."""
    for path in _provider(case).list_files():
        require(path.is_file(), f"list_files names {path}, which does not exist")


def rows_are_complete(case: Case) -> None:
    """Check that the rows of each class have the class as label, a known kind and position, a sentence and a source."""
    provider, context = _provider(case), _context(case)
    if provider.source is not None:
        return
    kinds = ("caption",) if provider.of_captions else ("name", *DESCRIPTIONS)
    for label, rivals in _rivals(case).items():
        rows = provider.describe(label, rivals, context)
        require(bool(rows), f"describe returns nothing for '{label}'")
        for row in rows:
            require(isinstance(row, Text), f"describe returns a {type(row).__name__}; take {Text.__module__}.Text")
            require(row.label == label, f"describe('{label}') returns a row of '{row.label}'")
            require(row.kind in kinds, f"'{label}' has a row of kind '{row.kind}'; take one of {', '.join(kinds)}")
            require(
                is_position(row.position),
                f"'{label}' has a row at position {row.position!r}; take a number from 0 (start) to 1 (end), or None",
            )
            require(row.sentence.strip() != "", f"'{label}' has a row without a sentence")
            require(row.sentence == row.sentence.strip(), f"'{row.sentence}' has spaces around it")
            require(bool(row.source), f"'{row.sentence}' has no source: who wrote it?")
            require(row.status == "ok", f"'{row.sentence}' has status '{row.status}'; checks set it later")


def descriptions_are_announced(case: Case) -> None:
    """Check that there are descriptions if and only if gives_descriptions is True."""
    provider, context = _provider(case), _context(case)
    if provider.source is not None:
        return
    for label, rivals in _rivals(case).items():
        described = any(row.kind in DESCRIPTIONS for row in provider.describe(label, rivals, context))
        require(
            described == provider.gives_descriptions,
            f"gives_descriptions is {provider.gives_descriptions}, and '{label}' has {'' if described else 'no '}rows of "
            f"kind {', '.join(DESCRIPTIONS)}",
        )


def rows_repeat(case: Case) -> None:
    """Check that a class gets the same rows in two calls, also if the classes are in another order."""
    provider, context = _provider(case), _context(case)
    if provider.source is not None:
        return
    turned = replace(context, labels=context.labels[::-1])
    for label, rivals in _rivals(case).items():
        rows = provider.describe(label, rivals, context)
        require(rows == provider.describe(label, rivals, context), f"the second time '{label}' has other rows")
        require(
            rows == provider.describe(label, rivals, turned), f"'{label}' has other rows if the classes are reversed"
        )


def rearranging_only_moves_descriptions(case: Case) -> None:
    """Check that a control that rearranges a table only moves descriptions and keeps names and sentences."""
    provider = _provider(case)
    if provider.source is None or case.cls.refine is not Provider.refine:  # or it gives new sentences
        return
    context, rivals = _context(case), _rivals(case)
    table = {k: [Text(k, k), *provider.source.describe(k, rivals[k], context)] for k in rivals}
    moved = provider.rearrange(table, rivals)
    require(list(moved) == list(table), f"the classes are {list(moved)} instead of {list(table)}")
    for label, rows in moved.items():
        require(rows[0] == table[label][0], f"the name of '{label}' became '{rows[0].sentence}'")
        require({row.label for row in rows} == {label}, f"'{label}' has rows of other labels")
    require(_descriptions(moved) == _descriptions(table), "sentences were lost, added or changed")
    reversed_moved = provider.rearrange(dict(reversed(table.items())), rivals)
    require(reversed_moved == moved, "the order of the classes changes the table")


CHECKS = (
    options_are_accepted,
    attributes_have_known_values,
    listed_files_exist,
    rows_are_complete,
    descriptions_are_announced,
    rows_repeat,
    rearranging_only_moves_descriptions,
)


def _provider(case: Case) -> Provider:
    provider: Provider = case.cls(case.config)
    provider.check()
    return provider


def _context(case: Case) -> Context:
    """Return a context with the classes of the case, two captions per class and, if the provider needs them, frames."""
    captions = {label: [f"it is {label}", f"there is {label}"] for label in case.labels}
    context = Context(list(case.labels), case.folder, captions)
    return with_frames(context) if case.cls.reads_clips else context


def with_frames(context: Context) -> Context:
    """Return the context with one training clip per class, grey frames that are written into its folder `cache`."""
    clips = {label: [f"{label} 0"] for label in context.labels}
    rows = [
        {"clip_id": f"{label} 0", "status": "ok", "images": [bytes([50 * number + t]) * 3 * 8 * 8 for t in range(8)]}
        for number, label in enumerate(sorted(clips))
    ]
    write_shard("frames", [rows], context.cache / "0000.arrow")
    frames = context.cache / "frames.json"
    frames.write_text(json.dumps({"shards": {"0000": ""}}))
    return replace(context, train_clips=clips, frames=frames)


def _rivals(case: Case) -> dict[str, list[str]]:
    return {label: [other for other in case.labels if other != label] for label in case.labels}


def _descriptions(table: dict[str, list[Text]]) -> Counter[Text]:
    """Return how often each description occurs in a table, regardless of its class, position and source."""
    return Counter(
        replace(row, label="", source="", position=None)
        for rows in table.values()
        for row in rows
        if row.kind != "name"
    )
