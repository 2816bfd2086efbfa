"""The pairwise comparison of moted: descriptions written against one rival decide between the two classes.

B clips, K classes, P ordered pairs (class, rival); each pair has its reverse.
"""

from torch import Tensor


def compare_pairs(
    score_BK: Tensor, pair_BP: Tensor, share_BK: Tensor, label_P: Tensor, rival_P: Tensor, reverse_P: Tensor
) -> Tensor:
    """Return the scores [B, K] with the comparisons of pairs added.

    `pair_BP` is the score of the descriptions of class `label_P` against `rival_P`. The class gains the difference of
    the two scores of the pair, times the rival's probability in `share_BK`. If both classes have probability 1/2, their
    score difference grows by that of the pair; if both have 0, it does not change.
    """
    difference_BP = pair_BP - pair_BP[:, reverse_P]
    return score_BK.index_add(1, label_P, share_BK[:, rival_P] * difference_BP)
