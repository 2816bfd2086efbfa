"""Heads on cached features against numbers of the released code (probes.json) and against scikit-learn.

Each file says which code was run, at which commit, and how its inputs were filled. Train clips are in the order of
their classes, three each; validation and test clips have class i mod 4. Recorded and not compared are TaskRes and the
adapters of CLAP's and the cross-modal probe's code, which are not implemented.
"""

import math
from itertools import islice, repeat

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from closed_form import closed_input, closed_weight, near, near_gradient, near_rows, recorded
from kinetext.backbones.attention import cosine_scores
from kinetext.methods import cross_modal_probe, lp_plus_plus, tip_adapter, zs_lp
from kinetext.methods.base import build_method
from kinetext.methods.fitting import accuracy

CASES = recorded("probes")
TARGET_N = torch.arange(12) // 3


def inputs(case: str, *names: str) -> list[torch.Tensor]:
    return [closed_input(name, tuple(CASES[case]["inputs"][name])) for name in names]


def unit(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1)


def hundredfold(cosines: torch.Tensor) -> torch.Tensor:
    return 100 * cosines


# ---- Tip-Adapter


@pytest.fixture
def tip():
    """Options, recorded outputs, keys, texts, features of all clips."""
    train, classes, val, test = inputs("tip", "train_feat", "class_feat", "val_feat", "test_feat")
    return CASES["tip"]["outputs"], unit(train.mean(0)), unit(classes), unit(train[0]), unit(val), unit(test)


def test_tip_adapter_without_training(tip):
    wanted, key_ND, text_KD, _, val_MD, test_BD = tip
    near_rows(key_ND, wanted["keys"])
    near_rows(100 * test_BD @ text_KD.T, wanted["zero_shot_test_logits"])

    def cache(beta, feature_BD=val_MD):
        return tip_adapter.cache_logits(feature_BD @ key_ND.T, TARGET_N, beta, 4)

    zero_shot_MK = 100 * val_MD @ text_KD.T
    near_rows(zero_shot_MK + 3 * cache(1.0), wanted["tip_val_logits"])
    beta, alpha = tip_adapter.search(cache, zero_shot_MK, torch.arange(9) % 4, (7, 200), (8, 5))
    assert (beta, alpha) == pytest.approx((wanted["searched"]["beta"], wanted["searched"]["alpha"]), abs=1e-12)
    near_rows(100 * test_BD @ text_KD.T + alpha * cache(beta, test_BD), wanted["tip_test_searched"])


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_tip_adapter_trained(tip, epochs, monkeypatch):
    wanted, key_ND, text_KD, feature_ND, _, test_BD = tip
    options = tip_adapter.TipAdapter.Config(trained=True, alpha=3.0, beta=1.0, epochs=3)
    batches = tip_adapter.shuffled_batches
    monkeypatch.setattr(tip_adapter, "shuffled_batches", lambda *a: islice(batches(*a), epochs))
    zero_shot_NK = 100 * feature_ND @ text_KD.T
    trained_ND = tip_adapter.train_keys(key_ND, feature_ND, TARGET_N, zero_shot_NK, options)
    cache_BK = tip_adapter.cache_logits(test_BD @ trained_ND.T, TARGET_N, 1.0, 4)
    near_rows(100 * test_BD @ text_KD.T + 3 * cache_BK, wanted[f"F_test_logits_after_{epochs}"])
    if epochs < 3:
        cache_NK = tip_adapter.cache_logits(feature_ND @ trained_ND.T, TARGET_N, 1.0, 4)
        near_rows(zero_shot_NK + 3 * cache_NK, wanted[f"F_train_logits_{epochs}"])
        near(F.cross_entropy(zero_shot_NK + 3 * cache_NK, TARGET_N), wanted["F_losses"][epochs])


def test_tip_adapters_gradient(tip):
    wanted, key_ND, text_KD, feature_ND, _, _ = tip
    key_ND.requires_grad_()
    cache_NK = tip_adapter.cache_logits(feature_ND @ key_ND.T, TARGET_N, 1.0, 4)
    loss = F.cross_entropy(100 * feature_ND @ text_KD.T + 3 * cache_NK, TARGET_N)
    near(loss, wanted["F_losses"][0])
    loss.backward()
    near_gradient(key_ND.grad, wanted["F_first_grad"])


# ---- ZS-LP and CLAP


@pytest.mark.parametrize("kind", ["l2", "l2-balanced", "l2-corrected", "l2-constant", "cosine"])
def test_penalties_of_clap(kind):
    wanted = CASES["clap"]["outputs"]
    train, classes, test = inputs("clap", "train_feat", "class_feat", "test_feat")
    zero_shot_NK = 100 * cosine_scores(train, classes)
    near_rows(zero_shot_NK, wanted["zs_train_logits"])
    vector_KD = (classes + closed_weight("prototypes", (4, 16))).requires_grad_()
    near_rows(100 * cosine_scores(test, vector_KD), wanted["lp_test_logits"])
    penalty, _, weights = kind.partition("-")
    weight_K = zs_lp.class_weights(zero_shot_NK, TARGET_N, weights or "zero_shot")
    near_rows(weight_K, wanted[f"{kind}_multipliers"])
    distance = zs_lp.distance_penalty(vector_KD, classes, weight_K, penalty)
    near(distance, wanted[f"{kind}_penalty"]["value"])
    cross_entropy = F.cross_entropy(100 * cosine_scores(train, vector_KD), TARGET_N)
    near(cross_entropy, wanted["cross_entropy"]["value"])
    loss = cross_entropy + distance
    near(loss, wanted[f"{kind}_loss"]["value"])
    loss.backward()
    near_gradient(vector_KD.grad, CASES["clap"][f"grad_of_{kind}_loss"]["prototypes"])


def test_three_steps_of_clap():
    """The losses are those before each step; the penalty is zero before the first."""
    wanted = CASES["clap"]["outputs"]
    train, classes, test = inputs("clap", "train_feat", "class_feat", "test_feat")
    weight_K = zs_lp.class_weights(100 * cosine_scores(train, classes), TARGET_N, "zero_shot")

    def vectors(epochs):
        options = zs_lp.ZsLp.Config(penalty="l2", epochs=epochs)
        return zs_lp.train_vectors(train, TARGET_N, classes, hundredfold, options, lambda lr, *_: lr)

    near_rows(100 * cosine_scores(test, vectors(0)), wanted["zs_test_logits"])
    for step in range(3):
        vector_KD = vectors(step)
        loss = F.cross_entropy(100 * cosine_scores(train, vector_KD), TARGET_N)
        loss = loss + zs_lp.distance_penalty(vector_KD, classes, weight_K, "l2")
        near(loss, wanted[f"sgd_loss_{step}"]["value"])
    near_rows(vectors(3), wanted["sgd_prototypes_after_3"])
    near_rows(100 * cosine_scores(test, vectors(3)), wanted["sgd_test_logits_after_3"])


# ---- LP++


@pytest.mark.parametrize("epochs", [3, 12, 22])
def test_lp_plus_plus(epochs):
    wanted = {k.removeprefix(f"epochs{epochs}_"): v for k, v in CASES["lpp"]["outputs"].items()}
    train, classes, val, test = (unit(x) for x in inputs("lpp", "train_feat", "class_feat", "val_feat", "test_feat"))
    bias_K = closed_weight("classifier.bias", (4,))
    options = lp_plus_plus.LpPlusPlus.Config(epochs=epochs)
    lr_w, lr_alpha = lp_plus_plus.step_sizes(train, train @ classes.T)
    assert (lr_w, lr_alpha) == pytest.approx((wanted["lr_w"], wanted["lr_alpha"]), rel=1e-9)
    probe, losses = lp_plus_plus.fit_probe(train, TARGET_N, classes, bias_K, options)
    assert losses == pytest.approx(wanted["losses"], abs=1e-9)
    near_rows(probe.weight_KD, wanted["weight_after"])
    near_rows(probe.bias_K, wanted["bias_after"])
    near_rows(probe.alpha_K[None], wanted["alpha_after"])
    near_rows(probe.logits(test, classes), wanted["test_logits_after"])
    kept, _ = lp_plus_plus.fit_probe(train, TARGET_N, classes, bias_K, options, (val, torch.arange(9) % 4))
    percent = 100 * accuracy(kept.logits(test, classes), torch.arange(7) % 4)
    assert percent == pytest.approx(wanted["test_accuracy_of_best_validation_epoch_percent"], abs=1e-5)


class TenthAndLast:
    """What an epoch is divided by, so that alpha also takes a step in the last epoch."""

    def __init__(self, last):
        self.last = last

    def __rmod__(self, epoch):
        return 0 if epoch == self.last else epoch % 10


@pytest.mark.parametrize("epochs", [3, 12, 22])
def test_alpha_of_lp_plus_plus_has_the_sum_of_all_gradients_so_far(epochs, monkeypatch):
    """The recorded gradient is read from one more step of alpha after it."""
    wanted = {k.removeprefix(f"epochs{epochs}_"): v for k, v in CASES["lpp"]["outputs"].items()}
    train, classes = (unit(x) for x in inputs("lpp", "train_feat", "class_feat"))
    bias_K = closed_weight("classifier.bias", (4,))
    options = lp_plus_plus.LpPlusPlus.Config(epochs=epochs)
    probe, _ = lp_plus_plus.fit_probe(train, TARGET_N, classes, bias_K, options)
    monkeypatch.setattr(lp_plus_plus, "ALPHA_EVERY", TenthAndLast(epochs))
    stepped, _ = lp_plus_plus.fit_probe(train, TARGET_N, classes, bias_K, options)
    near_rows((probe.alpha_K - stepped.alpha_K)[None] / wanted["lr_alpha"], wanted["alpha_grad_after"])


def test_lp_plus_plus_starts_at_the_sums_of_features():
    """The released code leaves out the division that would make them means."""
    wanted = CASES["lpp"]["outputs"]
    train, classes = (unit(x) for x in inputs("lpp", "train_feat", "class_feat"))
    for epochs in range(3):
        options = lp_plus_plus.LpPlusPlus.Config.model_construct(variant="code", epochs=epochs)
        probe, _ = lp_plus_plus.fit_probe(train, TARGET_N, classes, closed_weight("classifier.bias", (4,)), options)
        if epochs == 0:
            near_rows(probe.weight_KD, wanted["initial_weight"])
            near(probe.alpha_K, [wanted["epochs3_init_alpha"]] * 4)
        near_rows(probe.logits(train, classes), wanted[f"epochs3_train_logits_{epochs}"])


# ---- cross-modal probe


def test_cross_modal_probe():
    wanted = CASES["cross_modal"]["outputs"]
    text, train, test = inputs("cross_modal", "text_feat", "train_feat", "test_feat")
    owner_S = torch.arange(8) // 2
    start_KD = cross_modal_probe.zero_shot_weights(text, owner_S, 4)
    near_rows(start_KD, wanted["zero_shot_weights"])
    scale = math.exp(4.60517)
    near_rows(torch.tensor([scale], dtype=torch.float64), wanted["scale"])
    near_rows(scale * unit(test) @ start_KD.T, wanted["init_test_logits"])
    batch = (torch.cat([unit(train), unit(text)]), torch.cat([TARGET_N, owner_S]))

    def train_head(steps, validate=None):
        samples = islice(repeat(batch), steps)
        return cross_modal_probe.train_head(start_KD, samples, lambda x: scale * x, lambda _: 1e-3, 1e-2, validate)

    weight_KD, losses = train_head(3)
    near(torch.stack(losses), wanted["losses"])
    near_rows(weight_KD, wanted["weight_after"])
    near_rows(scale * unit(test) @ weight_KD.T, wanted["head_test_logits"])
    near_rows(scale * unit(test) @ (weight_KD + start_KD).T / 2, wanted["head_wiseft_0.5_test_logits"])
    near_rows(train_head(3, lambda _: 0.5)[0], wanted["weight_kept_by_train"])
    start_KD.requires_grad_()
    loss = F.cross_entropy(scale * batch[0] @ start_KD.T, batch[1])
    near(loss, wanted["init_loss"]["value"])
    loss.backward()
    record = CASES["cross_modal"]["grad_of_init_loss"]["head.weight"]
    near_gradient(start_KD.grad, record)


# ---- k nearest neighbours


@pytest.mark.parametrize("k", [1, 5, 40])
def test_knn_has_the_shares_of_scikit_learn(tiny, k):
    frames_NTD, target_N = torch.randn(30, 4, tiny.embed_dim), torch.arange(30) % 3
    method = build_method(tiny, "knn", {"k": k})
    text = torch.zeros(3, 0)
    method.fit(frames_NTD, target_N, text)
    feature_BF = method.encode_frames(torch.randn(8, 4, tiny.embed_dim))
    model = KNeighborsClassifier(min(k, 30), metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    model.fit(method.fitted["key_NF"].double().numpy(), target_N.numpy())
    share_BK = model.predict_proba(feature_BF.double().numpy())
    np.testing.assert_allclose(method.score(feature_BF, text).exp().numpy(), share_BK, atol=1e-4)
