"""Which frame shards hold clips that failed. Their other clips are kept from the cache when a shard is extracted again."""

from pathlib import Path

from kinetext.core.tables import open_shard
from kinetext.data.lists import printable


def failed_shards(frames: Path) -> dict[str, list[str]]:
    """Return the failed clips of each shard in a folder that has some, each as `clip_id: reason`."""
    failed: dict[str, list[str]] = {}
    for path in sorted(frames.glob("*.arrow")):
        table = open_shard("frames", path).select(["clip_id", "status", "error"])
        table.validate(full=True)  # reading rows of a broken file could crash the process
        clips = [f"{row['clip_id']}: {row['error']}" for row in table.to_pylist() if row["status"] == "failed"]
        if clips:
            failed[path.stem] = [printable(clip) for clip in clips]
    return failed
