"""Videos named on the command line: files, folders, lists."""

from pathlib import Path

import pytest

from kinetext.data.named_videos import Video, find_videos


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.mp4", "a/1.MKV", "a/notes.md", ".hidden/3.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path / "videos"


def test_a_folder_gives_its_videos_in_the_order_of_names(folder):
    assert find_videos([folder]) == [Video(folder / "a/1.MKV"), Video(folder / "b/2.mp4")]


def test_lists_have_paths_relative_to_their_folder_and_windows(folder):
    (folder / "list.txt").write_text("b/2.mp4\n\n/x/y.mp4\n")
    (folder / "list.csv").write_text("path,start_s,end_s\nb/2.mp4,1.5,\n")
    assert find_videos([folder / "list.txt"]) == [Video(folder / "b/2.mp4"), Video(Path("/x/y.mp4"))]
    assert find_videos([folder / "list.csv"]) == [Video(folder / "b/2.mp4", 1.5, None)]


def test_what_is_no_video_is_one_sentence(folder):
    with pytest.raises(ValueError, match="there is no such file; did you mean 'videos'"):
        find_videos([folder.with_name("vidoes")])
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no video"):
        find_videos([folder / "empty"])
    (folder / "list.csv").write_text("path,start_s\nb/2.mp4,soon\n")
    with pytest.raises(ValueError, match=r"list\.csv:2: start_s is 'soon'"):
        find_videos([folder / "list.csv"])
    assert len(find_videos([folder / "b/2.mp4", folder / "absent.mp4"])) == 2  # its error is a row
