"""check_frames: list the shards of a data set, and stop before any training if too many clips have no frames.

The list, frames.json, represents all shards: rules that read frames depend on this one file only.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from kinetext.core.escape import for_terminal
from kinetext.core.files import atomic_write
from kinetext.core.tables import open_shard
from kinetext.data.images import frames_digest


def check_frames(shards: Path, frames: Path, max_failed: float, output: Path) -> None:
    """Write frames.json: the number of clips per status and a hash of the images of each shard.

    The file therefore changes only if frames change. `shards` is the list that index_clips wrote; the shards are in the
    folder `frames`. Raises ValueError, with the first failed clips and their errors, if the fraction of clips without
    frames is greater than `max_failed` (0 to 1).
    """
    names = [line.split()[0] for line in shards.read_text().splitlines()]
    counts: Counter[str] = Counter()
    failed: list[str] = []
    digests = {}
    for name in names:
        path = frames / f"{name}.arrow"
        digests[name] = frames_digest([path])
        rows = open_shard("frames", path).select(["clip_id", "status", "error"]).to_pylist()
        counts.update(row["status"] for row in rows)
        failed += [f"{row['clip_id']}: {row['error']}" for row in rows if row["status"] == "failed"]
    total = sum(counts.values())
    if len(failed) > max_failed * total:
        raise ValueError(
            f"{frames}: {len(failed)} of {total} clips have no frames, more than max_failed {max_failed} allows "
            f"(datasets.{frames.parents[1].name}.max_failed); the first: {'; '.join(failed)[:500]}"
        )
    if failed:
        rest = f"{len(failed)} of {total} clips have no frames and count as wrong, first {failed[0]}"
        print(for_terminal(f"warning: datasets.{frames.parents[1].name}: {rest}"), file=sys.stderr)
    with atomic_write(output) as part:
        part.write_text(json.dumps({"clips": counts, "shards": digests}, indent=1) + "\n")


def list_shards(frames: Path, folder: Path | None = None) -> list[Path]:
    """Return the paths of the shards that a frames.json lists.

    With `folder`, return the paths of the files with the same names in that folder, e.g. of features. Raises ValueError
    if a file is missing, which Snakemake does not notice.
    """
    folder = folder or frames.parent
    shards = [folder / f"{name}.arrow" for name in json.loads(frames.read_text())["shards"]]
    for shard in shards:
        if not shard.is_file():
            raise ValueError(f"{shard}: is missing, but {frames} lists it; run `snakemake {shard}` to write it again")
    return shards
