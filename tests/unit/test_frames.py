import re
import struct
from collections import Counter

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from kinetext.config.data import FrameOptions
from kinetext.core import tables
from kinetext.data import frames
from kinetext.data.datasets.base import Clip
from kinetext.data.frames import extract_frames, resize
from kinetext.data.images import decode_image, encode_image
from kinetext.data.measure import measure
from kinetext.video import decode, passes
from kinetext.video.container import open_video
from kinetext.video.decode import decode_clip
from kinetext.video.demux import demux, position_of, tag_packets
from kinetext.video.sampling import sampler, uniform_indices
from videos import all_frames, hangs_or_crashes, packet_places, write_audio, write_delayed_video, write_video

ENCODINGS = {
    "gop12.mp4": ("libx264", {"g": 12, "bf": 3}),
    "gop250.mkv": ("libx264", {"g": 250, "bf": 8}),
    "open_gop.mp4": ("libx264", {"x264-params": "open-gop=1:keyint=12:min-keyint=6:bframes=3:scenecut=0"}),
    "intra_refresh.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=20"}),
    "broadcast.ts": ("libx264", {"g": 12, "bf": 3}),
    "open_gop_hevc.mkv": ("libx265", {"x265-params": "log-level=none:keyint=10:min-keyint=5:open-gop=1:pools=1"}),
    "divx.avi": ("mpeg4", {"g": 12, "bf": 2}),
    "plain.avi": ("mpeg4", {"g": 12}),
    "hidden.webm": ("libvpx", {"g": 20, "auto-alt-ref": 1, "lag-in-frames": 16, "b": "200k"}),
    "hidden9.webm": ("libvpx-vp9", {"g": 20, "auto-alt-ref": 1, "lag-in-frames": 16, "b": "100k", "cpu-used": 8}),
}


def eight(times_s):
    return uniform_indices(len(times_s), 8)


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """A video whose index stands first, so that it survives being cut short."""
    path = tmp_path_factory.mktemp("videos") / "clean.mp4"
    return write_video(path, 96, g=12, bf=3, sc_threshold=0, container={"movflags": "+faststart"})


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_chosen_frames_are_those_of_a_full_decode(name, tmp_path):
    codec, options = ENCODINGS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    path = write_video(tmp_path / name, 64, codec, **options)
    full = all_frames(path)
    for num_wanted in (1, 3, 8, 40):
        wanted = uniform_indices(len(full), num_wanted)
        decoded = decode_clip(path, lambda times_s, wanted=num_wanted: uniform_indices(len(times_s), wanted))
        assert (decoded.status, decoded.error) == ("ok", None)
        assert decoded.frame_indices == wanted
        assert np.allclose(np.diff(decoded.timestamps_s), 0.04 * np.diff(wanted), atol=0.002)
        for index, frame_HWC in zip(wanted, decoded.frames_HWC, strict=True):
            assert np.array_equal(frame_HWC, full[index])


@pytest.mark.parametrize("name", [n for n in ENCODINGS if n.endswith(("mp4", "mkv", "hidden9.webm", "plain.avi"))])
def test_every_frame_can_be_read_without_decoding_everything(name, tmp_path, monkeypatch):
    codec, options = ENCODINGS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    path = write_video(tmp_path / name, 64, codec, **options)
    full = all_frames(path)
    monkeypatch.setattr(decode, "_decode_sequentially", None)  # what happens after any surprise
    for index in range(64):
        pair = [index, (index + 31) % 64]  # far apart: two groups of pictures with a gap between them
        decoded = decode_clip(path, lambda times_s, pair=pair: sorted(pair))
        assert decoded.error is None
        for i, frame_HWC in zip(sorted(pair), decoded.frames_HWC, strict=True):
            assert np.array_equal(frame_HWC, full[i])


def test_packets_without_a_shown_picture_are_not_counted(tmp_path):
    path, source = tmp_path / "skips.avi", write_video(tmp_path / "source.avi", 40, "mpeg4", g=12)
    with av.open(str(source)) as video, av.open(str(path), "w") as output:
        stream = video.streams.video[0]
        copy = output.add_stream_from_template(stream)
        time = 0
        for number, packet in enumerate(packet for packet in video.demux(stream) if packet.size):
            skip = av.Packet(bytes([0, 0, 1, 0xB6, 0x50, 0xCF]))  # MPEG-4: a picture that is not coded
            for copied in [packet, skip] if number % 9 == 4 else [packet]:
                copied.pts = copied.dts = time
                copied.time_base, copied.stream = stream.time_base, copy
                output.mux(copied)
                time += 1
    full = all_frames(path)
    decoded = decode_clip(path, eight)
    assert (decoded.num_packets, len(full)) == (44, 40)
    assert decoded.frame_indices == uniform_indices(40, 8)
    assert all(
        np.array_equal(frame, full[i]) for frame, i in zip(decoded.frames_HWC, uniform_indices(40, 8), strict=True)
    )


def test_only_groups_of_pictures_with_a_wanted_frame_are_decoded(clean, monkeypatch):
    ranges = []
    decode_packets = passes.decode_packets
    monkeypatch.setattr(
        passes,
        "decode_packets",
        lambda video, first, last, wanted: ranges.append((first, last)) or decode_packets(video, first, last, wanted),
    )
    decoded = decode_clip(clean, lambda times_s: [30])
    assert np.array_equal(decoded.frames_HWC[0], all_frames(clean)[30])
    assert len(ranges) == 1
    assert ranges[0][0] == 24
    assert ranges[0][1] < 36


def test_an_edit_list_that_hides_frames_is_not_a_truncation(clean, tmp_path):
    path = tmp_path / "cut.mp4"
    with av.open(str(clean)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts -= round(0.68 / stream.time_base)  # 17 frames
                packet.dts -= round(0.68 / stream.time_base)
                packet.stream = copy
                output.mux(packet)
    full = all_frames(path)
    decoded = decode_clip(path, eight)
    assert (decoded.status, len(full)) == ("ok", 79)
    assert decoded.frame_indices == uniform_indices(79, 8)
    assert all(
        np.array_equal(frame, full[i]) for frame, i in zip(decoded.frames_HWC, uniform_indices(79, 8), strict=True)
    )


def test_freeing_one_video_leaves_the_tags_of_another(clean):
    """PyAV keys what a packet carries by the object's identity: small numbers would be one object in both."""
    with open_video(clean) as one, open_video(clean) as other:
        first, second = (demux(video, video.streams.video[0]) for video in (one, other))
        tag_packets(first.packets, range(len(first.packets)))
        tag_packets(second.packets, range(len(second.packets)))
        del first
        frames = [frame for packet in second.packets for frame in second.context.decode(packet)]
        assert {position_of(frame) for frame in frames} <= set(range(len(second.packets)))
        assert len(frames) > 20


def test_a_clip_within_a_file_is_sampled_between_its_times(clean):
    full = all_frames(clean)
    decoded = decode_clip(clean, lambda times_s: uniform_indices(len(times_s), 5), start_s=1.0, end_s=2.0)
    assert decoded.frame_indices == [27, 32, 37, 42, 47]  # frames 25 to 49
    assert np.allclose(decoded.timestamps_s, [1.08, 1.28, 1.48, 1.68, 1.88])
    assert all(np.array_equal(f, full[i]) for f, i in zip(decoded.frames_HWC, decoded.frame_indices, strict=True))
    late = decode_clip(clean, eight, start_s=9.0, end_s=10.0)
    assert late.status == "failed"
    assert late.error == "no_frame: none from 9.0 to 10.0 s; the last one is at 3.800 s"


@pytest.mark.parametrize("sampling", FrameOptions.model_fields["sampling"].annotation.__args__)
def test_frames_without_a_time_base_are_between_their_neighbours(sampling, tmp_path):
    """A decoder returns its last frames when it is flushed, without a time base: their times were NaN."""
    whole = write_video(tmp_path / "whole.ts", 60, "mpeg2video", g=15, bf=2)
    data = whole.read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(data[len(data) * 3 // 10 // 188 * 188 :])  # starts within a group of pictures
    full = all_frames(path)
    assert 20 < len(full) < 60
    options = FrameOptions(num_frames=8, sampling=sampling, stride=2, rate_fps=5)
    decoded = decode_clip(path, sampler(options))
    assert decoded.status == "ok"
    assert decoded.frame_indices == sampler(options)([0.04 * i for i in range(len(full))])
    assert np.allclose(decoded.timestamps_s, [0.04 * i for i in decoded.frame_indices], atol=0.002)
    for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
        assert np.array_equal(frame_HWC, full[index])


@pytest.mark.parametrize("name", ["delayed.mp4", "delayed.mkv", "delayed.ts"])
def test_a_window_counts_from_the_start_of_the_file_not_of_the_picture(name, tmp_path):
    path = write_delayed_video(tmp_path / name, delay=25, num_frames=30)
    decoded = decode_clip(path, lambda times_s: list(range(len(times_s))), start_s=1.2, end_s=1.6)
    assert decoded.frame_indices == list(range(5, 15))
    assert np.allclose(decoded.timestamps_s, [0.04 * i for i in range(5, 15)], atol=0.002)
    early = decode_clip(path, eight, start_s=0.2, end_s=0.9)
    assert re.match(
        r"no_frame: none from 0.2 to 0.9 s; the last one is at 2.1[69]0 s", early.error
    )  # TS: sound is early
    clip = Clip("a", path, "test", start_s=1.2, end_s=1.6)
    assert measure(FrameOptions(), clip).num_frames == 10


def set_display_matrix(path, a, b, c, d):
    """Write a pixel's displayed position (a x + c y, b x + d y) into the header of an upright MP4 file."""

    def matrix(*entries):
        fixed = [entry << 16 for entry in entries]
        return struct.pack(">9i", *fixed[:2], 0, *fixed[2:], 0, 0, 0, 1 << 30)

    data = bytearray(path.read_bytes())
    at = data.rindex(matrix(1, 0, 0, 1))  # the track's display matrix, after the movie's
    data[at : at + 36] = matrix(a, b, c, d)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "displayed", "rotation_deg"),
    [
        ((0, 1, -1, 0), lambda frame_HWC: np.rot90(frame_HWC, -1), 270),
        ((0, -1, 1, 0), lambda frame_HWC: np.rot90(frame_HWC), 90),
        ((-1, 0, 0, -1), lambda frame_HWC: np.rot90(frame_HWC, 2), 180),
        ((-1, 0, 0, 1), lambda frame_HWC: frame_HWC[:, ::-1], 0),
        ((1, 0, 0, -1), lambda frame_HWC: frame_HWC[::-1], 180),
        ((0, 1, 1, 0), lambda frame_HWC: frame_HWC.swapaxes(0, 1), 90),
        ((0, -1, -1, 0), lambda frame_HWC: frame_HWC.swapaxes(0, 1)[::-1, ::-1], 270),
    ],
)
def test_frames_are_rotated_and_mirrored_as_displayed(tmp_path, matrix, displayed, rotation_deg):
    path = write_video(tmp_path / "a.mp4", 8)
    set_display_matrix(path, *matrix)
    decoded = decode_clip(path, eight)
    expected_HWC = displayed(all_frames(path)[3])
    assert (decoded.height_px, decoded.width_px) == expected_HWC.shape[:2]
    assert decoded.rotation_deg == rotation_deg
    assert np.array_equal(decoded.frames_HWC[3], expected_HWC)


def test_variable_frame_rate_is_flagged(tmp_path):
    path = tmp_path / "vfr.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format="rgb24")
            frame.pts = i if i < 10 else 10 + 5 * (i - 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert decode_clip(path, eight).vfr is True
    assert decode_clip(write_video(tmp_path / "cfr.mp4", 20), eight).vfr is False


# ---- damaged files: what each is called, and that no painted-over frame gets through


def test_a_file_cut_short_is_truncated(clean, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clean.read_bytes()[: clean.stat().st_size // 2])
    decoded = decode_clip(cut, eight)
    assert decoded.status == "truncated"
    assert decoded.error.split(";")[0].endswith("of 96 frames are in the file")
    assert 20 < decoded.num_packets < 80
    full = all_frames(clean)
    for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
        assert np.array_equal(frame_HWC, full[index])


@pytest.mark.parametrize("zeroed", [range(20, 70), range(50, 96), range(46, 48)], ids=["middle", "end", "a little"])
def test_damaged_frames_are_replaced_by_intact_ones(clean, tmp_path, zeroed):
    data, places = bytearray(clean.read_bytes()), packet_places(clean)
    for number in zeroed:
        start, length = places[number]
        data[start : start + length] = bytes(length)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    decoded = decode_clip(path, lambda times_s: uniform_indices(len(times_s), 32))
    assert decoded.status == "damaged"
    assert decoded.num_substituted > 0
    assert f"{decoded.num_substituted} of 32 frames replaced" in decoded.error
    full = all_frames(clean)
    for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
        assert np.array_equal(frame_HWC, full[index]), f"frame {index} is not the original's"


@pytest.mark.parametrize("name", ["stamps.avi", "stamps.h264", "joined.ts"])
def test_damage_leaves_frames_in_display_order(name, tmp_path):
    """These containers have time stamps in decode order, or twice the same ones."""
    path = write_video(tmp_path / name, 48, g=12, bf=3, sc_threshold=0)
    if name == "joined.ts":
        path.write_bytes(2 * path.read_bytes())
    full, data, places = all_frames(path), bytearray(path.read_bytes()), packet_places(path)
    start, length = max(places[13:48], key=lambda item: item[1])  # a picture that others refer to
    data[start + length // 2 : start + length // 2 + 300] = np.random.default_rng(0).bytes(300)
    damaged = tmp_path / f"damaged-{name}"
    damaged.write_bytes(data)
    decoded = decode_clip(damaged, lambda times_s: list(range(len(times_s))))
    assert decoded.status == "damaged"
    assert decoded.num_substituted > 0
    assert decoded.frame_indices == sorted(decoded.frame_indices)
    assert len(set(decoded.frame_indices)) > len(full) / 2
    for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
        assert np.array_equal(frame_HWC, full[index]), f"frame {index} is another one"


def test_packets_with_a_lost_sector_are_not_trusted(clean, tmp_path):
    path, full = tmp_path / "damaged.mp4", all_frames(clean)
    places = packet_places(clean)
    replaced = 0
    for seed in range(10):
        random, data = np.random.default_rng(seed), bytearray(clean.read_bytes())
        first = int(random.integers(1, len(places) - 8))
        start = places[first][0] + places[first][1] // 2  # from the middle of a packet, over several more
        data[start : places[first + 6][0]] = random.bytes(places[first + 6][0] - start)
        path.write_bytes(data)
        decoded = decode_clip(path, lambda times_s: uniform_indices(len(times_s), 48))
        assert decoded.status == "damaged"
        replaced += decoded.num_substituted
        for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
            assert np.array_equal(frame_HWC, full[index]), f"seed {seed}: frame {index} is not the original's"
    assert replaced < 10 * 48 / 2


def test_a_file_without_intact_frames_fails(clean, tmp_path):
    data = bytearray(clean.read_bytes())
    for start, length in packet_places(clean):
        data[start : start + length] = bytes(length)
    path = tmp_path / "zero.mp4"
    path.write_bytes(data)
    decoded = decode_clip(path, eight)
    assert decoded.status == "failed"
    assert "damaged" in decoded.error


def test_files_that_are_not_videos_fail_with_a_reason(clean, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")
    (tmp_path / "folder.mp4").mkdir()
    write_audio(tmp_path / "audio.mp4")
    reasons = {
        "missing.mp4": "not_found",
        "folder.mp4": "not_a_file",
        "empty.mp4": "empty_file",
        "text.mp4": "not_a_video",
        "playlist.mp4": "",
        "audio.mp4": "no_video_stream",
    }
    for name, reason in reasons.items():
        decoded = decode_clip(tmp_path / name, eight)
        assert decoded.status == "failed", name
        assert decoded.error.startswith(reason), (name, decoded.error)
        assert decoded.frames_HWC == []
    assert decode_clip(clean, eight, limit_px=64 * 48 - 1).error.startswith("too_large: 64x48 px")


def test_a_single_frame_is_repeated_with_status_short(tmp_path):
    decoded = decode_clip(write_video(tmp_path / "one.mp4", 1), eight)
    assert (decoded.status, decoded.frame_indices) == ("short", [0] * 8)
    assert decoded.error == "1 frames for 8, some repeated"


def test_random_damage_never_raises(clean, tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "noise.mp4"
    for _ in range(40):
        data = bytearray(clean.read_bytes())
        for start in random.integers(0, len(data) - 200, 4):
            data[start : start + 200] = random.bytes(200)
        path.write_bytes(data)
        decoded = decode_clip(path, eight)
        assert decoded.status in ("ok", "short", "truncated", "damaged", "failed")
        assert len(decoded.frames_HWC) == (0 if decoded.status == "failed" else 8)


# ---- images


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(341, 257), (240, 426), (224, 224), (224, 300)])
def test_squashed_frames_are_those_of_siglip_and_pe(size, interpolation):
    width, height = size
    noise = torch.rand(3, height // 8 + 1, width // 8 + 1, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise[None], (height, width), mode="bicubic")[0]
    frame_HWC = (smooth.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
    # what open_clip does to a PIL image with resize_mode squash
    image = Resize((224, 224), interpolation=InterpolationMode(interpolation))(Image.fromarray(frame_HWC))
    ours = resize(frame_HWC[None], 224, mode="squash", interpolation=interpolation)[0]
    difference = np.abs(ours.astype(int) - np.asarray(image))
    # torch resizes first along the axis that shrinks more, PIL always along the width; both round in between
    assert difference.mean() < 0.2
    assert difference.max() <= 2


def test_frame_sets_have_names_of_their_own_and_frames_of_earlier_versions_are_kept():
    clip = {"path": "/no/such/a.mp4", "start_s": None, "end_s": None, "error": "absent"}
    plain, squashed = FrameOptions(), FrameOptions(resize_mode="squash", interpolation="bilinear")
    assert (plain.frame_set, squashed.frame_set) == ("224-shortest-bicubic", "224-squash-bilinear")
    assert frames.source(clip, plain) == "864378b59d76c6ce6129a87eea244aa2"  # of the version before squash
    assert frames.source(clip, squashed) != frames.source(clip, plain)


@pytest.mark.parametrize("size", [(341, 257), (240, 426), (50, 50), (224, 300)])
def test_resize_is_clips_preprocessing(size):
    width, height = size
    noise = torch.rand(3, height // 8 + 1, width // 8 + 1, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise[None], (height, width), mode="bicubic")[0]
    frame_HWC = (smooth.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
    # what open_clip does to a PIL image
    image = CenterCrop(224)(Resize(224, interpolation=InterpolationMode.BICUBIC)(Image.fromarray(frame_HWC)))
    ours = resize(frame_HWC[None], 224)[0]
    assert ours.shape == (224, 224, 3)
    assert np.abs(ours.astype(int) - np.asarray(image)).mean() < 0.01


def test_encoded_images_can_be_decoded():
    frame_HWC = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    assert np.array_equal(decode_image(encode_image(frame_HWC, "raw", 95)), frame_HWC)
    jpeg = decode_image(encode_image(frame_HWC, "jpeg", 95))
    assert 0 < np.abs(jpeg.astype(int) - frame_HWC).mean() < 4
    with pytest.raises(ValueError, match="neither JPEG nor"):
        decode_image(b"1234")


# ---- extraction


def write_clips(path, videos):
    rows = [{"clip_id": v.name, "path": str(v), "split": "train", "label": "a", "shard": "00000"} for v in videos]
    tables.write_table("clips", rows, path, {"labels": ["a"], "pairs": []})


def test_every_clip_has_a_row_also_after_a_hang_or_crash(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(frames, "extract_clip", hangs_or_crashes)
    videos = [write_video(tmp_path / f"{n}.mp4", 12) for n in ("a", "hangs", "crashes", "b")] + [tmp_path / "no.mp4"]
    write_clips(tmp_path / "clips.parquet", videos)
    options = FrameOptions(num_frames=4, size_px=32, clip_limit_s=2, encoding="raw")
    extract_frames(tmp_path / "clips.parquet", "00000", options, tmp_path / "00000.arrow")
    rows = tables.open_shard("frames", tmp_path / "00000.arrow").to_pylist()
    assert [row["clip_id"] for row in rows] == ["a.mp4", "hangs.mp4", "crashes.mp4", "b.mp4", "no.mp4"]
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "ok", "failed"]
    assert rows[1]["error"] == "timeout: not done after 2 s, tried twice"
    assert rows[2]["error"].startswith("decoder crashed")
    assert rows[3]["num_packets"] == 12
    assert [len(row["images"]) for row in rows] == [4, 0, 0, 4, 0]
    full = all_frames(videos[0])
    for index, image in zip(rows[0]["frame_indices"], rows[0]["images"], strict=True):
        assert np.array_equal(decode_image(image), resize(full[index][None], 32)[0])
    assert Counter(row["status"] for row in rows) == {"ok": 2, "failed": 3}
    assert "5 clips: 3 failed, 2 ok; first failed: hangs.mp4 (timeout" in capsys.readouterr().err


def test_an_unknown_shard_is_refused(tmp_path):
    write_clips(tmp_path / "clips.parquet", [tmp_path / "a.mp4"])
    with pytest.raises(ValueError, match="no clip belongs to shard '00007'"):
        extract_frames(tmp_path / "clips.parquet", "00007", FrameOptions(), tmp_path / "00007.arrow")


def test_large_images_are_written_in_small_batches(monkeypatch):
    monkeypatch.setattr(frames, "BATCH_BYTES", 10)
    rows = [{"images": [b"1234"]} for _ in range(7)]
    assert [len(batch) for batch in frames._batches(rows)] == [3, 3, 1]
