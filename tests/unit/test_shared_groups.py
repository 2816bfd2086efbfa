"""Films with clips of trained and of novel classes: intervals are those of drawing whole films, by brute force."""

import numpy as np
import pytest
import yaml

from kinetext.core.tables import read_rows, write_table
from kinetext.evaluation import seen_unseen
from kinetext.evaluation.measure import measure_run
from kinetext.evaluation.overlap import shared_correlation
from kinetext.evaluation.predictions import read_predictions
from kinetext.evaluation.seed_means import clip_parts
from kinetext.report.estimates import estimates_of
from kinetext.report.harmonic import harmonic_outcome
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.novel import harmonic_means
from kinetext.report.outcomes import Outcome, joined

FILMS, BASE_CLIPS, NOVEL_CLIPS = 60, 4, 3  # clips of each film
LABELS = {"test": ["a", "b"], "novel": ["m", "n"], "test_among_all": list("abmn"), "novel_among_all": list("abmn")}
SPEC = {
    **{"run": "shapes/base_to_novel/tiny/stan/names/seed0", "dataset": "shapes", "protocol": "base_to_novel"},
    **{"method": "stan", "texts": "names", "backbone": "tiny", "seed": 0, "method_module": "stan"},
    **{"method_options": {}, "training": {}, "dataset_options": {}, "backbone_options": {}, "text_options": {}},
    **{"fingerprint": "f00d"},
}
KEY = RowKey("tiny", "stan", "names")
NOVEL = Comparison("shapes", "base_to_novel", "novel")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A measured run: some films are easy, with their clips of trained and of novel classes, and others are hard."""
    folder, random = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    (folder / "run.yaml").write_text(yaml.safe_dump(SPEC))
    rows = []
    for film, skill in enumerate(1.2 + 2.5 * random.normal(size=FILMS)):
        for kind, clips, first in (("test", BASE_CLIPS, 0), ("novel", NOVEL_CLIPS, 2)):
            for clip in range(clips):
                target = int(random.integers(2))
                score_K = random.normal(size=4) + skill * np.eye(4)[first + target]
                for split, shift in ((kind, 0), (f"{kind}_among_all", first)):
                    rows.append(
                        {
                            **{"clip_id": f"{kind}{film}-{clip}", "split": split, "frame_order": "ordered"},
                            **{"group": f"film{film}", "target": target + shift},
                            "score_K": score_K if "all" in split else score_K[first : first + 2],
                        }
                    )
    write_table("predictions", rows, folder / "predictions.parquet", {"labels": LABELS})
    write_table("confusables", [], folder / "confusables.parquet")
    measure_run(folder, folder / "predictions.parquet", folder / "confusables.parquet", folder / "metrics.parquet")
    return folder


def accuracy(predictions):
    return float((predictions.scores_BK.argmax(axis=1) == predictions.target_B).mean())


def drawn(run, together, draws=1000):
    """Values of AUSUC and of both harmonic means with films drawn anew, jointly or separately for both kinds of clips."""
    predictions = {split: part for (split, _), part in read_predictions(run / "predictions.parquet").items()}
    clips = {split: [np.flatnonzero(part.group_B == g) for g in range(FILMS)] for split, part in predictions.items()}
    random, values = np.random.default_rng(1), []
    for _ in range(draws):
        films = {"test": random.integers(FILMS, size=FILMS)}
        films["novel"] = films["test"] if together else random.integers(FILMS, size=FILMS)
        parts = {
            split: part.take(np.concatenate([clips[split][g] for g in films[split.partition("_")[0]]]))
            for split, part in predictions.items()
        }
        limit = seen_unseen.limits(parts["test_among_all"], parts["novel_among_all"], {"m", "n"})
        row = {"ausuc": float(np.concatenate(seen_unseen.pseudo_values(limit)).mean())}
        for name, end in (("harmonic_mean", ""), ("harmonic_mean_among_all", "_among_all")):
            a, b = accuracy(parts[f"test{end}"]), accuracy(parts[f"novel{end}"])
            row[name] = 2 * a * b / (a + b)
        values.append(row)
    return {name: np.array([row[name] for row in values]) for name in values[0]}


@pytest.fixture(scope="module")
def jointly(run):
    return drawn(run, together=True)


@pytest.fixture(scope="module")
def separately(run):
    return drawn(run, together=False)


def test_a_film_has_one_number_in_all_splits(run):
    numbers = [set(part.group_B.tolist()) for part in read_predictions(run / "predictions.parquet").values()]
    assert numbers == [set(range(FILMS))] * 4


def test_the_interval_of_ausuc_is_that_of_drawing_whole_films(run, jointly, separately):
    (row,) = [row for row in read_rows("metrics", run / "metrics.parquet") if row["metric"] == "ausuc"]
    assert row["groups"] == FILMS
    assert row["variance"] ** 0.5 == pytest.approx(jointly["ausuc"].std(), rel=0.07)
    assert separately["ausuc"].std() < 0.85 * jointly["ausuc"].std()  # what separate films would give
    low, high = np.quantile(jointly["ausuc"], [0.025, 0.975])
    assert (row["low"], row["high"]) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))


@pytest.mark.parametrize("name", ["harmonic_mean", "harmonic_mean_among_all"])
def test_the_interval_of_a_harmonic_mean_is_that_of_drawing_whole_films(name, run, jointly, separately):
    rows = read_rows("metrics", run / "metrics.parquet")
    mean = harmonic_means(estimates_of(rows), NOVEL, "top1")[name][KEY]
    low, high = np.quantile(jointly[name], [0.025, 0.975])
    assert separately[name].std() < 0.85 * jointly[name].std()
    assert (mean.low, mean.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
    assert mean.high - mean.low == pytest.approx(high - low, rel=0.08)
    forgotten = [row | {"base_correlation": None} for row in rows]
    narrow = harmonic_means(estimates_of(forgotten), NOVEL, "top1")[name][KEY]
    assert narrow.high - narrow.low < 0.85 * (high - low)


@pytest.mark.parametrize("name", ["harmonic_mean", "harmonic_mean_among_all", "ausuc"])
def test_tests_between_rows_take_whole_films(name, run, jointly):
    """The values by which rows are compared vary as the metric does when films are drawn."""
    predictions = read_predictions(run / "predictions.parquet")
    end = "" if name == "harmonic_mean" else "_among_all"
    base, novel = (predictions[f"{kind}{end}", "ordered"] for kind in ("test", "novel"))
    outcomes = [
        Outcome(tuple(part.clip_ids), part.scores_BK.argmax(axis=1) == part.target_B, part.group_B)
        for part in (base, novel)
    ]
    whole = harmonic_outcome(*outcomes)
    if name == "ausuc":
        value_B = np.concatenate(seen_unseen.pseudo_values(seen_unseen.limits(base, novel, {"m", "n"})))
        whole = joined(*outcomes, value_B)
    parts = clip_parts(whole.value_B[None].astype(float), whole.group_B)
    assert parts.groups == FILMS
    assert parts.variance**0.5 == pytest.approx(jointly[name].std(), rel=0.07)


def test_the_correlation_is_that_of_drawn_films_and_zero_without_shared_films(run):
    predictions = read_predictions(run / "predictions.parquet")
    base, novel = (predictions[split, "ordered"] for split in ("test", "novel"))
    right = [(part.scores_BK.argmax(axis=1) == part.target_B).astype(float) for part in (base, novel)]
    correlation = shared_correlation(right[0], base.group_B, right[1], novel.group_B)
    film_means = [
        [value_B[part.group_B == g].mean() for g in range(FILMS)]
        for value_B, part in zip(right, (base, novel), strict=True)
    ]
    assert correlation == pytest.approx(np.corrcoef(film_means)[0, 1])  # films of equal size
    assert correlation > 0.4
    assert shared_correlation(right[0], base.group_B, right[1], novel.group_B + FILMS) == 0.0
    assert shared_correlation(np.ones(4), np.arange(4), right[1], novel.group_B) == 0.0
    left_out = np.append(right[0], np.nan), np.append(base.group_B, 0)
    assert shared_correlation(*left_out, right[1], novel.group_B) == pytest.approx(correlation)


def test_a_run_without_known_films_has_no_correlation(run, tmp_path):
    rows = [row | {"group": None} for row in read_rows("predictions", run / "predictions.parquet")]
    write_table("predictions", rows, tmp_path / "predictions.parquet", {"labels": LABELS})
    measure_run(run, tmp_path / "predictions.parquet", run / "confusables.parquet", tmp_path / "metrics.parquet")
    measured = read_rows("metrics", tmp_path / "metrics.parquet")
    assert {row["base_correlation"] for row in measured} == {None}
    (area,) = [row for row in measured if row["metric"] == "ausuc"]
    assert area["groups"] == FILMS * (BASE_CLIPS + NOVEL_CLIPS)
