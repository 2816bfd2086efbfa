"""index_clips: list the clips of a data set in one table, with the file, split, label or captions, and shard of each.

Irregularities are counted in the log and in the table's metadata: numbers of clips or classes that differ from the
published ones, listed files that are absent, and files in no list. The metadata also has the checksum of every
annotation file.
"""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unicodedata import normalize

from tqdm import tqdm

from kinetext.config.data import DatasetOptions
from kinetext.core import plugins, tables
from kinetext.core.escape import for_terminal
from kinetext.core.files import atomic_write
from kinetext.data.datasets.base import Clip, Dataset, build_dataset
from kinetext.data.links import refuse_outside
from kinetext.data.lists import file_state, need_path, printable, read_lines, sha256, video_hash
from kinetext.data.videos import scan

SPLITS = ("train", "val", "test")
MAX_NAMED = 20  # absent and unlisted files named in the metadata; `kinetext inspect` names all


def index_clips(name: str, options: DatasetOptions, output: Path, shards: Path, media: Path, cache: Path) -> None:
    """Write the table `clips` to `output`. Write one line per shard to `shards`: its name and a digest of its clips.

    `media` is the folder for files that the data set renders. `cache` has the frames extracted so far, with one folder
    per frame set; clips that have frames there stay in their shards. The table's metadata has `labels`, the class names
    in order, and `pairs`, the pairs of classes that the data set declares confusable. Clips whose files are absent stay
    in the table and become failed rows of `frames`. Raises ValueError if clips contradict each other or use an unknown
    label.
    """
    dataset, clips, labels = list_dataset(name, options, media)
    pairs = [list(pair) for pair in dataset.declared_pairs()]
    _check_known(f"{name}: a declared pair has", (label for pair in pairs for label in pair), labels)
    absent, unlisted = missing_and_unlisted(clips, dataset)
    sizes = compare_sizes(clips, labels, dataset)
    skipped = dataset.skipped()
    shard_of = _assign_shards([clip.clip_id for clip in clips], options.shard_clips, cache)
    rows = [_row(clip, shard_of[clip.clip_id]) for clip in clips]
    if options.detect_changes == "content":
        _add_hashes(rows)
    metadata = {
        "labels": labels,
        "pairs": pairs,
        "multi_label": dataset.multi_label,
        "lists": checksums(dataset),
        "sizes": sizes,
        "drawn": dataset.drawing_info(media),
        "absent": {"count": len(absent), "first": absent[:MAX_NAMED]},
        "unlisted": {"count": len(unlisted), "first": unlisted[:MAX_NAMED]},
        "skipped": {"count": len(skipped), "first": [printable(path) for path in skipped[:MAX_NAMED]]},
    }
    tables.write_table("clips", rows, output, metadata)
    with atomic_write(shards) as part:
        part.write_text("".join(f"{shard} {digest}\n" for shard, digest in _digests(rows).items()))
    counts = Counter(clip.split for clip in clips)
    splits = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    print(
        f"index_clips {name}: {len(clips)} clips ({splits}), {len(labels)} classes, "
        f"{len(set(shard_of.values()))} shards, {len(absent)} absent files",
        file=sys.stderr,
    )
    if absent:
        _warn(name, f"{len(absent)} listed files are absent, first {absent[0]}")
    for key, (count, published) in sizes.items():
        if count != published:
            _warn(name, f"{key}: {count} listed, {published} published")
    if unlisted:
        _warn(name, f"{len(unlisted)} files in no list, first {unlisted[0]}")
    for path in skipped:
        _warn(name, f"no clip from {printable(path)}")
    for names in equal_labels(labels):
        _warn(name, names)


def _warn(name: str, message: str) -> None:
    print(for_terminal(f"warning: datasets.{name}: {message}"), file=sys.stderr)


def _row(clip: Clip, shard: str) -> dict[str, Any]:
    """Return the row of a clip, with the size and modification time of its file.

    They are -1 and None if the file is absent.
    """
    path = _absolute(clip.path)
    size_bytes, modified_ns = file_state(path) or (-1, None)
    return {**vars(clip), "path": path, "shard": shard, "size_bytes": size_bytes, "modified_ns": modified_ns}


def _add_hashes(rows: list[dict[str, Any]]) -> None:
    """Add the hash of each clip's file. A file with several clips is read once; files of rejected clips are not read."""
    paths = dict.fromkeys(row["path"] for row in rows if not row["error"])
    hashes = {path: video_hash(path) for path in tqdm(paths, "hashing", unit="video", disable=None)}
    for row in rows:
        row["video_hash"] = hashes.get(row["path"]) if not row["error"] else None


def list_dataset(name: str, options: DatasetOptions, media: Path) -> tuple[Dataset, list[Clip], list[str]]:
    """Return the data set, its clips and its class names in order.

    Raises ValueError under the conditions of index_clips.
    """
    dataset = build_dataset(name, options)
    clips = _without_excluded(list(dataset.list_clips(media)), options.exclude)
    if dataset.root is not None and options.links == "refuse":
        clips = list(refuse_outside(clips, dataset.root))
    labels = dataset.labels()
    if labels is None:
        labels = sorted({label for clip in clips for label in clip.classes})
    _check(name, clips, labels)
    return dataset, clips, labels


def _without_excluded(clips: list[Clip], exclude: str | None) -> list[Clip]:
    """Return the clips that the file `exclude` does not name. Raises ValueError if it names an unknown clip."""
    if exclude is None:
        return clips
    excluded = {line.strip() for _, line in read_lines(need_path(exclude, "exclude"))}
    unknown = sorted(excluded - {clip.clip_id for clip in clips})
    if unknown:
        raise ValueError(f"exclude: {exclude} names '{unknown[0]}', which is not a clip of the data set")
    return [clip for clip in clips if clip.clip_id not in excluded]


def equal_labels(labels: list[str]) -> list[str]:
    """Return a warning for each group of class names that CLIP's tokenizer cannot distinguish.

    It ignores case, and composes accents: names of folders copied from macOS have letter and accent apart.
    """
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(" ".join(normalize("NFC", label).lower().split()), []).append(label)
    return [
        f"the classes {' and '.join(map(repr, group))} are one text to CLIP, which ignores case and how accents are encoded; "
        "join or rename them"
        for group in groups.values()
        if len(group) > 1
    ]


def missing_and_unlisted(clips: list[Clip], dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return two sorted lists of paths: listed files that do not exist, and videos below the root without a clip."""
    listed = {_absolute(clip.path) for clip in clips}
    if dataset.root is None:
        return sorted(path for path in listed if not os.path.exists(path)), []
    root = os.path.abspath(dataset.root)
    present = {f"{root}/{name}" for name in scan(Path(root))}
    return sorted(path for path in listed - present if not os.path.exists(path)), sorted(present - listed)


def _absolute(path: Path) -> str:
    """Return the absolute path as text. os.path.abspath is slow, so it is called only if it would change the path."""
    text = str(path)
    return text if text.startswith("/") and ".." not in text else os.path.abspath(text)


def compare_sizes(clips: list[Clip], labels: list[str], dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Return (number listed, number published) for each split, and for `classes`, if the authors state a number."""
    counts = Counter(clip.split for clip in clips) + Counter({"classes": len(labels)})
    return {key: (counts[key], size) for key, size in dataset.published().items()}


def checksums(dataset: Dataset) -> dict[str, str]:
    """Return {path: SHA-256} for every annotation file that the data set reads."""
    return {str(path): sha256(path) for path in dataset.list_files()}


def _assign_shards(clip_ids: list[str], shard_clips: int, cache: Path) -> dict[str, str]:
    """Return the shard of each clip: the one in the cache that has its frames, otherwise the first shard with room.

    When videos are added, only they have to be extracted.
    """
    cached: dict[str, str] = {}
    for path in sorted(cache.rglob("*.arrow")):
        try:
            shard_ids = tables.open_shard("frames", path)["clip_id"].to_pylist()
        except ValueError:
            continue  # a broken cache file: its clips are assigned as new ones
        if len(shard_ids) > shard_clips:  # shard_clips was changed: assign all clips as new ones
            cached = {}
            break
        cached |= dict.fromkeys(shard_ids, path.stem)
    shard_of = {clip_id: cached[clip_id] for clip_id in clip_ids if clip_id in cached}
    sizes = Counter(shard_of.values())
    number = 0
    for clip_id in clip_ids:
        if clip_id in shard_of:
            continue
        while sizes[f"{number:05d}"] >= shard_clips:
            number += 1
        shard_of[clip_id] = f"{number:05d}"
        sizes[f"{number:05d}"] += 1
    return shard_of


def _digests(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return, for each shard in order, a digest of everything that determines its frames."""
    hashes: dict[str, Any] = {shard: hashlib.sha256() for shard in sorted({row["shard"] for row in rows})}
    for row in rows:
        inputs = [*(row[key] for key in ("clip_id", "path", "start_s", "end_s", "error")), *file_state(row["path"])]
        inputs += [row["video_hash"]] if row.get("video_hash") else []
        hashes[row["shard"]].update(json.dumps(inputs).encode())
    return {shard: digest.hexdigest()[:16] for shard, digest in hashes.items()}


def _check(name: str, clips: list[Clip], labels: list[str]) -> None:
    if not clips:
        raise ValueError(f"{name}: no clips found; check the data set's options")
    duplicates = [clip_id for clip_id, count in Counter(clip.clip_id for clip in clips).items() if count > 1]
    if duplicates:
        raise ValueError(f"{name}: duplicate clip_id '{duplicates[0]}'; ids must be unique")
    for clip in clips:
        if clip.split not in SPLITS:
            raise ValueError(f"{name}: clip {clip.clip_id} has split '{clip.split}'; it must be one of {SPLITS}")
        if not clip.classes and not clip.captions:
            raise ValueError(f"{name}: clip {clip.clip_id} has neither a label nor captions; give it one of them")
    _check_known(f"{name}: a clip has", (label for clip in clips for label in clip.classes), labels)


def _check_known(subject: str, used: Iterable[str], labels: list[str]) -> None:
    known = set(labels)
    for label in used:
        if label not in known:
            raise ValueError(f"{subject} '{label}', which is not a class{plugins.nearest(label, labels)}")
