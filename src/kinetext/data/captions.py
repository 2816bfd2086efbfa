"""Make clips from the sentences in the lists of a captioned data set.

Empty sentences and videos without a sentence are left out. The log states how many.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kinetext.data.datasets.base import Clip
from kinetext.data.lists import printable

log = logging.getLogger(__name__)

Captions = dict[str, list[str]]  # video -> its sentences, in the order of the file


def captioned_clips(
    splits: Mapping[str, Captions],
    find: Callable[[str], tuple[Path, str | None]],
    lists: Path,
    paragraph: bool = False,
) -> Iterator[Clip]:
    """Yield a clip for each video of each split.

    `find` returns the path of a video and the reason why it must not be read or None, as `Videos.find` does. With
    `paragraph`, the sentences of a video are joined to one caption. `lists`, the folder of the lists, is quoted in
    messages. Raises ValueError if a video is in two splits, because a method must not be tested on its training clips.
    """
    _check_disjoint(splits, lists)
    num_empty = 0
    silent = []
    for split, captions in splits.items():
        for video, sentences in captions.items():
            texts = [_clean(sentence) for sentence in sentences if sentence.strip()]
            num_empty += len(sentences) - len(texts)
            if not texts:
                silent.append(video)
                continue
            path, error = find(video)
            yield Clip(printable(video), path, split, captions=[" ".join(texts)] if paragraph else texts, error=error)
    if num_empty:
        log.warning("%s: %d empty captions are left out", lists, num_empty)
    if silent:
        log.warning("%s: %d videos without a caption are left out, first %s", lists, len(silent), silent[0])


def _check_disjoint(splits: Mapping[str, Captions], lists: Path) -> None:
    counts = Counter(video for captions in splits.values() for video in captions)
    shared = sorted(video for video, count in counts.items() if count > 1)
    if shared:
        names = " and ".join(split for split, captions in splits.items() if shared[0] in captions)
        first = ", ".join(shared[:10]) + (", …" if len(shared) > 10 else "")
        raise ValueError(
            f"annotations: {lists} has {len(shared)} videos in {names}: {first}; keep each in one of its lists"
        )


def read_captions(path: Path, entries: Any, video_key: str, caption_key: str) -> Captions:
    """Return the captions of each video from `entries`, the list of objects in the JSON file `path`.

    `video_key` and `caption_key` are the keys of the video and the caption in an object. Raises ValueError if `entries`
    is not a list or if an object has no text under one of the keys.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{path}: no list of captions; use the file as published")
    captions: Captions = {}
    for number, entry in enumerate(entries, 1):
        for key in (video_key, caption_key):
            if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
                raise ValueError(f"{path}: caption {number} has no text '{key}'; use the file as published")
        captions.setdefault(entry[video_key], []).append(entry[caption_key])
    return captions


def select(captions: Captions, videos: Iterable[str]) -> Captions:
    """Return the captions of each of these videos: an empty list for a video without captions."""
    return {video: captions.get(video, []) for video in videos}


def _clean(sentence: str) -> str:
    """Return a sentence without surrounding space, with replacement characters for bytes that are not UTF-8.

    Tables can store only UTF-8.
    """
    return sentence.strip().encode(errors="surrogatepass").decode(errors="replace")
