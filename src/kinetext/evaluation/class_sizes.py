"""Head, middle and tail: classes by their number of training clips.

The thresholds are those of long-tailed recognition (Liu et al., CVPR 2019; Kang et al., ICLR 2020): more than 100
training clips, 20 to 100, fewer than 20. Video data sets are smaller than the image data sets that these were chosen
for. Where one of the three groups would be empty, the groups are thirds of the classes instead, sorted by their number
of clips: the question, whether a method serves rare classes worse, stays the same. Classes with equally many clips
are never separated. If the largest class has less than twice the clips of the smallest, nothing is long-tailed, and
there are no groups: few-shot protocols, for instance, draw equally many clips of each class.

K classes.
"""

import numpy as np

MANY, FEW = 100, 20  # head: more than MANY training clips; tail: fewer than FEW
MIN_RATIO = 2  # of the largest class to the smallest, from which on there are groups
NAMES = ("head", "middle", "tail")


def size_groups(train_clips_K: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mask [K] of the classes of each group; no groups if classes are of similar size, or too few.

    Classes without training clips are novel, and in no group.
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
    """Return the largest, middle and smallest third of the classes with training clips.

    Classes with equally many clips go where most of them would: by the middle of their places in the order.
    """
    clips_K = np.where(train_clips_K > 0, train_clips_K, -1)
    trained = int((clips_K > 0).sum())
    above_K = (clips_K[None] > clips_K[:, None]).sum(1)
    equal_K = (clips_K[None] == clips_K[:, None]).sum(1)
    third_K = np.minimum(3 * (above_K + (equal_K - 1) / 2) // trained, 2)
    return {name: (third_K == number) & (clips_K > 0) for number, name in enumerate(NAMES)}


def describe_groups(train_clips_K: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """Return of each group the number of classes, and the training clips of the smallest and the largest of them."""
    sizes = {name: train_clips_K[mask_K] for name, mask_K in size_groups(train_clips_K).items()}
    return {name: (len(clips), int(clips.min()), int(clips.max())) for name, clips in sizes.items()}
