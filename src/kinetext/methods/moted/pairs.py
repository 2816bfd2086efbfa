"""The pairwise comparison of moted: sentences that were written against one rival decide between these two classes.

B clips, K classes, P ordered pairs (class, rival); each pair has its opposite.
"""

from torch import Tensor


def compare_pairs(
    score_BK: Tensor, pair_BP: Tensor, share_BK: Tensor, label_P: Tensor, rival_P: Tensor, reverse_P: Tensor
) -> Tensor:
    """Return the scores [B, K] after the pairs that are at stake have been compared.

    `pair_BP` is the score of the sentences of class `label_P` against `rival_P`. The class gains the difference of the
    two scores of the pair, times the share of the rival in `share_BK` (shares sum to 1). If two classes share a clip
    half and half, the difference between them grows by that of their pair; a pair that has no share changes nothing.
    """
    difference_BP = pair_BP - pair_BP[:, reverse_P]
    return score_BK.index_add(1, label_P, share_BK[:, rival_P] * difference_BP)
