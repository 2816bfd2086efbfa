"""Small data sets of official caption lists, in the layout of the published files. `write_*` writes lists (and with
`videos`, the videos) below a folder and returns options.
"""

import json
import pickle
from pathlib import Path

from videos import write_video

UNBREAKABLE = "1012_Unbreakable_00.05.16.065-00.05.21.941"


def write_files(folder: Path, files: dict[str, str | bytes], videos: list[str] | None) -> dict[str, str]:
    """Writes lists and videos; the options of a data set that reads them."""
    for name, content in files.items():
        path = folder / "lists" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "videos").mkdir(exist_ok=True)
    for name in videos or []:
        path = folder / "videos" / name
        path.parent.mkdir(exist_ok=True)
        write_video(path, 10, codec="mpeg4")
    return {"root": str(folder / "videos"), "annotations": str(folder / "lists")}


def write_msrvtt(folder: Path, videos: bool = True) -> dict[str, str]:
    captions = [
        ("video0", "a man, a plan"),
        ("video1", 'she says "hi"'),
        ("video0", "a car"),
        ("video9", "not of 1k-A"),
    ]
    content = {
        "videos": [{"video_id": f"video{i}", "url": "https://www.youtube.com/watch?v=x"} for i in (0, 1, 9)],
        "sentences": [{"sen_id": i, "video_id": video, "caption": text} for i, (video, text) in enumerate(captions)],
    }
    files = {
        "MSRVTT_data.json": json.dumps(content),
        "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo1\n",
        "MSRVTT_train.7k.csv": "video_id\nvideo1\n",
        "MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\n"
        'ret0,msr9770,video9770,"a man, who says ""no"", sits"\n'
        "ret1,msr9771,video9771,a cartoon\n",
    }
    return write_files(folder, files, [f"video{i}.mp4" for i in (0, 1, 9770, 9771)] if videos else [])


def write_msvd(folder: Path, videos: bool = True) -> dict[str, str]:
    captions = {
        "-4wsuPCjDBc_5_15": [["a", "squirrel", "eats"], ["an", "animal"]],
        "aBcdefghijk_0_10": [["a", "cat"]],
        "abcdefghijk_0_10": [["a", "dog"]],
        "zzzzzzzzzzz_1_5": [["a", "bird"]],
    }
    files = {
        "train_list.txt": "-4wsuPCjDBc_5_15\naBcdefghijk_0_10\n",
        "val_list.txt": "abcdefghijk_0_10\n",
        "test_list.txt": "zzzzzzzzzzz_1_5\n",
        "raw-captions.pkl": pickle.dumps(captions, protocol=2),
    }
    return write_files(folder, files, [f"{stem}.avi" for stem in captions] if videos else [])


def write_didemo(folder: Path, videos: bool = True) -> dict[str, str]:
    names = {"train": "10015567@N08_3655084291_a8b58478dc.mov", "val": "1@N0_2_b.m4v", "test": "1@N0_3_c.avi"}
    files: dict[str, str | bytes] = {}
    for split, name in names.items():
        captions = [(name, "The sun sets. "), ("0@N00_0_z.mov", "Nobody lists me."), (name, "A dog runs.")]
        files[f"{split}_data.json"] = json.dumps(
            [
                {"annotation_id": i, "description": text, "video": video, "times": [[0, 0], [1, 2]], "num_segments": 6}
                for i, (video, text) in enumerate(captions)
            ]
        )
        files[f"{split}_list.txt"] = f"{name}\n"
    return write_files(folder, files, [f"{name.rsplit('.')[0]}.mp4" for name in names.values()] if videos else [])


def lsmdc_line(clip_id: str, sentence: str) -> str:
    return f"{clip_id}\t00.05.16.065\t00.05.21.941\t00.05.16.065\t00.05.21.941\t{sentence}\n"


def write_lsmdc(folder: Path, videos: bool = True) -> dict[str, str]:
    birth, slumdog = "3011_BLIND_DATING_01.11.23.496-01.11.25.853", "1006_Slumdog_Millionaire_01.25.49.077-01.25.54.718"
    files = {
        "LSMDC16_annos_training.csv": lsmdc_line(birth, '"Stop!" SOMEONE says, and "goes.')
        + lsmdc_line(UNBREAKABLE, "SOMEONE sits.")
        + lsmdc_line(birth, "He goes."),
        "LSMDC16_annos_val.csv": lsmdc_line(slumdog, "SOMEONE's, no?"),
        "LSMDC16_challenge_1000_publictect.csv": lsmdc_line(
            "0001_American_Beauty_00.02.29.298-00.02.30.004", "It snows."
        ),
    }
    names = [f"3011_BLIND_DATING/{birth}.avi", f"1012_Unbreakable/{UNBREAKABLE}.avi"]
    return write_files(folder, files, names if videos else [])


WRITERS = {"didemo": write_didemo, "lsmdc": write_lsmdc, "msrvtt": write_msrvtt, "msvd": write_msvd}
