"""Text-video retrieval: ranks out of the scores of clips for captions, and what is measured of them.

The rank of a query's own item is 1 + the number of other items that score strictly higher. Items are never repeated in
a gallery and each query has one rank, so equal captions and equal clips count once (the widely copied
`where(sorted - own == 0)` counts every tie as a query of its own). A tie is thus in the
query's favour, as papers have it; `ties` says how many there are, since a model that scores everything alike would be
perfect.

- t2v: every caption is a query, the clips are its gallery.
- v2t: every clip is a query; a gallery clip scores as its best caption does (CLIP4Clip, X-Pool), so with one caption a
  clip the captions are the gallery.

A clip without frames has NaN scores: as an own item, or as a query, it has the worst rank; as another's item it is never
ahead. B clips, K captions, Q queries.
"""

from dataclasses import dataclass

import numpy as np

from kinetext.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Ranks:
    """The rank of each query's own item, 1 is best, whether another item ties with it, and which clip it is about.

    Queries of one clip (its captions) stand together: a bootstrap draws clips, as captions of one clip are alike.
    """

    rank_Q: np.ndarray
    tied_Q: np.ndarray
    start_B: np.ndarray  # where a clip's queries begin
    count_B: np.ndarray  # and how many they are

    def __len__(self) -> int:
        """Clips."""
        return len(self.count_B)

    def take(self, rows: np.ndarray) -> "Ranks":
        """The queries of some clips, repeats allowed."""
        count_B = self.count_B[rows]
        start_B = np.cumsum(count_B) - count_B
        index_Q = np.repeat(self.start_B[rows] - start_B, count_B) + np.arange(count_B.sum())
        return Ranks(self.rank_Q[index_Q], self.tied_Q[index_Q], start_B, count_B)


def rank_queries(scores_BK: np.ndarray, owner_K: np.ndarray) -> dict[str, Ranks]:
    """Ranks in both directions, "t2v" and "v2t". `owner_K` is the clip of each caption, as a row of the scores.

    Raises ValueError for a clip without captions: it could not be found.
    """
    B = len(scores_BK)
    count_B = np.bincount(owner_K, minlength=B)
    if not count_B.all():
        raise ValueError(f"predictions: clip {int(np.argmin(count_B))} of {B} has no caption")
    order_K = np.argsort(owner_K, kind="stable")
    scores_BK, owner_K = scores_BK[:, order_K], owner_K[order_K]
    start_B = np.cumsum(count_B) - count_B

    best_BB = np.maximum.reduceat(scores_BK, start_B, axis=1)  # a clip's score for another clip's best caption
    ones_B = np.ones(B, int)
    return {
        "t2v": Ranks(*_ranks(scores_BK.T, owner_K), start_B, count_B),
        "v2t": Ranks(*_ranks(best_BB, np.arange(B)), np.arange(B), ones_B),
    }


def _ranks(scores_QN: np.ndarray, own_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each query's own item among N, and whether another ties with it."""
    own_Q1 = np.take_along_axis(scores_QN, own_Q[:, None], axis=1)
    rank_Q = 1 + (scores_QN > own_Q1).sum(1)  # NaN is never higher
    tied_Q = (scores_QN == own_Q1).sum(1) > 1
    return np.where(np.isnan(own_Q1[:, 0]), scores_QN.shape[1], rank_Q), tied_Q


def found_first(ranks: Ranks) -> np.ndarray:
    """Return each clip's share of its queries whose own item no other beats, value_B, for paired comparisons."""
    return np.add.reduceat(ranks.rank_Q <= 1, ranks.start_B) / ranks.count_B if len(ranks) else np.zeros(0)


# ---- changed scores. Transductive ones: what a system could say that sees all queries of the test at once


def dual_softmax(scores_QN: np.ndarray) -> np.ndarray:
    """DSL (CAMoE, Cheng et al. 2021): each score times its share among all queries for the same item. Scores are taken
    as they are, at the model's own temperature; the copied code's further factor of 1000 makes the shares near equal.
    """
    return scores_QN * inverted_softmax(scores_QN)


def inverted_softmax(scores_QN: np.ndarray) -> np.ndarray:
    """Softmax over queries instead of items (Smith et al., ICLR 2017): an item that suits all queries suits none."""
    high_1N = np.nan_to_num(np.nanmax(np.where(np.isnan(scores_QN), -np.inf, scores_QN), axis=0, keepdims=True))
    weight_QN = np.exp(scores_QN - high_1N)
    with np.errstate(invalid="ignore"):
        return weight_QN / np.nansum(weight_QN, axis=0, keepdims=True)


TRANSDUCTIVE = {"dsl": dual_softmax, "inverted": inverted_softmax}


def querybank_norm(scores_QN: np.ndarray, bank_PN: np.ndarray) -> np.ndarray:
    """QB-Norm with the dynamic inverted softmax (Bogolin et al., CVPR 2022; code: ioanacroi/qb-norm). An item is activated
    if some query p of a bank scores it highest. A query whose highest item is activated has its scores s(n) become

        exp(s(n)) / sum over p of exp(bank(p, n))

    (here the logarithm of that, which ranks the same); any other query keeps its scores. The bank is captions of
    training clips, so that no query of the test is seen and a search that answers one query at a time can do it, too.
    Scores are taken at the model's own temperature; the authors take 20 x the cosine, and other factors for some models.
    """
    activated_N = np.zeros(scores_QN.shape[1], bool)
    activated_N[_highest(bank_PN)] = True
    with np.errstate(invalid="ignore"):
        log_sum_N = np.logaddexp.reduce(bank_PN, axis=0)
    return np.where(activated_N[_highest(scores_QN)][:, None], scores_QN - log_sum_N, scores_QN)


def _highest(scores_QN: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(scores_QN), -np.inf, scores_QN).argmax(1)


def owners(predictions: Predictions) -> np.ndarray:
    """The clip of each caption, as a row of the scores, owner_K."""
    assert predictions.clip_ids is not None
    row = {clip: b for b, clip in enumerate(predictions.clip_ids)}
    return np.array([row[clip] for clip in predictions.labels], int)


def rank_samples(predictions: Predictions, transductive: bool) -> dict[str, Ranks]:
    """Return what metrics of captions are measured on, by the pattern of their names, as "t2v_{}" or, of changed scores,
    "t2v_{}:dsl".

    QB-Norm is measured from text to video alone, where there is a bank: the other way would take training videos.
    """
    owner_K, scores_BK = owners(predictions), predictions.scores_BK
    samples = {f"{way}_{{}}": ranks for way, ranks in rank_queries(scores_BK, owner_K).items()}
    for name, change in TRANSDUCTIVE.items() if transductive else ():
        changed = {"t2v": change(scores_BK.T).T, "v2t": change(scores_BK)}  # over captions, over clips
        for way, changed_BK in changed.items():
            samples[f"{way}_{{}}:{name}"] = rank_queries(changed_BK, owner_K)[way]
    if predictions.bank_BP is not None:
        changed_BK = querybank_norm(scores_BK.T, predictions.bank_BP.T).T
        samples["t2v_{}:qb_norm"] = rank_queries(changed_BK, owner_K)["t2v"]
    return samples
