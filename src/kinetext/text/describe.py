"""What each class is called and how it moves: asks a provider about every class and writes the table `texts`.
Where clips have captions instead of classes, those are the texts, and a clip stands where a class stands.

Sentences are checked lightly here; one that is not used stays in the table with the reason as its status.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from kinetext import registry
from kinetext.config import TextOptions
from kinetext.data.protocols import read_splits
from kinetext.tables import read_metadata, read_rows, write_table
from kinetext.text import providers
from kinetext.text.confusables import class_labels
from kinetext.text.providers import Context, Text, names


def describe_classes(
    clips: Path,
    splits: Path,
    confusables: Path,
    options: TextOptions,
    name: str,
    rule: str,
    cache: Path,
    output: Path,
) -> None:
    """Write the table `texts` for every label of every split, with one or more rows of kind `name` for each.

    `name` is the table's name in config.yaml. Of a clip, only its data set's class names matter here, never its label.
    A data set with captions takes the provider `captions`, and no other does.
    A class that cannot be described becomes a row with status `failed: ...`; a ValueError of the provider, which is
    one about the configuration, stops everything, and so does a table without one described class.
    """
    try:
        provider = registry.load(providers, options.module or name)
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
        config = registry.configure(provider, options.options)
        if hasattr(provider, "check"):
            provider.check(config)
    except ValueError as error:
        raise ValueError(f"texts.{name}.options.{error}") from None
    if hasattr(provider, "prepare"):
        provider.prepare(rivals, config, context)

    def told_of(label: str) -> list[Text]:
        try:
            return provider.describe(label, rivals[label], config, context)
        except ValueError:  # the configuration is wrong, so every other class would fail too
            raise
        except Exception as error:  # one class must not cost the others
            return [Text(label, "", kind="motion", status=f"failed: {type(error).__name__}: {error}")]

    with ThreadPoolExecutor(getattr(config, "max_in_flight", 1)) as pool:
        told = list(tqdm(pool.map(told_of, described), f"describe {name}", len(described), unit="class", disable=None))
    failed = [text.status for texts in told for text in texts if text.status.startswith("failed")]
    if len(failed) == sum(len(texts) for texts in told):
        raise ValueError(f"texts.{name}: none of {len(described)} classes could be described; {(failed or [''])[0]}")

    texts: list[Text] = []
    for label, of_class in zip(described, told, strict=True):
        if all(text.kind == "motion" for text in of_class):
            texts += names.describe(label, [], names.Config(), context)
        texts += of_class
    texts = texts if captioned else with_status(texts)
    write_table("texts", [text.row() for text in texts], output)

    moving = {text.label for text in texts if text.kind == "motion"}
    unused = [label for label in described if not any(_is_used_motion(text, label) for text in texts)]
    for label in unused if moving else []:  # a table of names has no motion rows, and that is right
        reasons = sorted({text.status for text in texts if text.label == label and text.kind == "motion"})
        why = "; ".join(reasons) or "the provider gave none"
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
        chosen[label] = of_label.get(rule) or of_label.get("text") or of_label.get("given") or []
    return chosen


def with_status(texts: list[Text]) -> list[Text]:
    """The same sentences; those that cannot help to tell classes apart get the reason as their status.

    Compared within a kind and a phase, without regard to case and blanks: what one class starts with, another may end
    with. Inside a class the first of two equals stays; between classes both are out, as neither has a better claim.
    """
    said_by: dict[tuple[str, str, str], list[str]] = {}
    for text in texts:
        if text.status == "ok":
            said_by.setdefault(_key(text), []).append(text.label)
    seen: set[tuple[str, tuple[str, str, str]]] = set()
    checked = []
    for text in texts:
        status = text.status
        if status == "ok":
            others = [label for label in said_by[_key(text)] if label != text.label]
            if not text.sentence.strip():
                status = "empty sentence"
            elif (text.label, _key(text)) in seen:
                status = "repeats a sentence of its class"
            elif others and text.kind == "motion":
                status = f"same sentence as class '{others[0]}'"
            seen.add((text.label, _key(text)))
        checked.append(replace(text, status=status))
    return checked


def _key(text: Text) -> tuple[str, str, str]:
    return text.kind, text.phase, " ".join(text.sentence.casefold().split())


def _is_used_motion(text: Text, label: str) -> bool:
    return text.label == label and text.kind == "motion" and text.status == "ok"
