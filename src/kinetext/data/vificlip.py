"""ViFi-CLIP's lists (Rasheed et al., CVPR 2023): its base and novel classes, and the labels that its clip lists swap.

vificlip_classes.yaml has the classes of HMDB51, UCF101, Something-Something V2 and Kinetics-400. In its clip lists of
HMDB51, the clips of kick have the number of kick ball in its label file, those of sword the number of sword exercise,
and the other way round. Its published numbers on HMDB51 include that.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

CLASSES = Path(__file__).with_name("vificlip_classes.yaml")
SWAPPED = {"kick": "kick ball", "kick ball": "kick", "sword": "sword exercise", "sword exercise": "sword"}
HMDB51_FILE = re.compile(r"_(kick|kick_ball|sword|sword_exercise)_[fhlu]_[cn]m_np\d_")  # {film}_{class}_{properties}


def class_lists(labels: list[str]) -> tuple[str, dict[str, list[str]]]:
    """Return which of ViFi-CLIP's data sets has these classes, and its lists `base` and `novel`.

    Raises ValueError if none has exactly these classes.
    """
    names = {normalise(label): label for label in labels}
    other_names: dict[str, list[str]] = {}
    for dataset, lists in yaml.safe_load(CLASSES.read_text(encoding="utf-8")).items():
        listed = {normalise(label): label for label in lists["novel"] + lists["base"]}
        if listed.keys() == names.keys():
            return dataset, lists
        other_names[dataset] = [(names | listed)[key] for key in sorted(listed.keys() ^ names.keys())]
    dataset, different = min(other_names.items(), key=lambda item: len(item[1]))
    raise ValueError(
        f"novel: vificlip has lists for the classes of {', '.join(other_names)}; these {len(labels)} classes are none of "
        f"them (nearest: {dataset}; only one of the two has '{different[0]}'). Take half, or name the classes"
    )


def novel_classes(labels: list[str]) -> set[str]:
    """Return the classes that ViFi-CLIP holds out. Raises ValueError if it has no list for these classes."""
    names = {normalise(name) for name in class_lists(labels)[1]["novel"]}
    return {label for label in labels if normalise(label) in names}


def has_swapped_numbers(labels: list[str], numbered: Sequence[tuple[str, int]]) -> bool:
    """Return whether pairs of a clip's class and its number in a list are those of ViFi-CLIP's lists of HMDB51.

    All numbers must agree with its label file, of all classes or of the base classes, but for the swapped ones.
    """
    if set(labels).isdisjoint(SWAPPED):
        return False
    try:
        _, lists = class_lists(labels)
    except ValueError:
        return False
    for names in (lists["novel"] + lists["base"], lists["base"]):
        by_number = dict(enumerate(names))
        wrong = [(label, by_number.get(number)) for label, number in numbered if label != by_number.get(number)]
        if wrong and all(SWAPPED.get(label) == name for label, name in wrong):
            return True
    return False


def has_swapped_label(video: str, label: str) -> bool:
    """Return whether the class in the file name of an HMDB51 video is the one that `label` is swapped with."""
    match = HMDB51_FILE.search(video)
    return match is not None and SWAPPED.get(label) == match[1].replace("_", " ")


def normalise(label: str) -> str:
    """Return a class name in lower case without spaces and signs, which differ between data sets."""
    return re.sub(r"[^a-z0-9]", "", label.lower())
