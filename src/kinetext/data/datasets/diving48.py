"""Diving48 (Li et al. 2018, RESOUND, ECCV), version 2: competition dives whose classes differ only in their motion.

The lists are read as published: `Diving48_V2_train.json` and `Diving48_V2_test.json` with objects of `vid_name` and
`label`. A label is an index into `Diving48_vocab.json`, whose 48 entries have four parts: take-off, somersaults, twists
and position, as in `["Back", "15som", "05Twis", "FREE"]`. Videos are `{vid_name}.mp4`.

There is no validation split; `val_share` makes one. Class names in words are composed from the four parts here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from kinetext.data.datasets.base import Clip
from kinetext.data.lists import need_file, need_folder, read_entries, read_json
from kinetext.data.recognition import RecognitionDataset, RecognitionOptions
from kinetext.data.videos import Videos

POSITIONS = {"FREE": "free", "PIKE": "pike", "TUCK": "tuck", "STR": "straight"}
NUMBERS = ("no", "one", "two", "three", "four", "five")


class Diving48(RecognitionDataset):
    """Diving48, version 2."""

    class Config(RecognitionOptions):
        """Folders of videos and lists, and the fraction of training clips that is used for validation."""

    config: Config

    def list_files(self) -> list[Path]:
        """Return the paths of the training list, the test list and the vocabulary of classes, in this order."""
        folder = need_folder(self.config.annotations, "annotations")
        return [need_file(folder, f"Diving48_{part}.json") for part in ("V2_train", "V2_test", "vocab")]

    def published(self) -> dict[str, int]:
        """Return the number of classes (from the paper) and the sizes of version 2.

        The authors state no sizes for version 2; these are the numbers that a user of it reports.
        """
        # https://blog.donghuna.com/2024/07/11/Dive-sequence-classification, a TimeSformer trained on them
        return {**self.published_train(15_027), "test": 1970, "classes": 48}

    def labels(self) -> list[str]:
        """Return the class names in words, in the order of the vocabulary. Raises ValueError for an unknown entry."""
        path = self.list_files()[2]
        labels = []
        for number, parts in enumerate(read_json(path, list)):
            try:
                labels.append(dive(*parts))
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"{path}: class {number} is {parts!r}; it must be like ['Back', '15som', '05Twis', 'FREE']"
                ) from None
        return labels

    def listed_clips(self) -> Iterator[Clip]:
        """Yield the clips of the training list, then those of the test list."""
        videos = Videos(need_folder(self.config.root, "root"))
        train, test, vocabulary = self.list_files()
        classes = self.labels()
        for split, path in (("train", train), ("test", test)):
            for where, entry in read_entries(path, "vid_name", "label"):
                number = str(entry["label"])
                if not number.isdecimal() or int(number) >= len(classes):
                    raise ValueError(
                        f"{where}: label {number} is none of the {len(classes)} classes of {vocabulary.name}"
                    )
                file, error = videos.find(f"{entry['vid_name']}.mp4")
                yield Clip(str(entry["vid_name"]), file, split, classes[int(number)], error=error)


def dive(takeoff: str, somersaults: str, twists: str, position: str) -> str:
    """Return the name of a class in words.

    An example is `back dive with one and a half somersaults and half a twist in free position`.
    """
    turns = [
        count(part, noun)
        for part, noun in ((somersaults, "somersault"), (twists, "twist"))
        if part not in ("Dive", "NoTwis")
    ]
    turning = f" with {' and '.join(turns)}" if turns else ""
    return f"{takeoff.lower()} dive{turning} in {POSITIONS[position]} position"


def count(part: str, noun: str) -> str:
    """Return a number of turns in words: `15som` is one and a half somersaults, `2som` two, `05Twis` half a twist.

    Raises ValueError if the part has another form.
    """
    match = re.fullmatch(r"([0-5])(5?)(som|Twis)", part)
    if match is None:
        raise ValueError(f"'{part}' is not a number of {noun}s")
    whole, half = int(match[1]), bool(match[2])
    if whole == 0:
        return f"half a {noun}"
    return f"{NUMBERS[whole]}{' and a half' if half else ''} {noun}{'' if (whole, half) == (1, False) else 's'}"
