"""What the loaders of captioned data sets share: from the sentences of their lists to clips.

Nothing is left out in silence: empty sentences, and videos of which nothing is said, are counted in the log.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kinetext.data.datasets import Clip
from kinetext.data.lists import printable

log = logging.getLogger(__name__)

Captions = dict[str, list[str]]  # video -> what is said of it, in the order of the file


def captioned_clips(
    splits: Mapping[str, Captions],
    find: Callable[[str], tuple[Path, str | None]],
    lists: Path,
    paragraph: bool = False,
) -> Iterator[Clip]:
    """A clip for each video of each split; `find` says where a video is and why it may not be used, as Videos.find does.

    `paragraph` joins what is said of a video to one caption. `lists`, the folder of the lists, stands in messages.
    Raises ValueError if a video stands in two splits: testing on what was trained on measures memory.
    """
    counts = Counter(video for captions in splits.values() for video in captions)
    shared = sorted(video for video, count in counts.items() if count > 1)
    if shared:
        where = " and ".join(split for split, captions in splits.items() if shared[0] in captions)
        some = ", ".join(shared[:10]) + (", …" if len(shared) > 10 else "")
        raise ValueError(
            f"annotations: {lists} has {len(shared)} videos in {where}: {some}; leave each in one of its lists"
        )
    num_empty = 0
    silent = []
    for split, captions in splits.items():
        for video, sentences in captions.items():
            said = [_clean(sentence) for sentence in sentences if sentence.strip()]
            num_empty += len(sentences) - len(said)
            if not said:
                silent.append(video)
                continue
            path, error = find(video)
            yield Clip(printable(video), path, split, captions=[" ".join(said)] if paragraph else said, error=error)
    if num_empty:
        log.warning("%s: %d empty captions are left out", lists, num_empty)
    if silent:
        log.warning("%s: %d videos without a caption are left out, first %s", lists, len(silent), silent[0])


def read_captions(path: Path, entries: Any, video_key: str, caption_key: str) -> Captions:
    """Captions from the objects of a JSON file, grouped by video. Raises ValueError if one lacks the video or the text."""
    if not isinstance(entries, list):
        raise ValueError(f"{path}: holds no list of captions; take the file as its authors published it")
    captions: Captions = {}
    for number, entry in enumerate(entries, 1):
        for key in (video_key, caption_key):
            if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
                raise ValueError(
                    f"{path}: caption {number} has no text '{key}'; take the file as its authors published it"
                )
        captions.setdefault(entry[video_key], []).append(entry[caption_key])
    return captions


def pick(captions: Captions, videos: Iterable[str]) -> Captions:
    """The captions of these videos; of a video without any, none."""
    return {video: captions.get(video, []) for video in videos}


def _clean(sentence: str) -> str:
    """Without space around it, and with a mark for each byte that was no UTF-8: tables hold text only."""
    return sentence.strip().encode(errors="surrogatepass").decode(errors="replace")
