"""Small data sets of official recognition lists, in the layout of the published files. Each function writes lists and
videos below a folder and returns options.
"""

import json
from pathlib import Path

from videos import write_video


def write(folder: Path, lists: dict[str, str | bytes], videos: list[str], real: bool = False) -> dict[str, str]:
    """Writes lists and videos, empty files unless `real`; the options of a data set that reads them."""
    for name, content in lists.items():
        path = folder / "lists" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "videos").mkdir(exist_ok=True)
    for name in videos:
        path = folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, 10, codec="mpeg4") if real else path.touch()
    return {"root": str(folder / "videos"), "annotations": str(folder / "lists")}


def write_kinetics(folder: Path, real: bool = True) -> dict[str, str]:
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    lists = {
        "train.csv": header
        + '"massaging person\'s head",-0WZKTu0xFk,9,19,train,0\n'
        + "abseiling,abcdefghijk,3.0,13.0,train,1\n"
        + '"riding, or walking, with horse",ABcdefghijk,3,13,train,0\n',
        "validate.csv": header + "abseiling,zzzzzzzzzz_,0,10,validate,0\n",
    }
    videos = [
        "train/-0WZKTu0xFk_000009_000019.mp4",
        "train/abcdefghijk_000003_000013.mp4",
        "train/ABcdefghijk_000003_000013.mkv",
        "val/zzzzzzzzzz__000000_000010.mp4",
    ]
    return write(folder, lists, videos, real)


def write_ssv2(folder: Path, real: bool = True, prefix: str = "something-something-v2-") -> dict[str, str]:
    train = [
        {"id": "78687", "label": "holding potato", "template": "Holding [something]", "placeholders": ["potato"]},
        {"id": "42", "label": "moving a cup up", "template": "Moving [something] up", "placeholders": ["a cup"]},
    ]
    validation = [{"id": "7", "label": "holding a pen", "template": "Holding [something]", "placeholders": ["a pen"]}]
    lists = {
        f"{prefix}labels.json": json.dumps({"Moving something up": "1", "Holding something": "0"}),
        f"{prefix}train.json": json.dumps(train),
        f"{prefix}validation.json": json.dumps(validation),
        f"{prefix}test.json": json.dumps([{"id": "1"}]),
    }
    return write(folder, lists, ["78687.mp4", "42.mp4", "7.mkv"], real)


def write_hmdb51(folder: Path, real: bool = True) -> dict[str, str]:
    lists = {
        "brush_hair_test_split1.txt": "April_(09)_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n"
        "April_(09)_brush_hair_u_nm_np1_ba_goo_1.avi 0 \n"
        "Hair_brush_hair_u_nm_np1_ba_goo_0.avi 2 \n",
        "clap_test_split1.txt": "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 1 \nHands_clap_u_nm_np1_fr_goo_0.avi 2 \n",
        "clap_test_split2.txt": "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 2 \n",
    }
    videos = [
        "brush_hair/April_(09)_brush_hair_u_nm_np1_ba_goo_0.avi",
        "brush_hair/Hair_brush_hair_u_nm_np1_ba_goo_0.avi",
        "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi",
        "clap/Hands_clap_u_nm_np1_fr_goo_0.avi",
    ]
    return write(folder, lists, videos, real)


def write_ucf101(folder: Path, real: bool = True) -> dict[str, str]:
    lists = {
        "classInd.txt": "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n10 YoYo\r\n",
        "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
        "HandStandPushups/v_HandStandPushups_g08_c01.avi 2\r\n"
        "YoYo/v_YoYo_g08_c01.avi 10\r\n",
        "testlist01.txt": "HandstandPushups/v_HandStandPushups_g01_c01.avi\r\nYoYo/v_YoYo_g01_c01.avi\r\n",
    }
    videos = [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "HandstandPushups/v_HandStandPushups_g08_c01.avi",
        "HandstandPushups/v_HandstandPushups_g01_c01.avi",
        "YoYo/v_YoYo_g08_c01.mp4",
    ]
    return write(folder, lists, videos, real)


def write_diving48(folder: Path, real: bool = True) -> dict[str, str]:
    vocabulary = [["Back", "15som", "05Twis", "FREE"], ["Inward", "Dive", "NoTwis", "PIKE"]]
    lists = {
        "Diving48_vocab.json": json.dumps(vocabulary),
        "Diving48_V2_train.json": json.dumps(
            [{"vid_name": f"-mmq0PT-u8k_0015{i}", "label": i, "start_frame": 0, "end_frame": 48} for i in (0, 1)]
        ),
        "Diving48_V2_test.json": json.dumps(
            [{"vid_name": "8mBHQ5lqAro_00001", "label": 1, "start_frame": 0, "end_frame": 9}]
        ),
    }
    return write(folder, lists, ["-mmq0PT-u8k_00150.mp4", "8mBHQ5lqAro_00001.mp4"], real)


def write_csv(folder: Path, real: bool = True) -> dict[str, str]:
    rows = "path,label,split,start_s,end_s\na/0.mp4,push_up,train,,\na/1.mp4,sit up,train,0.0,0.2\na/1.mp4,sit up,test,0.2,0.4\n"
    options = write(folder, {"mine.csv": rows}, ["a/0.mp4", "a/1.mp4"], real)
    return {"root": options["root"], "list": f"{options['annotations']}/mine.csv"}


WRITERS = {
    "kinetics": write_kinetics,
    "ssv2": write_ssv2,
    "hmdb51": write_hmdb51,
    "ucf101": write_ucf101,
    "diving48": write_diving48,
    "csv": write_csv,
}
