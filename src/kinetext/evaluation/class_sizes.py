"""Head, middle and tail classes, grouped by number of training clips.

The thresholds are those of long-tailed recognition (Liu et al., CVPR 2019; Kang et al., ICLR 2020): more than 100
training clips (head), 20 to 100 (middle), fewer than 20 (tail). They were chosen for image data sets, which are larger
than video data sets. If one of the three groups would be empty, the classes are sorted by number of clips and split
into thirds instead. This still shows whether a method is worse on rare classes. Classes with equally many clips are
never separated. There are no groups if the largest class has less than twice the clips of the smallest, as in few-shot
protocols, which draw equally many clips of each class.

K classes.
"""

import numpy as np

MANY, FEW = 100, 20  # head: more than MANY training clips; tail: fewer than FEW
MIN_RATIO = 2  # of the largest class to the smallest, from which on there are groups
NAMES = ("head", "middle", "tail")


def size_groups(train_clips_K: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mask [K] of the classes of each group, by name. It is empty if the classes are of similar size.

    Classes without training clips are novel and belong to no group. A group without classes is left out.
    """
    trained_K = train_clips_K > 0
    if not trained_K.any() or train_clips_K.max() < MIN_RATIO * train_clips_K[trained_K].min():
        return {}
    head_K, tail_K = train_clips_K > MANY, trained_K & (train_clips_K < FEW)
    groups = dict(zip(NAMES, (head_K, trained_K & ~head_K & ~tail_K, tail_K), strict=True))
    if all(mask_K.any() for mask_K in groups.values()):
        return groups
    return {name: mask_K for name, mask_K in _thirds(train_clips_K).items() if mask_K.any()}


def _thirds(train_clips_K: np.ndarray) -> dict[str, np.ndarray]:
    """Return the masks [K] of the largest, middle and smallest third of the classes with training clips, by group name.

    Classes with equally many clips stay together. The middle of their positions in the sorted order decides on the
    third.
    """
    clips_K = np.where(train_clips_K > 0, train_clips_K, -1)
    trained = int((clips_K > 0).sum())
    above_K = (clips_K[None] > clips_K[:, None]).sum(1)
    equal_K = (clips_K[None] == clips_K[:, None]).sum(1)
    third_K = np.minimum(3 * (above_K + (equal_K - 1) / 2) // trained, 2)
    return {name: (third_K == number) & (clips_K > 0) for number, name in enumerate(NAMES)}


def describe_groups(train_clips_K: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """Return for each group the number of classes, then the training clips of the smallest and of the largest class."""
    sizes = {name: train_clips_K[mask_K] for name, mask_K in size_groups(train_clips_K).items()}
    return {name: (len(clips), int(clips.min()), int(clips.max())) for name, clips in sizes.items()}
