"""Failed clips that are tried again: only those that can be read now count."""

from kinetext.config.data import FrameOptions
from kinetext.core.tables import write_shard, write_table
from kinetext.data.retry import failed_clips, readable_now
from videos import write_video


def test_failed_clips_are_found_and_those_that_can_be_read_now(tmp_path):
    write_video(tmp_path / "good.mp4", 12)
    (tmp_path / "bad.mp4").write_text("not a video")
    names = ("good", "bad", "absent", "ok")
    clips = [{"clip_id": name, "path": str(tmp_path / f"{name}.mp4"), "split": "train", "label": "a"} for name in names]
    write_table("clips", clips, tmp_path / "clips.parquet", {"labels": ["a"]})
    rows = [{"clip_id": name, "status": "failed", "error": "timeout"} for name in names[:3]]
    write_shard("frames", [rows[:2]], tmp_path / "00000.arrow")
    write_shard("frames", [[rows[2], {"clip_id": "ok", "status": "ok"}]], tmp_path / "00001.arrow")
    write_shard("frames", [[{"clip_id": "other", "status": "ok"}]], tmp_path / "00002.arrow")
    failed = failed_clips(tmp_path)
    assert failed == {"00000": {"good": "timeout", "bad": "timeout"}, "00001": {"absent": "timeout"}}
    options = FrameOptions(num_frames=4, size_px=32)
    assert readable_now(tmp_path / "clips.parquet", {"good", "bad", "absent"}, options, 1) == {"good"}
