"""Diving48 (Li et al. 2018, RESOUND, ECCV): competition dives that differ in their motion alone; version 2, cleaned.

The lists as published: `Diving48_V2_train.json` and `Diving48_V2_test.json`, objects with `vid_name` and `label`, an index
into `Diving48_vocab.json`, whose 48 entries have four parts: take-off, somersaults, twists and position, as in
`["Back", "15som", "05Twis", "FREE"]`. Videos are `{vid_name}.mp4`.

There is no validation split; `val_share` makes one. Class names are composed from the four parts, here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from kinetext.data.datasets import Clip
from kinetext.data.lists import RecognitionOptions, Videos, need_file, need_folder, read_entries, read_json, set_aside

POSITIONS = {"FREE": "free", "PIKE": "pike", "TUCK": "tuck", "STR": "straight"}
NUMBERS = ("no", "one", "two", "three", "four", "five")


class Config(RecognitionOptions):
    """Where videos and lists are."""


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The training list, the test list and the classes."""
    folder = need_folder(config.annotations, "annotations")
    return [need_file(folder, f"Diving48_{part}.json") for part in ("V2_train", "V2_test", "vocab")]


def published(config: Config) -> dict[str, int]:
    """48 classes (the paper); the files of version 2 list 15 027 and 1970 clips, by those who use them: the authors state
    numbers of version 1 only.
    """
    # https://blog.donghuna.com/2024/07/11/Dive-sequence-classification, a TimeSformer trained on them
    train = {} if config.val_share else {"train": 15_027}
    return {**train, "test": 1970, "classes": 48}


def labels(config: Config) -> list[str]:
    """The classes in the order of the vocabulary, as words."""
    path = list_files(config)[2]
    found = []
    for number, parts in enumerate(read_json(path, list)):
        try:
            found.append(dive(*parts))
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{path}: class {number} is {parts!r}; it must be like ['Back', '15som', '05Twis', 'FREE']"
            ) from None
    return found


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips of the training list, then those of the test list. Raises ValueError, with file and entry."""
    return set_aside(_listed(config), config.val_share, config.seed)


def dive(takeoff: str, somersaults: str, twists: str, position: str) -> str:
    """A class as words: `back dive with one and a half somersaults and half a twist in free position`."""
    turns = [
        count(part, noun)
        for part, noun in ((somersaults, "somersault"), (twists, "twist"))
        if part not in ("Dive", "NoTwis")
    ]
    turning = f" with {' and '.join(turns)}" if turns else ""
    return f"{takeoff.lower()} dive{turning} in {POSITIONS[position]} position"


def count(part: str, noun: str) -> str:
    """Turns as words: `15som` is one and a half somersaults, `2som` two, `05Twis` half a twist."""
    found = re.fullmatch(r"([0-5])(5?)(som|Twis)", part)
    if found is None:
        raise ValueError(f"'{part}' counts no {noun}s")
    whole, half = int(found[1]), bool(found[2])
    if whole == 0:
        return f"half a {noun}"
    return f"{NUMBERS[whole]}{' and a half' if half else ''} {noun}{'' if (whole, half) == (1, False) else 's'}"


def _listed(config: Config) -> Iterator[Clip]:
    videos = Videos(need_folder(config.root, "root"))
    train, test, vocabulary = list_files(config)
    classes = labels(config)
    for split, path in (("train", train), ("test", test)):
        for place, entry in read_entries(path, "vid_name", "label"):
            number = str(entry["label"])
            if not number.isdecimal() or int(number) >= len(classes):
                raise ValueError(f"{place}: label {number} is none of the {len(classes)} classes of {vocabulary.name}")
            file, error = videos.find(f"{entry['vid_name']}.mp4")
            yield Clip(str(entry["vid_name"]), file, split, classes[int(number)], error=error)
