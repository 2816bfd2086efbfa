"""Heads on cached features: what they equal before training, classes without training clips, choices on validation
clips, and a run from fit to prediction.
"""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
import yaml

from kinetext.backbones.text_table import tabulate_texts
from kinetext.core import plugins, tables
from kinetext.evaluation.predict import predict_clips
from kinetext.methods import tip_adapter
from kinetext.methods.attentive_probe import AttentiveProbe, train_probes
from kinetext.methods.attentive_probe.pooler import AttentiveClassifier
from kinetext.methods.base import build_method
from kinetext.methods.fitting import shuffled_batches
from kinetext.plan import check_config
from left import curve
from method_inputs import LABELS, assert_same, build, name_table, noise_clips, score
from repository import HELPERS
from worlds import text_rows

FALL_BACK = ["zs_lp", "tip_adapter", "cross_modal_probe"]
NEED_CLIPS = ["knn", "lp_plus_plus", "attentive_probe"]


@pytest.fixture
def clips(tiny):
    """Frame features of 12 training clips, and their classes."""
    return torch.randn(12, 5, tiny.embed_dim), torch.arange(12) % 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("zs_lp", {"epochs": 0}),
        ("zs_lp", {"epochs": 0, "penalty": "l2"}),
        ("tip_adapter", {"alpha": 0.0}),
        ("tip_adapter", {"alpha": 0.0, "trained": True, "epochs": 2}),
        ("cross_modal_probe", {"steps": 0}),
    ],
)
def test_before_training_a_head_is_zero_shot(tiny, clips, name, options):
    several = tabulate_texts(text_rows(LABELS), LABELS, tiny)  # the cross-modal probe averages raw features
    for table in [name_table(tiny), *([several] if name != "cross_modal_probe" else [])]:
        expected = score(build(tiny, "zero_shot"), noise_clips(), table)
        method = build(tiny, name, **options)
        assert_same(score(method, noise_clips(), table), expected)
        method.fit(*clips, method.encode_texts(table))
        assert_same(score(method, noise_clips(), table), expected)


def test_the_trained_cache_without_an_epoch_is_the_cache(tiny, clips):
    table = name_table(tiny)
    scores = []
    for options in ({}, {"trained": True, "epochs": 0}):
        method = build(tiny, "tip_adapter", **options)
        method.fit(*clips, method.encode_texts(table))
        scores.append(score(method, noise_clips(), table))
    assert torch.equal(*scores)


@pytest.mark.parametrize("name", FALL_BACK)
def test_a_class_without_training_clips_keeps_its_text(tiny, clips, name):
    fitted, novel = LABELS[:2], LABELS[2:]
    options = {"steps": 60} if name == "cross_modal_probe" else {}
    method, zero_shot = build(tiny, name, **options), build(tiny, "zero_shot")
    tables = {n: tabulate_texts(text_rows(n, descriptions=False), n, tiny) for n in map(tuple, (fitted, novel, LABELS))}
    method.fit(clips[0], clips[1] % 2, method.encode_texts(tables[tuple(fitted)]))
    scores = {labels: score(method, noise_clips(), table) for labels, table in tables.items()}
    assert_same(scores[tuple(novel)], score(zero_shot, noise_clips(), tables[tuple(novel)]))
    assert_same(scores[tuple(LABELS)], torch.cat([scores[tuple(fitted)], scores[tuple(novel)]], 1))
    of_texts = score(zero_shot, noise_clips(), tables[tuple(fitted)])
    assert (scores[tuple(fitted)] - of_texts).abs().max() > 1e-3


@pytest.mark.parametrize("name", NEED_CLIPS)
def test_a_head_without_texts_needs_clips_of_every_class(tiny, clips, name):
    method = build(tiny, name, **({"tokens": "frames", "epochs": 1} if name == "attentive_probe" else {}))
    frames_NTD = clips[0][:, :, None] if name == "attentive_probe" else clips[0]
    text = torch.randn(5, tiny.embed_dim)
    with pytest.raises(ValueError, match=f"{name}: is not fitted yet"):
        score(method, noise_clips(), name_table(tiny))
    with pytest.raises(ValueError, match=f"{name}: class 4 has no training clip"):
        method.fit(frames_NTD, clips[1], text)
    method.fit(frames_NTD, clips[1], text[:4])
    with pytest.raises(ValueError, match=f"{name}: was fitted to 4 classes and cannot score 5"):
        method.score(method.encode_frames(frames_NTD), text)


@pytest.mark.parametrize("name", ["knn", "linear_probe"])
def test_all_frames_in_order_need_the_same_number_of_frames(tiny, clips, name):
    method = build(tiny, name, pool="all")
    text = torch.zeros(4, 0)
    method.fit(*clips, text)
    assert method.sees_order
    turned = method.score(method.encode_frames(clips[0].flip(1)), text)
    assert (method.score(method.encode_frames(clips[0]), text) - turned).abs().max() > 1e-3
    with pytest.raises(ValueError, match=rf"{name}: was fitted to features of \d+ and gets \d+; with pool: all"):
        method.score(method.encode_frames(clips[0][:, :2]), text)


NOT_COUNTED = {"id_J", "target_N", "alpha_beta", "lr_weight_decay"}  # classes of rows, and choices


@pytest.mark.parametrize(
    ("name", "options", "formula", "number"),
    [
        ("zs_lp", {}, "K D", lambda K, N, D, T, J: K * D),
        ("cross_modal_probe", {}, "K D", lambda K, N, D, T, J: K * D),
        ("tip_adapter", {}, "N D", lambda K, N, D, T, J: N * D),
        ("tip_adapter", {"trained": True, "epochs": 1}, "N D", lambda K, N, D, T, J: N * D),
        ("knn", {}, "N D", lambda K, N, D, T, J: N * D),
        ("linear_probe", {}, "K (D + 1)", lambda K, N, D, T, J: K * (D + 1)),
        ("linear_probe", {"pool": "thirds"}, "K (2 D + 1)", lambda K, N, D, T, J: K * (2 * D + 1)),
        ("linear_probe", {"pool": "all"}, "K (T D + 1)", lambda K, N, D, T, J: K * (T * D + 1)),
        ("lp_plus_plus", {}, "K (D + 2)", lambda K, N, D, T, J: K * (D + 2)),
        ("selected_descriptions", {}, "K^2 J", lambda K, N, D, T, J: K**2 * J),
    ],
)
def test_a_fitted_head_has_the_stated_number_of_parameters(tiny, clips, name, options, formula, number):
    method, table = build(tiny, name, **options), tabulate_texts(text_rows(LABELS), LABELS, tiny)
    method.fit(*clips, method.encode_texts(table))
    assert formula in method.fitted_parameters
    fitted = sum(tensor.numel() for key, tensor in method.fitted.items() if key not in NOT_COUNTED)
    N, T, D = clips[0].shape
    assert fitted == number(len(LABELS), N, D, T, table.max_descriptions)
    assert list(method.new_parameters()) == []


@pytest.mark.parametrize("depth", [1, 4])
def test_a_fitted_attentive_probe_has_the_stated_number_of_parameters(tiny, clips, depth):
    """The published sizes are those at width 768 (tests/parity/test_attentive_probe.py); the Linear has K (V + 1)."""
    options = {"tokens": "frames", "depth": depth, "epochs": 1}
    method, V = build(tiny, "attentive_probe", **options), tiny.embed_dim
    method.fit(clips[0][:, :, None], clips[1], torch.zeros(4, 0))
    assert "K (V + 1)" in method.fitted_parameters
    count = {"pooler": 0, "linear": 0, "lr_weight_decay": 0}
    for key, tensor in method.fitted.items():
        count[key.partition(".")[0]] += tensor.numel()
    # per block: 4 V^2 of attention (3 without an output projection), 8 V^2 of the MLP; biases, two norms, the query
    assert count["linear"] == 4 * (V + 1)
    assert count["pooler"] == (11 * V**2 + 12 * V + V) + (depth - 1) * (12 * V**2 + 13 * V)


def test_tip_adapter_searches_on_validation_clips_alone(tiny, clips):
    table = name_table(tiny)
    chosen = []
    for val in (None, clips, (clips[0], (clips[1] + 1) % 4)):
        method = build(tiny, "tip_adapter", search_steps=(5, 4))
        method.fit(*clips, method.encode_texts(table), val)
        chosen.append(method.fitted["alpha_beta"].tolist())
    assert chosen[0] == [3.0, 1.0]
    assert chosen[1] != chosen[2]


def test_the_search_takes_the_first_of_equal_values():
    target_M = torch.arange(3)
    chosen = tip_adapter.search(lambda beta: torch.eye(3), torch.zeros(3, 3), target_M, (2.0, 1.0), (2, 2))
    assert chosen == (0.1, 0.1)


def test_the_attentive_probe_keeps_the_best_on_validation_clips(tiny):
    """Only the larger of two learning rates learns anything in a few steps."""
    torch.manual_seed(1)
    target_N = torch.arange(32) % 4
    frames_NTLD = torch.nn.functional.one_hot(target_N, tiny.embed_dim).float()[:, None, None].repeat(1, 2, 1, 1) * 5
    options = {"tokens": "frames", "depth": 1, "heads": 4, "epochs": 6, "batch_size": 8, "weight_decay": [0.01]}
    method = build_method(tiny, "attentive_probe", {**options, "lr": [1e-9, 3e-3]})
    text = torch.zeros(4, 0)
    with pytest.raises(ValueError, match="several probes need validation clips to choose from"):
        method.fit(frames_NTLD, target_N, text)
    method.fit(frames_NTLD, target_N, text, (frames_NTLD[:8], target_N[:8]))
    assert method.fitted["lr_weight_decay"].tolist() == [3e-3, 0.01]
    scores_BK = method.score(method.encode_frames(frames_NTLD), text)
    assert (scores_BK.argmax(-1) == target_N).float().mean() == 1
    alone = build_method(tiny, "attentive_probe", {**options, "lr": [3e-3]})
    assert not alone.chooses_on_val(alone.config)
    with pytest.raises(ValueError, match="heads: 7 does not divide the width"):
        build_method(tiny, "attentive_probe", {"heads": 7})


def test_probes_on_one_pass_do_not_change_each_other(clips):
    """Each has its gradient and its learning rate: a probe that diverges leaves the others alone."""
    tokens_NSV, target_N = clips
    options = AttentiveProbe.Config(epochs=2, batch_size=5)

    def trained_probes(*grid):
        torch.manual_seed(5)
        first = AttentiveClassifier(tokens_NSV.shape[-1], 4, 2, 4)
        probes = [deepcopy(first) for _ in grid]
        train_probes(probes, list(grid), tokens_NSV, target_N, options)
        return first, probes

    first, (alone,) = trained_probes((1e-3, 0.1))
    _, (beside, diverged) = trained_probes((1e-3, 0.1), (100.0, 0.1))
    for name, parameter in alone.named_parameters():
        assert not torch.equal(parameter, first.get_parameter(name)), name
        assert torch.equal(parameter, beside.get_parameter(name)), name
        assert not torch.equal(parameter, diverged.get_parameter(name)), name


def test_the_seed_decides_the_order_of_the_clips():
    torch.manual_seed(3)
    first = torch.cat(list(shuffled_batches(10, 4, 2)))
    torch.rand(7)  # draws in between change nothing
    assert torch.equal(first, torch.cat(list(shuffled_batches(10, 4, 2))))
    assert sorted(first[:10].tolist()) == list(range(10))
    assert not torch.equal(first, torch.cat(list(shuffled_batches(10, 4, 2, stream=1))))


def test_a_grid_without_validation_clips_is_refused_before_a_run():
    values = yaml.safe_load((HELPERS / "tiny.yaml").read_text())
    experiment = {**values["experiments"]["tiny"], "methods": ["attentive_probe"], "protocol": "supervised"}
    for training, refused in (({}, True), ({"select": "best_val"}, False)):
        values["methods"] = {"attentive_probe": {"training": training}}
        values["experiments"] = {"tiny": experiment}
        if refused:
            with pytest.raises(ValueError, match=r"set methods\.attentive_probe\.training\.select: best_val"):
                check_config(values)
        else:
            assert check_config(values)


@pytest.mark.parametrize("name", ["tip_adapter", "attentive_probe"])
@pytest.mark.parametrize("select", ["last", "best_val"])
def test_a_run_is_fitted_saved_and_scored(name, select, world, trained, tmp_path, monkeypatch):
    val_clips = []
    cls = plugins.load("methods", name)
    fit = cls.fit

    def watched_fit(self, frames_NTD, target_N, text, val):
        val_clips.append(0 if val is None else len(val[1]))
        fit(self, frames_NTD, target_N, text, val)

    monkeypatch.setattr(cls, "fit", watched_fit)
    folder = trained(name, select=select)
    assert val_clips == [8 if select == "best_val" else 0]
    assert json.loads((folder / "cost.json").read_text())["new_parameters"] == 0
    assert {len(curve(folder, metric)) for metric in ("train_top1", "val_top1", "val_loss", "val_chance")} == {1}
    output = folder / "predictions.parquet"
    arguments = (world.splits(), [world.frames], world.texts, world.backbone, folder / "checkpoint.safetensors", output)
    predict_clips(folder / "run.yaml", *arguments)
    scores = np.array([row["score_K"] for row in tables.read_rows("predictions", output)])
    assert scores.shape[1] == 4
    assert np.isfinite(scores).all()


def test_features_beyond_the_limit_of_memory_are_refused(trained):
    with pytest.raises(
        ValueError, match=r"the features of 16 clips need .* GiB, and training\.cache_gib is 0; raise it"
    ):
        trained("linear_probe", cache_gib=0)
