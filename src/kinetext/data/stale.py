"""Find clips whose video has changed since index_clips listed it. Results computed before belong to other frames."""

from pathlib import Path

from kinetext.core.tables import read_rows
from kinetext.data.lists import file_state, video_hash


def stale_clips(clips: Path) -> list[str]:
    """Return the clips of a clips.parquet whose file has changed since it was listed, each as a text with the change.

    A file has changed if it has another size or modification time, was deleted, or was absent and now exists. Each file
    costs one call of stat. If the table has hashes (`detect_changes: content`), each file is also read whole and its
    hash compared. Tables from before schema 5 do not record sizes; for them the list is empty.
    """
    states: dict[str, tuple[int, ...]] = {}
    hashes: dict[str, str | None] = {}
    stale = []
    for row in read_rows("clips", clips):
        if row["error"] or row["size_bytes"] is None:
            continue
        path = row["path"]
        if path not in states:
            states[path] = file_state(path)
        listed = (row["size_bytes"], row["modified_ns"]) if row["size_bytes"] >= 0 else ()
        if states[path] != listed:
            stale.append(f"{row['clip_id']} ({_change(listed, states[path])})")
        elif row["video_hash"]:
            if path not in hashes:
                hashes[path] = video_hash(path)
            if hashes[path] != row["video_hash"]:
                stale.append(f"{row['clip_id']} (another content, same size and modification time)")
    return stale


def _change(listed: tuple[int, ...], now: tuple[int, ...]) -> str:
    if not now:
        return "deleted"
    if not listed:
        return "was absent"
    if listed[0] != now[0]:
        return f"{listed[0]} bytes before, {now[0]} now"
    return "another modification time"
