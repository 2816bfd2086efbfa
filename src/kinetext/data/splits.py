"""split_clips: select the clips for training, validation and testing under a protocol, and the classes to score them
for.

- `supervised`: the data set's own splits.
- `few_shot_{K}`: K training clips per class (and at most K for validation), all test clips. ViFi-CLIP (CVPR 2023) uses
  2, 4, 8, 16.
- `base_to_novel`, `base_to_novel_{K}`: the classes in `novel` are removed from training and validation. The other
  classes are the base classes. Test clips of base classes are the split `test`, scored among the base classes. Test
  clips of novel classes are the split `novel`, scored among the novel classes (CoCoOp; ViFi-CLIP, with K = 16). The
  splits `test_among_all` and `novel_among_all` have the same clips, scored among all classes (generalised zero-shot
  learning: Chao et al., ECCV 2016). A method that prefers the classes it was trained on gains in `test_among_all` and
  loses in `novel_among_all`.
- `zero_shot_from_{data set}`: nothing is trained on this data set. The model trained on the named data set is tested on
  all classes here, and on the split `unseen`: the classes whose names do not occur in the named data set, scored among
  each other. (22 of UCF101's 101 class names are also in Kinetics-400.)

Draws of K clips are part of the protocol, not of a run's seed, because everything that is computed from the training
clips before a run depends on them: `few_shot_4` is draw 0, `few_shot_4_draw1` another draw. A list from a file
(`shots`) takes precedence over a draw; each draw that is used then needs a list. No clip may be used both for training
or validation and for testing. Clips are compared by name and by the content of their frames.

Clips with captions (retrieval) have no classes: each clip is scored among all clips, and only `supervised` and
`zero_shot_from` apply. For multi-label data sets only `supervised` applies, because shots and novel classes are drawn
by the one class of a clip.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetext.config.data import PROTOCOL, ProtocolOptions
from kinetext.core.files import atomic_write
from kinetext.core.plugins import nearest
from kinetext.core.tables import open_shard, read_metadata, read_rows, write_table
from kinetext.data import near_equal, vificlip
from kinetext.data.labels import row_classes
from kinetext.data.shots import draw_clips, listed_clips

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Split:
    """The clips of a split (rows with clip_id and label), and the classes that they are scored among, in order.

    If clips have captions, the label of a clip is its clip_id, under which the table `texts` has its captions.
    """

    rows: Rows
    labels: list[str]
    captioned: bool = False
    multi_label: bool = False  # whether rows have their classes in `labels`, and None in `label`


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
    """Write the table `splits` of a data set under a protocol. The metadata `labels` has the classes of each split.

    The metadata `frame_set` is the name of the folder of `frames`. `near_equal` describes the near-equal clips.
    `source` and `source_frames` belong to the data set that zero_shot_from names: its supervised table `splits` and its
    frames. Raises ValueError if a training or validation clip is also a test clip; overlap.txt beside the output then
    lists all such clips. Raises ValueError as well if the protocol does not apply to the data set.
    """
    described = read_metadata(clips)
    labels, columns = described["labels"], ("clip_id", "split", "label", "group", "labels", "kind")
    rows = [{key: row[key] for key in columns} for row in read_rows("clips", clips)]
    if described.get("multi_label") and protocol != "supervised":
        raise ValueError(f"{name}: {protocol}: clips have several labels each, which only supervised serves")
    hashes = content_hashes(frames)
    if source is None:
        try:
            splits = protocol_splits(rows, labels, protocol, options, set(hashes) if frames else None)
        except ValueError as error:
            raise ValueError(f"datasets.{name}: {protocol}: {error}") from None
        trained, trained_hashes = splits, hashes
    else:
        trained, trained_hashes = read_splits(source), content_hashes(source_frames or [])
        if trained["train"].multi_label:
            raise ValueError(f"{name}: {protocol}: its clips have several labels each, which only supervised serves")
        splits = zero_shot_splits(rows, labels, trained["train"].labels)
    pairs = overlap(trained, splits, trained_hashes, hashes)
    if pairs:
        trains = protocol.removeprefix("zero_shot_from_") if source else name
        raise ValueError(f"{name}, {protocol}: {_write_overlap(pairs, trains, output.with_name('overlap.txt'))}")
    split_rows = [
        {"split": split, **{key: row.get(key) for key in ("clip_id", "label", "group", "labels", "kind")}}
        for split, part in splits.items()
        for row in part.rows
    ]
    near = near_equal_clips(trained, splits, source_frames or frames, frames) if labels else []
    if near:
        first = "; ".join(f"{pair.train} ~ {pair.test}" for pair in near[:5])
        print(f"warning: {name}, {protocol}: {len(near)} test clips look like training clips: {first}", file=sys.stderr)
    metadata = {
        "labels": {split: part.labels for split, part in splits.items()},
        "captioned": not labels,
        "multi_label": bool(described.get("multi_label")),
        "near_equal": near_equal.summary(near),
        "frame_set": frames[0].parent.name if frames else None,
    }
    write_table("splits", split_rows, output, metadata)
    _print_sizes(f"split_clips {name} {protocol}", splits, classes_short_of_shots(splits["train"], protocol))


def _write_overlap(pairs: list[tuple[str, str]], trains: str, output: Path) -> str:
    """Write the training and validation clips that are also test clips to `output`. Return the error message."""
    with atomic_write(output) as part:
        part.write_text("".join(f"{clip}\n" for clip in sorted({clip for clip, _ in pairs})))
    first = "; ".join(f"{trained} = {tested}" for trained, tested in pairs[:5])
    return (
        f"{len(pairs)} training clips are test clips, too: {first}. All are listed in {output}; copy that file beside "
        f"your configuration and name the copy as datasets.{trains}.exclude"
    )


def _print_sizes(subject: str, splits: dict[str, Split], short: list[str]) -> None:
    if short:
        print(f"warning: {subject}: {len(short)} classes have fewer clips: {', '.join(short[:10])}", file=sys.stderr)
    classes = {split: f" of {len(part.labels)} classes" if part.labels else "" for split, part in splits.items()}
    counts = ", ".join(f"{split} {len(part.rows)} clips{classes[split]}" for split, part in splits.items())
    print(f"{subject}: {counts}", file=sys.stderr)


def read_splits(path: Path) -> dict[str, Split]:
    """Read the table `splits`. Return the splits by name, including empty ones."""
    metadata = read_metadata(path)
    captioned, multi_label = metadata.get("captioned", False), metadata.get("multi_label", False)
    splits = {name: Split([], labels, captioned, multi_label) for name, labels in metadata["labels"].items()}
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
    """Return the splits train, val and test. With novel classes, also return novel, novel_among_all and test_among_all.

    Rows have clip_id, split, label. Shots are drawn among the `usable` clips, those with frames. Raises ValueError if
    there is nothing to train on, if a novel class does not exist, or if a list of shots names a clip twice or one that
    is not a training clip.
    """
    match = PROTOCOL.fullmatch(protocol)
    if not match:
        raise ValueError(f"protocol: no '{protocol}'")
    if not labels and match["kind"] != "supervised":
        raise ValueError(f"protocol {protocol}: the clips have captions, but {match['kind']} draws by class")
    held_out = novel_classes(rows, labels, options) if match["kind"] == "base_to_novel" else set()
    base = [label for label in labels if label not in held_out]

    def part(split: str, classes: list[str]) -> Split:
        keep = set(classes)
        # without labels (captions) all clips are scored among each other
        of_split = [row for row in rows if row["split"] == split]
        return Split([row for row in of_split if not labels or keep.intersection(row_classes(row))], classes)

    splits = {"train": part("train", base), "val": part("val", base), "test": part("test", base)}
    if held_out:
        splits["novel"] = part("test", [label for label in labels if label in held_out])
        splits |= {f"{split}_among_all": Split(splits[split].rows, labels) for split in ("novel", "test")}
    if not splits["train"].rows:
        raise ValueError(f"protocol {protocol}: no training clips; splits found: {sorted({r['split'] for r in rows})}")
    if match["shots"]:
        shots, draw = int(match["shots"]), int(match["draw"] or 0)
        for split in ("train", "val"):
            shot_rows = draw_clips(
                [r for r in splits[split].rows if usable is None or r["clip_id"] in usable], shots, draw
            )
            splits[split] = Split(shot_rows, base)
        if (path := options.shot_list(protocol)) is not None:
            splits["train"] = Split(listed_clips(Path(path), part("train", base).rows, labels), base)
    return splits


def classes_short_of_shots(train: Split, protocol: str) -> list[str]:
    """Return the classes with fewer than K training clips under a K-shot protocol.

    Each is a text with the class and its number of training clips.
    """
    match = PROTOCOL.fullmatch(protocol)
    shots = int(match["shots"] or 0) if match else 0
    counts = Counter(row["label"] for row in train.rows)
    return [f"{label} {counts[label]}" for label in train.labels if counts[label] < shots]


def zero_shot_splits(rows: Rows, labels: list[str], trained: list[str]) -> dict[str, Split]:
    """Return the splits test and unseen, with empty splits train and val.

    `trained` has the class names of the training data set. The split unseen has the test clips of all other classes.
    """
    seen = {vificlip.normalise(label) for label in trained}
    unseen = [label for label in labels if vificlip.normalise(label) not in seen]
    unseen_set = set(unseen)
    tested = [row for row in rows if row["split"] == "test"]
    return {
        "train": Split([], []),
        "val": Split([], []),
        "test": Split(tested, labels),
        "unseen": Split([row for row in tested if row["label"] in unseen_set], unseen),
    }


def novel_classes(rows: Rows, labels: list[str], options: ProtocolOptions) -> set[str]:
    """Return the novel classes that `options.novel` states: a list of classes, `vificlip`, or `half`.

    `half` is the half of the classes with the fewest clips, rounded down. Training and validation clips are both
    counted, so that the choice of validation clips changes nothing. Among classes with equally many clips, the first in
    the official order are novel, as in ViFi-CLIP's lists of HMDB51. Raises ValueError if a listed class does not exist,
    or if ViFi-CLIP has no list for these classes.
    """
    if options.novel == "vificlip":
        return vificlip.novel_classes(labels)
    if options.novel == "half":
        count = Counter(row["label"] for row in rows if row["split"] in ("train", "val"))
        return set(sorted(labels, key=lambda label: count[label])[: len(labels) // 2])
    for label in options.novel:
        if label not in labels:
            raise ValueError(f"novel: '{label}' is not a class{nearest(label, labels)}")
    return set(options.novel)


def overlap(
    trained: dict[str, Split], tested: dict[str, Split], trained_hash: dict[str, str], tested_hash: dict[str, str]
) -> list[tuple[str, str]]:
    """Return the pairs (training or validation clip, test clip) that have the same clip_id or identical images."""
    tests = {row["clip_id"] for name, split in tested.items() if name not in ("train", "val") for row in split.rows}
    by_hash = {tested_hash[clip]: clip for clip in sorted(tests) if clip in tested_hash}
    pairs = []
    for clip in sorted({row["clip_id"] for name in ("train", "val") for row in trained[name].rows}):
        if clip in tests:
            pairs.append((clip, clip))
        elif trained_hash.get(clip) in by_hash:
            pairs.append((clip, by_hash[trained_hash[clip]]))
    return pairs


def near_equal_clips(
    trained: dict[str, Split], tested: dict[str, Split], trained_frames: list[Path], tested_frames: list[Path]
) -> list[near_equal.NearEqual]:
    """Return the pairs of a training clip of `trained` and a test clip of `tested` that look alike."""
    train = {row["clip_id"] for row in trained["train"].rows}
    tests = {row["clip_id"] for name, split in tested.items() if name not in ("train", "val") for row in split.rows}
    hashes = (near_equal.hash_clips(*part) for part in ((trained_frames, train), (tested_frames, tests)))
    return near_equal.near_equal(*hashes)


def content_hashes(shards: list[Path]) -> dict[str, str]:
    """Return {clip_id: hash of the images} for the clips that have frames."""
    hashes: dict[str, str] = {}
    for shard in shards:
        columns = open_shard("frames", shard).select(["clip_id", "content_hash"]).to_pydict()
        hashes |= {c: h for c, h in zip(columns["clip_id"], columns["content_hash"], strict=True) if h is not None}
    return hashes
