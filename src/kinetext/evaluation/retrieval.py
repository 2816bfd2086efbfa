"""Text-video retrieval: ranks from the scores of clips for captions, with plain and with changed scores.

- t2v: every caption is a query, and the clips are the gallery.
- v2t: every clip is a query, and the gallery has one item per clip, with the score of its best caption (CLIP4Clip,
  X-Pool). With one caption per clip, the captions are the gallery.

The rank of the item that matches a query is 1 + the number of other items that score strictly higher. Each query has
exactly one rank, whereas the widely copied `where(sorted - own == 0)` counts every tie as another query. A tie favours
the query, as in papers. The metric `ties` reports how many ties there are, because a model with equal scores everywhere
would have perfect ranks.

A clip without frames has NaN scores. It has the worst rank both as a query and as the matching item, and never ranks
above another item.

B clips, K captions, Q queries, N items of a gallery, P captions of the query bank.
"""

from dataclasses import dataclass

import numpy as np

from kinetext.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Ranks:
    """The rank of the item that matches each query (1 is best), and whether another item ties with it, sorted by clip.

    A bootstrap draws clips with all of their queries, because the captions of a clip are not independent.
    """

    rank_Q: np.ndarray
    tied_Q: np.ndarray
    start_B: np.ndarray  # index of each clip's first query
    count_B: np.ndarray  # number of each clip's queries

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.count_B)

    def take(self, rows: np.ndarray) -> "Ranks":
        """Return the queries of the clips at `rows`, which may repeat."""
        count_B = self.count_B[rows]
        start_B = np.cumsum(count_B) - count_B
        index_Q = np.repeat(self.start_B[rows] - start_B, count_B) + np.arange(count_B.sum())
        return Ranks(self.rank_Q[index_Q], self.tied_Q[index_Q], start_B, count_B)


def rank_queries(scores_BK: np.ndarray, clip_K: np.ndarray) -> dict[str, Ranks]:
    """Return the ranks of both directions, "t2v" and "v2t". `clip_K` is the row of the scores for each caption's clip.

    Raises ValueError for a clip without captions, which cannot be retrieved.
    """
    B = len(scores_BK)
    count_B = np.bincount(clip_K, minlength=B)
    if not count_B.all():
        raise ValueError(f"predictions: clip {int(np.argmin(count_B))} of {B} has no caption")
    order_K = np.argsort(clip_K, kind="stable")
    scores_BK, clip_K = scores_BK[:, order_K], clip_K[order_K]
    start_B = np.cumsum(count_B) - count_B

    best_BB = np.maximum.reduceat(scores_BK, start_B, axis=1)  # a clip's score for the best caption of each clip
    ones_B = np.ones(B, int)
    return {
        "t2v": Ranks(*_ranks(scores_BK.T, clip_K), start_B, count_B),
        "v2t": Ranks(*_ranks(best_BB, np.arange(B)), np.arange(B), ones_B),
    }


def _ranks(scores_QN: np.ndarray, target_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank [Q] of the item that matches each query, and whether [Q] another item ties with it."""
    target_score_Q1 = np.take_along_axis(scores_QN, target_Q[:, None], axis=1)
    rank_Q = 1 + (scores_QN > target_score_Q1).sum(1)  # NaN is never higher
    tied_Q = (scores_QN == target_score_Q1).sum(1) > 1
    return np.where(np.isnan(target_score_Q1[:, 0]), scores_QN.shape[1], rank_Q), tied_Q


# ---- changed scores. The transductive ones use all queries of the test at once


def dual_softmax(scores_QN: np.ndarray) -> np.ndarray:
    """Multiply each score by its softmax over all queries for the same item (DSL: CAMoE, Cheng et al. 2021).

    The lowest of all scores is subtracted first, so that a constant added to all scores changes nothing. A product with
    negative scores would rank the highest probability last. Scores keep the temperature of the model: the factor
    of 1000 in the widely copied code makes the softmax nearly uniform.
    """
    lowest = np.nanmin(scores_QN, initial=np.inf)  # NaN: of clips without frames
    return (scores_QN - lowest) * inverted_softmax(scores_QN)


def inverted_softmax(scores_QN: np.ndarray) -> np.ndarray:
    """Return the softmax over queries instead of items (Smith et al., ICLR 2017). Items that suit all queries lose."""
    high_1N = np.nan_to_num(np.nanmax(np.where(np.isnan(scores_QN), -np.inf, scores_QN), axis=0, keepdims=True))
    weight_QN = np.exp(scores_QN - high_1N)
    with np.errstate(invalid="ignore"):
        return weight_QN / np.nansum(weight_QN, axis=0, keepdims=True)


TRANSDUCTIVE = {"dsl": dual_softmax, "inverted": inverted_softmax}


def querybank_norm(scores_QN: np.ndarray, bank_PN: np.ndarray) -> np.ndarray:
    """Apply QB-Norm with the dynamic inverted softmax (Bogolin et al., CVPR 2022; code: ioanacroi/qb-norm).

    An item is activated if it scores highest for some bank query p. If the highest item of a query is activated, the
    scores s(n) of the query become

        exp(s(n)) / sum over p of exp(bank(p, n))

    This function returns the logarithm, which gives the same ranks. Other queries keep their scores. The bank consists
    of captions of training clips. No other test query is used, so a search that answers one query at a time can apply
    the method. Scores keep the temperature of the model; the authors use 20 x the cosine, and other factors for some
    models.
    """
    activated_N = np.zeros(scores_QN.shape[1], bool)
    activated_N[_highest(bank_PN)] = True
    with np.errstate(invalid="ignore"):
        log_sum_N = np.logaddexp.reduce(bank_PN, axis=0)
    return np.where(activated_N[_highest(scores_QN)][:, None], scores_QN - log_sum_N, scores_QN)


def _highest(scores_QN: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(scores_QN), -np.inf, scores_QN).argmax(1)


# ---- the ranks of a table of predictions


def caption_clips(predictions: Predictions) -> np.ndarray:
    """Return the clip of each caption, as the index [K] of a row of the scores."""
    assert predictions.clip_ids is not None
    row = {clip_id: b for b, clip_id in enumerate(predictions.clip_ids)}
    return np.array([row[clip_id] for clip_id in predictions.labels], int)


def rank_samples(predictions: Predictions, transductive: bool) -> dict[str, Ranks]:
    """Return the ranks for the metrics of captions, by the pattern of the metrics' names: "t2v_{}" or "t2v_{}:dsl".

    QB-Norm is measured for text to video only, and only with a bank. The other direction would need training videos.
    """
    clip_K, scores_BK = caption_clips(predictions), predictions.scores_BK
    samples = {f"{direction}_{{}}": ranks for direction, ranks in rank_queries(scores_BK, clip_K).items()}
    for name, change in TRANSDUCTIVE.items() if transductive else ():
        changed = {"t2v": change(scores_BK.T).T, "v2t": change(scores_BK)}
        for direction, changed_BK in changed.items():
            samples[f"{direction}_{{}}:{name}"] = rank_queries(changed_BK, clip_K)[direction]
    if predictions.bank_BP is not None:
        changed_BK = querybank_norm(scores_BK.T, predictions.bank_BP.T).T
        samples["t2v_{}:qb_norm"] = rank_queries(changed_BK, clip_K)["t2v"]
    return samples
