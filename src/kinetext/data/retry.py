"""Find the clips that have no frames, and those among them that can be read now.

A disk may have been unmounted, or a file may still have been copied. A shard is extracted again only if one of its
clips can be read now, because new frames rerun everything that was made from the shard.
"""

from functools import partial
from pathlib import Path

from kinetext.config.data import FrameOptions
from kinetext.core.tables import open_shard, read_rows
from kinetext.data.frames import extract_clip
from kinetext.video.pool import NoResult, map_with_timeout


def failed_clips(frames: Path) -> dict[str, dict[str, str]]:
    """Return {shard: {clip_id: reason}} for the failed clips in a folder of shards.

    Shards without failed clips are left out.
    """
    failed: dict[str, dict[str, str]] = {}
    for path in sorted(frames.glob("*.arrow")):
        table = open_shard("frames", path).select(["clip_id", "status", "error"])
        table.validate(full=True)  # reading rows of a broken file could crash the process
        clips = {row["clip_id"]: row["error"] for row in table.to_pylist() if row["status"] == "failed"}
        if clips:
            failed[path.stem] = clips
    return failed


def readable_now(clips: Path, failed: set[str], options: FrameOptions, workers: int) -> set[str]:
    """Return the clip_ids among `failed` whose frames can be decoded now. `clips` is the path of clips.parquet."""
    rows = [row for row in read_rows("clips", clips) if row["clip_id"] in failed]
    decode = partial(extract_clip, options=options)
    results = map_with_timeout(decode, rows, options.clip_limit_s, workers, preload=["torch", extract_clip.__module__])
    pairs = zip(rows, results, strict=True)
    return {row["clip_id"] for row, r in pairs if not isinstance(r, NoResult) and r["status"] != "failed"}
