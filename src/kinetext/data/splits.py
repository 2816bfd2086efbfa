"""split_clips: which clips train, choose and test under a protocol, and among which classes a clip is scored.

- `supervised`: the data set's own splits.
- `few_shot_{K}`: K training clips a class (and at most K to validate), all test clips. ViFi-CLIP (CVPR 2023) uses 2, 4, 8, 16.
- `base_to_novel`, `base_to_novel_{K}`: the classes named `novel` are taken out of training and validation; their test
  clips become a split of their own, scored among the novel classes only (ViFi-CLIP, with K = 16). Scored among all
  classes they are the split `novel_among_all` (generalised zero-shot, Chao et al., ECCV 2016): a method that takes
  everything for what it was trained on shows there.
- `zero_shot_from_{data set}`: nothing here trains; the run of that data set is tested on all classes, and on `unseen`, the
  classes whose names do not occur there, scored among themselves. (22 of UCF101's 101 names are Kinetics-400's.)

Draws of K are part of the protocol, not of a run's seed, as whatever is mined from training clips depends on them:
`few_shot_4` is draw 0, `few_shot_4_draw1` another. A list from a file (`shots`) goes before a draw.
No clip may train and test: neither by its name nor by the pictures in it.

Clips with captions (retrieval) have no classes: each stands for itself, and `supervised` and `zero_shot_from` are their
protocols.
"""

import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetext.config.data import PROTOCOL, ProtocolOptions
from kinetext.core.files import atomic_write
from kinetext.core.plugins import nearest
from kinetext.core.tables import open_shard, read_metadata, read_rows, write_table
from kinetext.data.lists import read_lines

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Split:
    """Clips with the class names that they are scored among, in order. `rows` have a clip_id and a label.

    Where clips have captions, each is its own label: its clip_id, under which the table `texts` has its captions.
    """

    rows: Rows
    labels: list[str]
    captioned: bool = False


def split_clips(
    name: str,
    clips: Path,
    frames: list[Path],
    protocol: str,
    options: ProtocolOptions,
    output: Path,
    source: Path | None = None,
    source_frames: list[Path] | None = None,
) -> None:
    """Write the table `splits` of a data set under a protocol; metadata `labels`: each split's classes, in order.

    `source` and its frames are those of the data set that zero_shot_from names: its table `splits`, supervised. Raises
    ValueError where a clip trains and tests, with all such training clips in the file overlap.txt beside the output.
    """
    labels = read_metadata(clips)["labels"]
    rows = [{key: row[key] for key in ("clip_id", "split", "label")} for row in read_rows("clips", clips)]
    hashes = content_hashes(frames)
    if source is None:
        try:
            splits = protocol_splits(rows, labels, protocol, options, set(hashes) if frames else None)
        except ValueError as error:
            raise ValueError(f"datasets.{name}: {protocol}: {error}") from None
        trained, trained_hashes = splits, hashes
    else:
        trained, trained_hashes = read_splits(source), content_hashes(source_frames or [])
        splits = zero_shot_splits(rows, labels, trained["train"].labels)
    pairs = overlap(trained, splits, trained_hashes, hashes)
    if pairs:
        offenders = output.with_name("overlap.txt")
        with atomic_write(offenders) as part:
            part.write_text("".join(f"{clip}\n" for clip in sorted({clip for clip, _ in pairs})))
        some = "; ".join(f"{a} = {b}" for a, b in pairs[:5])
        raise ValueError(
            f"{name}, {protocol}: {len(pairs)} training clips are test clips, too: {some}. All are listed in {offenders}; "
            f"copy that file beside your configuration and name the copy as "
            f"datasets.{protocol.removeprefix('zero_shot_from_') if source else name}.exclude"
        )
    made = [
        {"clip_id": row["clip_id"], "split": split, "label": row["label"]}
        for split, part in splits.items()
        for row in part.rows
    ]
    metadata = {"labels": {split: part.labels for split, part in splits.items()}, "captioned": not labels}
    write_table("splits", made, output, metadata)
    of = {split: f" of {len(part.labels)} classes" if labels else "" for split, part in splits.items()}
    short = classes_short_of_shots(splits["train"], protocol)
    if short:
        few = f"{len(short)} classes have fewer clips: {', '.join(short[:10])}"
        print(f"split_clips {name} {protocol}: warning: {few}", file=sys.stderr)
    counts = ", ".join(f"{split} {len(part.rows)} clips{of[split]}" for split, part in splits.items())
    print(f"split_clips {name} {protocol}: {counts}", file=sys.stderr)


def read_splits(path: Path) -> dict[str, Split]:
    """The splits of the table `splits` by their names, empty ones too."""
    metadata = read_metadata(path)
    captioned = metadata.get("captioned", False)
    splits = {name: Split([], labels, captioned) for name, labels in metadata["labels"].items()}
    for row in read_rows("splits", path):
        split = splits[row["split"]]
        if captioned:
            row["label"] = row["clip_id"]
            split.labels.append(row["label"])
        split.rows.append(row)
    return splits


def protocol_splits(
    rows: Rows, labels: list[str], protocol: str, options: ProtocolOptions, usable: set[str] | None = None
) -> dict[str, Split]:
    """The splits train, val, test, and where there are novel classes novel and novel_among_all, of clips with clip_id,
    split, label.

    Shots are drawn among the `usable` clips, those with frames. Raises ValueError if there is nothing to train on, if a
    novel class does not exist, or if a list of shots names what is no training clip, or one twice.
    """
    found = PROTOCOL.fullmatch(protocol)
    if not found:
        raise ValueError(f"protocol: no '{protocol}'")
    if not labels and found["kind"] != "supervised":
        raise ValueError(f"protocol {protocol}: the clips have captions, and {found['kind']} draws by class")
    held_out = novel_classes(rows, labels, options) if found["kind"] == "base_to_novel" else set()
    base = [label for label in labels if label not in held_out]

    def part(split: str, wanted: list[str]) -> Split:
        keep = set(wanted)
        # a data set with captions has no labels: all of its clips are scored among each other
        return Split([row for row in rows if row["split"] == split and (not labels or row["label"] in keep)], wanted)

    splits = {"train": part("train", base), "val": part("val", base), "test": part("test", base)}
    if held_out:
        splits["novel"] = part("test", [label for label in labels if label in held_out])
        splits["novel_among_all"] = Split(splits["novel"].rows, labels)
    if not splits["train"].rows:
        raise ValueError(f"protocol {protocol}: no training clips; splits found: {sorted({r['split'] for r in rows})}")
    if found["shots"]:
        shots, draw = int(found["shots"]), int(found["draw"] or 0)
        for split in ("train", "val"):
            drawn = draw_clips([r for r in splits[split].rows if usable is None or r["clip_id"] in usable], shots, draw)
            splits[split] = Split(drawn, base)
        if shots in options.shots:
            listed = _listed(Path(options.shots[shots]), part("train", base).rows)
            splits["train"] = Split(listed, base)
    return splits


def classes_short_of_shots(train: Split, protocol: str) -> list[str]:
    """The classes with fewer training clips than the K of a K-shot protocol, each with how many it has."""
    found = PROTOCOL.fullmatch(protocol)
    shots = int(found["shots"] or 0) if found else 0
    drawn = Counter(row["label"] for row in train.rows)
    return [f"{label} {drawn[label]}" for label in train.labels if drawn[label] < shots]


def zero_shot_splits(rows: Rows, labels: list[str], trained: list[str]) -> dict[str, Split]:
    """The splits train and val, empty, test, and unseen: the classes whose names are not among those `trained`."""
    seen = {_bare(label) for label in trained}
    unseen = [label for label in labels if _bare(label) not in seen]
    tested = [row for row in rows if row["split"] == "test"]
    strange = set(unseen)
    return {
        "train": Split([], []),
        "val": Split([], []),
        "test": Split(tested, labels),
        "unseen": Split([row for row in tested if row["label"] in strange], unseen),
    }


def novel_classes(rows: Rows, labels: list[str], options: ProtocolOptions) -> set[str]:
    """The classes held out: those named, or the half with fewer training clips (ViFi-CLIP; the smaller half if odd)."""
    if options.novel != "half":
        for label in options.novel:
            if label not in labels:
                raise ValueError(f"novel: there is '{label}', which is no class{nearest(label, labels)}")
        return set(options.novel)
    count = Counter(row["label"] for row in rows if row["split"] == "train")
    by_frequency = sorted(labels, key=lambda label: (-count[label], labels.index(label)))
    return set(by_frequency[-(-len(labels) // 2) :])


def overlap(
    trained: dict[str, Split], tested: dict[str, Split], trained_hash: dict[str, str], tested_hash: dict[str, str]
) -> list[tuple[str, str]]:
    """Pairs of a clip that trains or validates and a clip that tests, of the same name or the same pictures."""
    tests = {row["clip_id"] for name, split in tested.items() if name not in ("train", "val") for row in split.rows}
    by_hash = {tested_hash[clip]: clip for clip in sorted(tests) if clip in tested_hash}
    pairs = []
    for clip in sorted({row["clip_id"] for name in ("train", "val") for row in trained[name].rows}):
        if clip in tests:
            pairs.append((clip, clip))
        elif trained_hash.get(clip) in by_hash:
            pairs.append((clip, by_hash[trained_hash[clip]]))
    return pairs


def content_hashes(shards: list[Path]) -> dict[str, str]:
    """The hash of each clip's pictures; clips without frames have none."""
    found: dict[str, str] = {}
    for shard in shards:
        columns = open_shard("frames", shard).select(["clip_id", "content_hash"]).to_pydict()
        found |= {c: h for c, h in zip(columns["clip_id"], columns["content_hash"], strict=True) if h is not None}
    return found


def draw_clips(rows: Rows, shots: int, draw: int) -> Rows:
    """At most `shots` clips of each class, in the order of the rows. No class's draw depends on another's."""
    by_label: dict[str, list[str]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row["clip_id"])
    kept: set[str] = set()
    for label, clip_ids in by_label.items():
        chance = random.Random(f"{draw} {label}")
        kept.update(chance.sample(sorted(clip_ids), min(shots, len(clip_ids))))
    return [row for row in rows if row["clip_id"] in kept]


def _listed(path: Path, rows: Rows) -> Rows:
    """The training clips that a file lists, one a line: a clip_id, a file name alone, or either with a class number after
    it (ViFi-CLIP's lists).
    """
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for name in {row["clip_id"], Path(row["clip_id"]).name}:
            by_name.setdefault(name, []).append(row)
    found = []
    for number, line in read_lines(path):
        rows_there = by_name.get(line.strip()) or by_name.get(line.rsplit(maxsplit=1)[0], [])
        if len(rows_there) == 1 and rows_there[0] in found:
            raise ValueError(f"{path}:{number}: '{line}' stands in an earlier line, too; list each clip once")
        if len(rows_there) != 1:
            what = "no training clip" if not rows_there else f"{len(rows_there)} training clips"
            raise ValueError(f"{path}:{number}: '{line}' is {what}{nearest(line, list(by_name)[:2000])}")
        found += rows_there
    return found


def _bare(label: str) -> str:
    """A class name without case, blanks and signs, as names of one thing differ between data sets."""
    return re.sub(r"[^a-z0-9]", "", label.lower())
