"""index_clips: what a data set has, as one table: each clip with its file, its split, its label or captions, its shard.

What is odd is counted and said, here and in the table's metadata: sizes other than the published ones, listed files that
are absent, files that no list names. The checksum of every annotation file is recorded beside it.
"""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from kinetext.config.data import DatasetOptions
from kinetext.core import plugins, tables
from kinetext.core.files import written_whole
from kinetext.data import datasets
from kinetext.data.datasets import Clip, ask
from kinetext.data.lists import file_state, need_path, read_lines, scan, sha256

SPLITS = ("train", "val", "test")
NAMED = 20  # absent and unlisted files that the metadata names; `kinetext inspect` names them all


def index_clips(name: str, options: DatasetOptions, output: Path, shards: Path, media: Path, cache: Path) -> None:
    """Write the table `clips` to `output`, and the shards' names with a digest of what each holds, one a line, to `shards`.

    `media` is the data set's own folder, for files that it makes; `cache` holds the frames extracted so far: their clips
    stay in their shards. The table's metadata has `labels`, the class names in order, and `pairs`, the pairs that the data
    set declares confusable. Absent files stay listed: they become failed rows of `frames`. Raises ValueError if the data
    set's clips contradict each other or its labels.
    """
    module, config, clips, labels = list_dataset(name, options, media)
    pairs = [list(pair) for pair in ask(module, "given_pairs", config, [])]
    _check_known(f"{name}: a given pair has", (label for pair in pairs for label in pair), labels)
    absent, unlisted = missing_and_unlisted(clips, config)
    sizes = compare_sizes(clips, labels, module, config)
    place = _assign_shards([clip.clip_id for clip in clips], options.shard_clips, cache)
    rows = [{**vars(clip), "path": _absolute(clip.path), "shard": place[clip.clip_id]} for clip in clips]
    metadata = {
        "labels": labels,
        "pairs": pairs,
        "lists": checksums(module, config),
        "sizes": sizes,
        "absent": {"count": len(absent), "first": absent[:NAMED]},
        "unlisted": {"count": len(unlisted), "first": unlisted[:NAMED]},
    }
    tables.write_table("clips", rows, output, metadata)
    with written_whole(shards) as part:
        part.write_text("".join(f"{shard} {digest}\n" for shard, digest in _digests(rows).items()))
    counts = Counter(clip.split for clip in clips)
    splits = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    first = f", first {absent[0]}" if absent else ""
    print(
        f"index_clips {name}: {len(clips)} clips ({splits}), {len(labels)} classes, {len(set(place.values()))} shards, "
        f"{len(absent)} absent files{first}",
        file=sys.stderr,
    )
    for what, (found, published) in sizes.items():
        if found != published:
            print(f"index_clips {name}: {what}: {found} listed, {published} published", file=sys.stderr)
    if unlisted:
        print(f"index_clips {name}: {len(unlisted)} files in no list, first {unlisted[0]}", file=sys.stderr)


def list_dataset(name: str, options: DatasetOptions, media: Path) -> tuple[ModuleType, Any, list[Clip], list[str]]:
    """The data set's module, its Config, its clips and its class names in order. Raises ValueError, as index_clips."""
    module = plugins.load_module(datasets, options.module or name)
    config = plugins.configure(module, options.options)
    clips = _without(list(module.list_clips(config, media)), options.exclude)
    labels = ask(module, "labels", config, None)
    if labels is None:
        labels = sorted({clip.label for clip in clips if clip.label is not None})
    _check(name, clips, labels)
    return module, config, clips, labels


def _without(clips: list[Clip], exclude: str | None) -> list[Clip]:
    """The clips but for those that the file `exclude` names."""
    if exclude is None:
        return clips
    wanted = {line.strip() for _, line in read_lines(need_path(exclude, "exclude"))}
    unknown = sorted(wanted - {clip.clip_id for clip in clips})
    if unknown:
        raise ValueError(f"exclude: {exclude} names '{unknown[0]}', which is no clip of the data set")
    return [clip for clip in clips if clip.clip_id not in wanted]


def missing_and_unlisted(clips: list[Clip], config: Any) -> tuple[list[str], list[str]]:
    """Paths of listed files that do not exist, and of videos below the data set's root that no clip names."""
    listed = {_absolute(clip.path) for clip in clips}
    if not getattr(config, "root", None):
        return sorted(path for path in listed if not os.path.exists(path)), []
    root = os.path.abspath(os.path.expanduser(config.root))
    there = {f"{root}/{name}" for name in scan(Path(root))}
    return sorted(path for path in listed - there if not os.path.exists(path)), sorted(there - listed)


def _absolute(path: Path) -> str:
    """os.path.abspath, which takes its time, where it would change anything."""
    text = str(path)
    return text if text.startswith("/") and ".." not in text else os.path.abspath(text)


def compare_sizes(clips: list[Clip], labels: list[str], module: ModuleType, config: Any) -> dict[str, tuple[int, int]]:
    """For each size that the data set's authors state: how many are listed, how many they state."""
    found = Counter(clip.split for clip in clips) + Counter({"classes": len(labels)})
    return {what: (found[what], size) for what, size in ask(module, "published", config, {}).items()}


def checksums(module: ModuleType, config: Any) -> dict[str, str]:
    """The sha256 of every annotation file that the data set reads."""
    return {str(path): sha256(path) for path in ask(module, "list_files", config, [])}


def _assign_shards(clip_ids: list[str], shard_clips: int, cache: Path) -> dict[str, str]:
    """The shard of each clip: that which holds its frames already, or else the first with room, in the order of the clips.

    Ten videos more are then ten videos to extract, in one shard.
    """
    held: dict[str, str] = {}
    for path in sorted(cache.glob("*.arrow")):
        try:
            there = tables.open_shard("frames", path)["clip_id"].to_pylist()
        except ValueError:
            continue  # a cache may be broken: its clips are placed anew
        if len(there) > shard_clips:  # the size of shards was changed: place all of them anew
            held = {}
            break
        held |= dict.fromkeys(there, path.stem)
    place = {clip_id: held[clip_id] for clip_id in clip_ids if clip_id in held}
    room = Counter(place.values())
    number = 0
    for clip_id in clip_ids:
        if clip_id in place:
            continue
        while room[f"{number:05d}"] >= shard_clips:
            number += 1
        place[clip_id] = f"{number:05d}"
        room[f"{number:05d}"] += 1
    return place


def _digests(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The shards in order, each with a digest of what its frames are made from."""
    hashes: dict[str, Any] = {shard: hashlib.sha256() for shard in sorted({row["shard"] for row in rows})}
    for row in rows:
        made_from = [*(row[key] for key in ("clip_id", "path", "start_s", "end_s", "error")), *file_state(row["path"])]
        hashes[row["shard"]].update(json.dumps(made_from).encode())
    return {shard: found.hexdigest()[:16] for shard, found in hashes.items()}


def _check(name: str, clips: list[Clip], labels: list[str]) -> None:
    if not clips:
        raise ValueError(f"{name}: no clips found; check the data set's options")
    twice = [clip_id for clip_id, count in Counter(clip.clip_id for clip in clips).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: clip_id '{twice[0]}' stands twice; each clip needs a name of its own")
    for clip in clips:
        if clip.split not in SPLITS:
            raise ValueError(f"{name}: clip {clip.clip_id} has split '{clip.split}'; it must be one of {SPLITS}")
        if clip.label is None and not clip.captions:
            raise ValueError(f"{name}: clip {clip.clip_id} has neither a label nor captions; give it one of them")
    _check_known(f"{name}: a clip has", (clip.label for clip in clips if clip.label is not None), labels)


def _check_known(what: str, used: Iterable[str], labels: list[str]) -> None:
    known = set(labels)
    for label in used:
        if label not in known:
            raise ValueError(f"{what} '{label}', which is no class{plugins.nearest(label, labels)}")
