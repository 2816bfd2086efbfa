"""Ranks of text-video retrieval by hand: ties, several captions a clip, clips without frames, transductive scores."""

import numpy as np
import pytest

from kinetext.evaluation.intervals import metric_interval
from kinetext.evaluation.measure import pseudo_values
from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.metrics.recall import Recall
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.retrieval import (
    Ranks,
    dual_softmax,
    inverted_softmax,
    querybank_norm,
    rank_queries,
    rank_samples,
)

NAN = float("nan")
MEASURES = {name: metric for name, metric in all_metrics().items() if metric.task == "captions"}


def measured(predictions, transductive):
    samples = rank_samples(predictions, transductive).items()
    return {pattern.format(name): m.measure(ranks) for pattern, ranks in samples for name, m in MEASURES.items()}


def ranks(scores, owners=None):
    scores_BK = np.array(scores, float)
    ranks = rank_queries(scores_BK, np.arange(len(scores_BK)) if owners is None else np.array(owners))
    return ranks["t2v"].rank_Q.tolist(), ranks["v2t"].rank_Q.tolist()


def noisy(num_clips, captions_each=1, seed=0):
    random = np.random.default_rng(seed)
    owner_K = np.repeat(np.arange(num_clips), captions_each)
    scores_BK = random.normal(size=(num_clips, len(owner_K)))
    scores_BK[owner_K, np.arange(len(owner_K))] += 1.5
    return scores_BK, owner_K


def test_the_rank_is_one_plus_the_items_with_a_higher_score():
    t2v, v2t = ranks([[3, 2, 1], [4, 1, 0], [5, 0, 9]])
    assert t2v == [3, 2, 1]  # down the columns
    assert v2t == [1, 2, 1]  # along the rows


def test_equal_captions_share_their_rank_and_count_once():
    """1k-A repeats five captions; the common formula makes 1010 ranks of its 1000 clips."""
    scores_BK, owner_K = noisy(50)
    scores_BK[:, 7] = scores_BK[:, 3]
    ranks = rank_queries(scores_BK, owner_K)
    for way in ("t2v", "v2t"):
        assert len(ranks[way].rank_Q) == 50
    true_B1 = np.diag(scores_BK)[:, None]
    assert ranks["v2t"].rank_Q.tolist() == (1 + (scores_BK > true_B1).sum(1)).tolist()
    assert ranks["v2t"].tied_Q.nonzero()[0].tolist() == [3, 7]
    common = np.where(np.sort(-scores_BK, axis=1) + true_B1 == 0)[1]
    assert len(common) == 52


def test_equal_clips_share_their_rank_and_count_once():
    scores_BK, owner_K = noisy(50)
    scores_BK[9] = scores_BK[2]
    ranks = rank_queries(scores_BK, owner_K)["t2v"]
    assert len(ranks.rank_Q) == 50
    assert ranks.tied_Q.nonzero()[0].tolist() == [2, 9]
    alone = rank_queries(np.delete(np.delete(scores_BK, 9, 0), 9, 1), owner_K[:-1])["t2v"]
    assert ranks.rank_Q[2] == alone.rank_Q[2]  # its double does not push it back


def test_equal_scores_count_as_found_and_as_ties():
    ranks = rank_queries(np.zeros((4, 4)), np.arange(4))["t2v"]
    assert (MEASURES["r1"].measure(ranks), MEASURES["ties"].measure(ranks)) == (1.0, 1.0)


def test_every_caption_is_a_query_and_clips_score_as_their_best_caption():
    #         captions of clip 0, of 1, of 1, of 0
    scores = [[0.1, 0.5, 0.2, 0.9], [0.2, 0.6, 0.1, 0.3]]
    t2v, v2t = ranks(scores, [0, 1, 1, 0])
    assert t2v == [2, 1, 1, 2]  # by clip: the captions of clip 0 (0.1 < 0.2, 0.9 > 0.3), then those of clip 1
    assert v2t == [1, 1]


def test_several_captions_do_not_repeat_their_clip_in_the_gallery():
    """The common formula over one (clip, caption) item a caption finds a clip behind its own repeats."""
    scores_BK, owner_K = noisy(40, captions_each=20, seed=1)
    ranks = rank_queries(scores_BK + 3 * (owner_K == np.arange(40)[:, None]), owner_K)
    assert len(ranks["t2v"].rank_Q) == 800
    assert len(ranks["v2t"].rank_Q) == 40
    assert MEASURES["r1"].measure(ranks["t2v"]) > 0.9
    assert max(ranks["v2t"].rank_Q) <= 40


def test_the_order_of_captions_and_clips_changes_nothing():
    scores_BK, owner_K = noisy(30, captions_each=3)
    random = np.random.default_rng(5)
    columns, rows = random.permutation(90), random.permutation(30)
    order = np.argsort(rows)
    one, other = rank_queries(scores_BK, owner_K), rank_queries(scores_BK[rows][:, columns], order[owner_K[columns]])
    for way in ("t2v", "v2t"):
        for measure in MEASURES.values():
            assert measure.measure(other[way]) == pytest.approx(measure.measure(one[way]))


def test_a_clip_without_frames_has_the_worst_rank_and_beats_no_other():
    t2v, v2t = ranks([[1, 0, 0], [NAN, NAN, NAN], [0, 5, 1]])
    assert t2v == [1, 3, 1]
    assert v2t == [1, 3, 2]
    for change in (dual_softmax, inverted_softmax):
        changed = change(np.array([[1, 0, 0], [NAN, NAN, NAN], [0, 5, 1.0]]))
        assert np.isnan(changed[1]).all()
        assert np.isfinite(changed[[0, 2]]).all()


def test_a_clip_without_captions_is_an_error():
    with pytest.raises(ValueError, match="clip 1 of 2 has no caption"):
        ranks([[1, 0], [0, 1]], [0, 0])


def test_measures_of_known_ranks():
    known = Ranks(np.array([1, 2, 6, 11]), np.array([True, False, False, False]), np.arange(4), np.ones(4, int))
    values = {name: measure.measure(known) for name, measure in MEASURES.items()}
    assert values == {"r1": 0.25, "r5": 0.5, "r10": 0.75, "mdr": 4.0, "mnr": 5.0, "ties": 0.25}
    assert all(np.isnan(measure.measure(known.take(np.array([], int)))) for measure in MEASURES.values())


def test_drawing_clips_takes_all_of_their_captions():
    known = Ranks(np.array([1, 2, 6, 11, 3]), np.zeros(5, bool), np.array([0, 2, 3]), np.array([2, 1, 2]))
    assert known.take(np.array([2, 0, 2])).rank_Q.tolist() == [11, 3, 1, 2, 11, 3]
    assert known.take(np.array([2, 0, 2])).take(np.array([1])).rank_Q.tolist() == [1, 2]


def test_intervals_contain_the_value_and_ignore_repeated_captions():
    scores_BK, owner_K = noisy(100)
    one = rank_queries(scores_BK, owner_K)["t2v"]
    for measure in MEASURES.values():
        low, high = metric_interval(measure, one, draws=200)[:2]
        assert low <= measure.measure(one) <= high
    repeated = rank_queries(np.repeat(scores_BK, 10, 1), np.repeat(owner_K, 10))[
        "t2v"
    ]  # ten equal captions say no more
    assert metric_interval(MEASURES["r5"], repeated, draws=200) == metric_interval(MEASURES["r5"], one, draws=200)


def test_transductive_scores_by_hand():
    scores = np.log([[1.0, 3.0], [3.0, 1.0]])
    assert inverted_softmax(scores) == pytest.approx(np.array([[0.25, 0.75], [0.75, 0.25]]))
    assert dual_softmax(scores) == pytest.approx(np.array([[0, 0.75 * np.log(3)], [0.75 * np.log(3), 0]]))


@pytest.mark.parametrize("change", [dual_softmax, inverted_softmax])
@pytest.mark.parametrize("constant", [-20.0, 50.0])
def test_a_constant_added_to_all_scores_moves_no_transductive_rank(change, constant):
    scores_BK, owner_K = noisy(50)
    scores_BK = 10 * scores_BK
    scores_BK[3] = NAN  # a clip without frames
    plain, moved = (rank_queries(change(scores), owner_K)["v2t"] for scores in (scores_BK, scores_BK + constant))
    assert plain.rank_Q.tolist() == moved.rank_Q.tolist()


def test_dual_softmax_of_negative_scores_retrieves_the_largest_share():
    scores = np.log([[1.0, 3.0], [3.0, 1.0]]) - 20
    assert dual_softmax(scores).argmax(1).tolist() == [1, 0]


def test_inverted_softmax_lowers_an_item_that_suits_all_queries():
    hub = [[5, 4, 0], [6, 7, 0], [4, 0, 3.0]]  # clips x captions: clip 1 is above all
    predictions = Predictions(list("abc"), np.arange(3), np.array(hub), list("abc"), captioned=True)
    rows = measured(predictions, transductive=True)
    assert (rows["t2v_r1"], rows["t2v_r1:inverted"]) == (2 / 3, 1.0)
    plain = {f"{way}_{measure}" for way in ("t2v", "v2t") for measure in MEASURES}
    assert set(rows) == plain | {f"{name}:{change}" for name in plain for change in ("dsl", "inverted")}
    assert set(measured(predictions, transductive=False)) == plain


def test_querybank_norm_by_hand():
    """Bank queries find items 0, 0 and 1: these are activated, item 2 is not."""
    bank = np.log([[8.0, 1.0, 2.0], [4.0, 3.0, 1.0], [4.0, 6.0, 5.0]])  # summed over the bank: 16, 10, 8
    queries = np.log([[8.0, 6.0, 2.0], [2.0, 5.0, 1.0], [2.0, 3.0, 4.0]])  # the best are items 0, 1, 2
    expected = np.log([[8 / 16, 6 / 10, 2 / 8], [2 / 16, 5 / 10, 1 / 8], [2.0, 3.0, 4.0]])
    assert querybank_norm(queries, bank) == pytest.approx(expected)
    assert querybank_norm(queries, bank).argmax(1).tolist() == [1, 1, 2]  # the hub, item 0, loses its query


def test_querybank_norm_treats_queries_separately_and_keeps_nan():
    random = np.random.default_rng(0)
    queries, bank = random.normal(size=(6, 5)) * 30, random.normal(size=(9, 5)) * 30
    whole = querybank_norm(queries, bank)
    assert np.concatenate([querybank_norm(queries[q : q + 1], bank) for q in range(6)]) == pytest.approx(whole)
    for scores in (queries, bank):
        scores[:, 2] = NAN
    assert np.isnan(querybank_norm(queries, bank)[:, 2]).all()
    kept = [0, 1, 3, 4]
    assert querybank_norm(queries, bank)[:, kept] == pytest.approx(querybank_norm(queries[:, kept], bank[:, kept]))


def test_querybank_norm_is_measured_with_a_bank_and_for_text_to_video_only():
    hub_BK, bank_BP = np.array([[5, 4, 0], [6, 7, 0], [4, 0, 3.0]]), np.array([[4.5, 0.0], [7.0, 3.0], [3.8, 0.0]])
    predictions = Predictions(list("abc"), np.arange(3), hub_BK, list("abc"), bank_BP, captioned=True)
    rows = measured(predictions, transductive=True)
    assert (rows["t2v_r1"], rows["t2v_r1:qb_norm"]) == (2 / 3, 1.0)
    assert "v2t_r1:qb_norm" not in rows
    assert predictions.take(np.array([2, 0])).bank_BP.tolist() == [[3.8, 0.0], [4.5, 0.0]]


def test_pseudo_values_have_the_recall_as_their_mean():
    scores = [[0.1, 0.5, 0.2, 0.9], [0.2, 0.6, 0.1, 0.3]]
    predictions = Predictions(["a", "b", "b", "a"], np.array([0, 1]), np.array(scores), ["a", "b"], captioned=True)
    values = pseudo_values(predictions)
    assert values["t2v_r1"].tolist() == [0.5, 0.5]
    assert values["v2t_r1"].tolist() == [1.0, 1.0]
    assert values["v2t_mnr"].tolist() == [1.0, 1.0]
    assert "t2v_mdr" not in values


def test_pseudo_values_vary_as_the_recall_of_clips_with_different_numbers_of_captions():
    random = np.random.default_rng(0)
    clip_K = np.repeat(np.arange(150), random.integers(1, 6, 150))
    scores_BK = random.normal(size=(150, len(clip_K))) + 3.5 * (clip_K == np.arange(150)[:, None])
    ranks = rank_queries(scores_BK, clip_K)["t2v"]
    value_B = Recall().pseudo_values(ranks)
    assert value_B.mean() == pytest.approx(Recall().measure(ranks))
    drawn = [Recall().measure(ranks.take(random.integers(0, 150, 150))) for _ in range(600)]
    assert value_B.std() / 150**0.5 == pytest.approx(np.std(drawn), rel=0.12)
