"""check_frames: stop before any training when too many clips have no frames."""

import json
from pathlib import Path

from kinetext.data.frames import count_statuses
from kinetext.tables import open_shard, written_whole


def check_frames(shards: list[Path], max_failed: float, output: Path) -> None:
    """Write how many clips have which status, as JSON. Raises ValueError, with the first failed clips and their errors,
    when more than the share `max_failed` (0 to 1) has no frames.
    """
    counts = count_statuses(shards)
    failed, total = counts.get("failed", 0), sum(counts.values())
    if failed > max_failed * total:
        rows = [
            row
            for shard in shards
            for row in open_shard("frames", shard).select(["clip_id", "status", "error"]).to_pylist()
        ]
        first = "; ".join(f"{row['clip_id']}: {row['error']}" for row in rows if row["status"] == "failed")
        raise ValueError(
            f"{shards[0].parent}: {failed} of {total} clips have no frames, more than max_failed {max_failed} allows "
            f"(datasets.{shards[0].parents[1].name}.max_failed); first of them: {first[:500]}"
        )
    with written_whole(output) as part:
        part.write_text(json.dumps(counts, indent=1) + "\n")
