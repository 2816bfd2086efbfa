"""ViFi-CLIP's lists (Rasheed et al., CVPR 2023): its base and novel classes, and the labels that its clip lists swap.

vificlip_classes.yaml has the classes of HMDB51, UCF101, Something-Something V2 and Kinetics-400. ViFi-CLIP's clip lists
of HMDB51 contradict its label file. Clips of kick have the number that the label file gives to kick ball, and the
reverse; sword and sword exercise are swapped in the same way. The published results on HMDB51 include these errors.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

CLASSES = Path(__file__).with_name("vificlip_classes.yaml")
SWAPPED = {"kick": "kick ball", "kick ball": "kick", "sword": "sword exercise", "sword exercise": "sword"}
HMDB51_FILE = re.compile(r"_(kick|kick_ball|sword|sword_exercise)_[fhlu]_[cn]m_np\d_")  # {film}_{class}_{properties}


def class_lists(labels: list[str]) -> tuple[str, dict[str, list[str]]]:
    """Return the name of the ViFi-CLIP data set with these classes, and a dict with its lists `base` and `novel`.

    Raises ValueError if no data set has exactly these classes.
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
    """Return the classes that ViFi-CLIP treats as novel. Raises ValueError if it has no lists for these classes."""
    names = {normalise(name) for name in class_lists(labels)[1]["novel"]}
    return {label for label in labels if normalise(label) in names}


def has_swapped_numbers(labels: list[str], numbered: Sequence[tuple[str, int]]) -> bool:
    """Return whether a list of clips has the swapped class numbers of ViFi-CLIP's HMDB51 lists.

    `numbered` has pairs (class of a clip, number in the list). All pairs except the swapped ones must agree with
    ViFi-CLIP's label file, of all classes or of the base classes.
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
    """Return whether the file name of an HMDB51 video states the class that ViFi-CLIP's lists swap with `label`."""
    match = HMDB51_FILE.search(video)
    return match is not None and SWAPPED.get(label) == match[1].replace("_", " ")


def normalise(label: str) -> str:
    """Return a class name as lower-case letters and digits only, because spaces and signs differ between data sets."""
    return re.sub(r"[^a-z0-9]", "", label.lower())
