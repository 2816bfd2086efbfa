"""Recipes of training: each option gives what its paper's formula gives by hand, and a killed training goes on with all of it."""

import json
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.text_table import read_texts
from kinetext.config.training import TrainingOptions
from kinetext.data.splits import read_splits
from kinetext.data.store import FrameStore
from kinetext.evaluation.scores import average_views
from kinetext.methods.base import build_method
from kinetext.methods.checkpoint import load_trained
from kinetext.training import setup, train
from kinetext.training.batches import Batches, balanced_items
from kinetext.training.mixing import mix_clips, partners
from kinetext.training.objectives import Recognition, log_shares, total
from kinetext.training.recipes import Average, choose_alpha, depth_scales, ema_decay, finished
from kinetext.training.state import Progress
from left import equal, weights

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.fixture
def trained(trained):
    """As everywhere, but the method looks at 4 of the 8 stored frames."""
    return partial(trained, num_frames=4)


# ---- mixing


@pytest.fixture
def recognition(world, tiny):
    """A task, a batch of its clips on the device, and the method."""

    def make(**training):
        options = TrainingOptions(batch_size=6, image_encoder="trained", **training)
        method = build_method(tiny, "mean_pool", {}).eval()
        split = read_splits(world.splits())["train"]
        table = read_texts(world.texts, split.labels, tiny)
        task = Recognition(method, table, torch.eye(4, dtype=torch.bool), options)
        batches = Batches(method, FrameStore([world.frames]), split, options, 0, torch.device("cpu"))
        return task, next(batches.epoch(0)), method

    return make


def test_the_loss_of_mixed_clips_is_that_of_both_classes_by_share(recognition):
    task, batch, method = recognition(mixup=0.8, label_smoothing=0.1)
    mix_batch = mix_clips(batch, method.backbone, task.training, (0, 0, 0))
    assert 0 < mix_batch.share < 1
    frames_BTCHW = method.backbone.normalize(batch.clips)
    by_hand_BTCHW = mix_batch.share * frames_BTCHW + (1 - mix_batch.share) * frames_BTCHW.roll(1, 0)
    assert torch.allclose(mix_batch.clips, by_hand_BTCHW, atol=1e-6)
    first_BK, other_BK = (F.one_hot(text, 4).float() for text in (batch.text_N, batch.text_N.roll(1)))
    target_BK = 0.9 * (mix_batch.share * first_BK + (1 - mix_batch.share) * other_BK) + 0.1 / 4
    scores_BK = method.score(method.encode_video(by_hand_BTCHW), task.text())
    by_hand = -(target_BK * scores_BK.log_softmax(1)).sum(1).mean()
    assert total(task.losses(mix_batch)).item() == pytest.approx(by_hand.item(), rel=1e-5)
    parts = sum(
        total(task.losses(mix_batch, piece)) for piece in (slice(0, 2), slice(2, 6))
    )  # as they go through a small GPU
    assert parts.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_cutmix_takes_one_box_from_the_same_place_of_every_frame(recognition):
    task, batch, method = recognition(cutmix=1.0)
    for step in range(5):
        mix_batch = mix_clips(batch, method.backbone, task.training, (0, 0, step))
        frames_BTCHW = method.backbone.normalize(batch.clips)
        taken_BTHW = (mix_batch.clips != frames_BTCHW).any(2)
        from_partner_BTHW = (mix_batch.clips == frames_BTCHW.roll(1, 0)).all(2)
        assert (from_partner_BTHW | ~taken_BTHW).all()
        H, W = mix_batch.clips.shape[-2:]
        rows, columns = taken_BTHW.any((0, 1)).nonzero().T  # where anything was taken: inside one box
        box = (1 + rows.max() - rows.min()) * (1 + columns.max() - columns.min()) if len(rows) else 0
        assert 1 - box / (H * W) == pytest.approx(mix_batch.share, abs=0.05)


def test_what_a_step_mixes_depends_on_its_place_alone(recognition):
    task, batch, method = recognition(mixup=0.8, cutmix=1.0)

    def mix(step):
        return mix_clips(batch, method.backbone, task.training, (0, 1, step)).clips

    first = mix(0)
    torch.rand(7)
    assert torch.equal(mix(0), first)
    assert not torch.equal(mix(1), first)


@pytest.mark.parametrize("alphas", [{"mixup": 0.8}, {"cutmix": 1.0}])
@pytest.mark.parametrize("repeats", [2, 3])
def test_copies_of_a_clip_are_mixed_with_other_clips(recognition, alphas, repeats):
    task, batch, method = recognition(repeats=repeats, augment="crop", **alphas)
    mix_batch = mix_clips(batch, method.backbone, task.training, (0, 0, 0))
    partner_B = partners(batch.clip_ids, repeats)
    assert all(batch.clip_ids[b] != batch.clip_ids[other] for b, other in enumerate(partner_B.tolist()))
    assert sorted(partner_B.tolist()) == list(range(6))  # each item is mixed into one other
    assert torch.equal(mix_batch.other_B, batch.text_N[partner_B])
    frames_BTCHW = method.backbone.normalize(batch.clips)
    if "mixup" in alphas:
        by_hand_BTCHW = mix_batch.share * frames_BTCHW + (1 - mix_batch.share) * frames_BTCHW[partner_B]
        assert torch.allclose(mix_batch.clips, by_hand_BTCHW, atol=1e-6)
    else:
        assert ((mix_batch.clips == frames_BTCHW) | (mix_batch.clips == frames_BTCHW[partner_B])).all()


def test_partners_where_a_process_has_parts_of_clips():
    assert partners(list("abbbc"), 3).tolist() == [2, 0, 4, 0, 1]
    assert partners(list("abbb"), 3).tolist() == [1, 0, 0, 0]
    assert partners(list("abc"), 1).tolist() == [2, 0, 1]
    assert partners(list("aaa"), 3) is None


def test_nothing_is_mixed_unless_asked_for(recognition):
    task, batch, method = recognition()
    assert mix_clips(batch, method.backbone, task.training, (0, 0, 0)) is batch


def test_copies_of_a_clip_share_a_batch_and_look_different(world, tiny):
    training = TrainingOptions(batch_size=6, repeats=3, augment="crop")
    method, split = build_method(tiny, "mean_pool", {}), read_splits(world.splits())["train"]
    batches = Batches(method, FrameStore([world.frames]), split, training, 0, torch.device("cpu"))
    sent = list(batches.epoch(0))
    assert len(sent) == len(batches) == 8  # 16 clips, three times
    for batch in sent:
        assert [batch.clip_ids[i] for i in (0, 3)] == [batch.clip_ids[i] for i in (2, 5)]
        assert not torch.equal(batch.clips[0], batch.clips[1])
    assert sorted(clip for batch in sent for clip in batch.clip_ids) == sorted(3 * batches.clip_ids)


# ---- weights


def test_each_layer_learns_slower_than_the_one_above(tiny):
    method = build_method(tiny, "stan", {"layers": 1})
    scales, L = depth_scales(method, 0.5), tiny.num_layers
    visual = "backbone.clip.visual."
    assert scales[f"{visual}proj"] == scales[f"{visual}ln_post.weight"] == 1
    for number in range(L):
        assert scales[f"{visual}transformer.resblocks.{number}.ln_1.weight"] == 0.5 ** (L - number)
    assert scales[f"{visual}conv1.weight"] == scales[f"{visual}positional_embedding"] == 0.5 ** (L + 1)
    text_L = len(tiny.clip.transformer.resblocks)
    assert scales["backbone.clip.transformer.resblocks.0.ln_1.weight"] == 0.5**text_L
    assert scales["backbone.clip.positional_embedding"] == 0.5 ** (text_L + 1)
    assert not any(name.startswith("branch.") for name in scales)

    training = TrainingOptions(lr=1e-3, lr_new=1e-2, layer_decay=0.5, warmup_epochs=0)
    setup.choose_trained(method, training)
    optimizer, _ = setup.make_optimizer(method, training, 1)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(1e-3 * scales[name] if name in scales else 1e-2)


@pytest.mark.parametrize(
    ("how", "expected"), [("ema", 0.25 * (2 / 11 * 3 + 9 / 11 * 4) + 0.75 * 8), ("swa", (3 + 4 + 8) / 3)]
)
def test_an_average_is_that_by_hand_and_goes_on_from_its_state(how, expected):
    training = TrainingOptions(weight_averaging=how, ema_decay=0.9, average_from=0.5)
    weight, progress = nn.Parameter(torch.tensor([1.0])), Progress()
    average = Average([weight], training, 4, progress)
    for step, value in enumerate((2.0, 5.0, 3.0, 4.0), start=1):  # the first half is not averaged
        with torch.no_grad():
            weight.fill_(value)
        average.update(step)
    saved = {key: tensor.clone() for key, tensor in progress.averaged.items()}
    average = Average([weight], training, 4, Progress(averaged=saved))
    with torch.no_grad():
        weight.fill_(8.0)
    average.update(5)
    with average.in_place():
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == 8.0


def test_the_first_step_keeps_no_weight_in_a_long_exponential_average():
    weight = nn.Parameter(torch.tensor([1.0]))
    average = Average([weight], TrainingOptions(weight_averaging="ema", ema_decay=0.999), 100, Progress())
    for step in range(1, 101):
        average.update(step)
        with torch.no_grad():
            weight.fill_(0.0)
    with average.in_place():
        assert weight.item() < 1e-6  # 0.9 without the warm-up
    assert ema_decay(0.9, 1000) == 0.9


def test_the_averaged_weights_are_the_ones_that_are_written(trained, monkeypatch):
    """With a decay of zero the average is the weights themselves; with a mean it is not."""
    options = {"image_encoder": "frozen", "epochs": 2}
    plain = weights(trained("mean_pool", "plain", **options))
    assert equal(weights(trained("mean_pool", "last", weight_averaging="ema", ema_decay=0.0, **options)), plain)
    seen, update = [], train.update

    def watched(method, parameters, *rest):
        update(method, parameters, *rest)
        seen.append(torch.cat([p.detach().flatten() for p in parameters]))

    monkeypatch.setattr(train, "update", watched)
    written = weights(trained("mean_pool", "mean", weight_averaging="swa", **options))
    assert len(seen) == 6
    total = sum(t.double().sum() for t in written.values())
    assert total.item() == pytest.approx(torch.stack(seen).double().mean(0).sum().item(), abs=1e-4)
    assert not equal(written, plain)


def test_interpolation_goes_from_clips_weights_to_the_fine_tuned_ones(trained, world):
    """Parameters that the method adds stay as trained: CLIP has none that they could be mixed with."""
    options = {"image_encoder": "frozen", "epochs": 1}
    ends = {share: weights(trained("stan", f"at{share}", wise_ft_alpha=share, **options)) for share in (0, 0.5, 1)}
    plain = weights(trained("stan", "plain", **options))
    assert equal(ends[1], plain)
    clip = dict(load_backbone(world.backbone).named_parameters())
    for name, tensor in ends[0].items():
        if name.startswith("backbone."):
            assert torch.equal(tensor, clip[name.removeprefix("backbone.")])
        else:
            assert torch.equal(tensor, plain[name])
    assert any(not name.startswith("backbone.") for name in plain)
    for name, tensor in ends[0.5].items():
        assert torch.allclose(tensor, (ends[0][name] + plain[name]) / 2, atol=1e-7)


@pytest.mark.parametrize("encoders", ["trained", "lora"])
def test_the_other_end_of_interpolation_is_zero_shot_clip(trained, world, encoders):
    options = {"image_encoder": encoders, "text_encoder": encoders, "lr_new": 1e-2, "epochs": 1}
    folder = trained("mean_pool", wise_ft_alpha=0, **options)
    zero_shot, method = (build_method(load_backbone(world.backbone), "mean_pool", {}) for _ in range(2))
    load_trained(method, folder / "checkpoint.safetensors")
    table = read_texts(world.texts, world.labels, method.backbone)
    frames_BTCHW = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8)
    scores = [m.eval().score(m.encode_video(frames_BTCHW), m.encode_texts(table)) for m in (method, zero_shot)]
    assert torch.equal(*scores)


def test_low_rank_updates_are_interpolated(trained, world):
    options = {"image_encoder": "lora", "epochs": 1, "lr_new": 1e-2}
    ends = [weights(trained("mean_pool", f"at{alpha}", wise_ft_alpha=alpha, **options)) for alpha in (0, 0.5, 1)]
    name = next(name for name in ends[0] if name.endswith("in_proj_weight"))
    start, middle, end = (tensors[name] for tensors in ends)
    assert torch.allclose(middle, (start + end) / 2, atol=1e-7)
    assert not torch.equal(start, end)


@pytest.mark.parametrize("best", [0.0, 0.5, 1.0])
def test_a_share_of_a_list_is_chosen_by_validation_clips(trained, world, monkeypatch, best):
    """The scores are a curve over percent, the weights are those of the chosen share, and 0 is CLIP bit by bit."""
    options = {"image_encoder": "lora", "text_encoder": "trained", "epochs": 1, "lr_new": 1e-2}
    plain = weights(trained("mean_pool", "plain", **options))
    validate, seen = Recognition.validate, []

    def scored(self, batches):
        proj = self.method.backbone.clip.visual.proj.detach().clone()
        values = validate(self, batches)
        seen.append((proj, batches.clip_ids))
        share = (0.0, 0.5, 1.0)[len(seen) - 2] if len(seen) > 1 else None  # the first is the epoch's
        return values | {"val_top1": values["val_top1"] if share is None else 0.5 + 0.25 * (share == best)}

    monkeypatch.setattr(Recognition, "validate", scored)
    folder = trained("mean_pool", "chosen", wise_ft_alpha=[1.0, 0.0, 0.5], **options)
    curves = pq.read_table(folder / "curves.parquet").to_pylist()
    points = {row["epoch"]: row["value"] for row in curves if row["metric"] == "wise_ft_val_top1"}
    assert points == {percent: 0.75 if percent == 100 * best else 0.5 for percent in (0, 50, 100)}
    assert json.loads((folder / "cost.json").read_text())["wise_ft_alpha"] == best
    clip, written = dict(load_backbone(world.backbone).named_parameters()), weights(folder)
    assert written.keys() == plain.keys()
    for name, tensor in written.items():
        start = clip[name.removeprefix("backbone.")].detach()
        assert torch.equal(tensor, torch.lerp(start, plain[name], best))
    validation = {row["clip_id"] for row in read_splits(world.splits())["val"].rows}
    assert len(seen) == 4
    assert all(set(clip_ids) == validation for _, clip_ids in seen)


def test_equal_shares_and_missing_validation_clips():
    assert choose_alpha({0.0: 0.5, 0.5: 0.75, 1.0: 0.75}) == 1.0
    with pytest.raises(ValueError, match="wise_ft_alpha: the list is empty"):
        TrainingOptions(wise_ft_alpha=[])


def test_training_stops_after_epochs_without_a_better_validation(trained, monkeypatch):
    top1 = iter((0.25, 0.5, 0.5, 0.25, 0.75))
    monkeypatch.setattr(Recognition, "validate", lambda *arguments: {"val_loss": 1.0, "val_top1": next(top1)})
    folder = trained("mean_pool", "run", image_encoder="frozen", epochs=5, select="best_val", patience=2)
    curves = pq.read_table(folder / "curves.parquet").to_pylist()
    assert [row["value"] for row in curves if row["metric"] == "val_top1"] == [0.25, 0.5, 0.5, 0.25]
    assert json.loads((folder / "cost.json").read_text())["train_clips_seen"] == 4 * 16
    assert not finished(Progress(epoch=4, best_epoch=3), TrainingOptions(patience=2, select="best_val"))


# ---- test views


def test_views_are_averaged_as_logits_or_as_probabilities():
    scores_NK = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0], [1.0, 3.0]])  # two clips, two views
    assert average_views(scores_NK, 2, "logits").tolist() == [[1.0, 0.5], [3.0, 4.0]]
    p = scores_NK.softmax(1)
    expected_BK = torch.stack([(p[0] + p[1]) / 2, (p[2] + p[3]) / 2])
    assert torch.allclose(average_views(scores_NK, 2, "probabilities").exp(), expected_BK)
    assert average_views(scores_NK, 1, "probabilities") is scores_NK


# ---- class imbalance


def test_balanced_sampling_takes_each_class_as_often_and_all_clips_before_one_again():
    target_N = torch.tensor([0] * 9 + [1] * 2 + [3])  # class 2 has no clips
    item_N = balanced_items(target_N, torch.Generator().manual_seed(0))
    assert len(item_N) == len(item_N.unique()) == 12
    clip_N = item_N % 12
    assert torch.bincount(target_N[clip_N]).tolist() == [4, 4, 0, 4]
    times_N = torch.bincount(clip_N, minlength=12)
    assert times_N[:9].max() == 1
    assert times_N[9:].tolist() == [2, 2, 4]
    repeated_N = balanced_items(target_N, torch.Generator().manual_seed(0))
    assert torch.equal(repeated_N, item_N)


@pytest.mark.parametrize("repeats", [1, 2])
def test_batches_of_balanced_sampling(world, tiny, repeats):
    training = TrainingOptions(
        batch_size=2, class_sampling="balanced", repeats=repeats, augment="crop", image_encoder="frozen"
    )
    method, split = build_method(tiny, "mean_pool", {}), read_splits(world.splits())["train"]
    rows = [row for n, row in enumerate(split.rows) if row["label"] != world.labels[0] or n % 4 == 0]
    batches = Batches(method, FrameStore([world.frames]), replace(split, rows=rows), training, 0, torch.device("cpu"))
    epoch = list(batches.epoch(0))
    counts_K = torch.bincount(torch.cat([batch.text_N for batch in epoch]), minlength=4) / repeats
    assert len(epoch) == len(batches)
    assert counts_K.max() - counts_K.min() <= 1
    indices = [index for batch in epoch for index in batch.indices]
    assert len(set(indices)) == len(indices)  # an index of its own, and so draws of its own, for each copy
    label_of = {row["clip_id"]: split.labels.index(row["label"]) for row in rows}
    for batch in epoch:
        assert [label_of[clip] for clip in batch.clip_ids] == batch.text_N.tolist()


def test_balanced_sampling_reads_cached_tokens_of_repeated_clips(trained, world):
    weights(trained("mean_pool", image_encoder="frozen", class_sampling="balanced", epochs=1))


def test_logit_adjustment_adds_the_log_of_class_shares_to_the_loss_alone(recognition):
    task, batch, method = recognition(label_smoothing=0.1)
    plain = total(task.losses(batch))
    task.log_prior_K = 0.5 * log_shares(["a"] * 6 + ["b"] * 2 + ["d"], list("abcd"))
    scores_BK = method.score(method.encode_video(batch.clips), task.text())
    shares_K = torch.tensor([6, 2, 1, 1]) / 10  # a class without clips counts as one with a single clip
    by_hand = F.cross_entropy(scores_BK + 0.5 * shares_K.log(), batch.text_N, label_smoothing=0.1)
    assert total(task.losses(batch)).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert plain.item() != pytest.approx(by_hand.item(), rel=1e-3)


def test_logit_adjustment_takes_the_shares_of_the_training_clips(world, tmp_path):
    run = world.write_run(tmp_path, "mean_pool", image_encoder="frozen", logit_adjustment=1.0)
    prior_K = setup.prepare(run, world.inputs(), 1).objective.log_prior_K
    assert torch.allclose(prior_K.exp(), torch.full((4,), 0.25))


# ---- what is refused


@pytest.mark.parametrize(
    ("training", "complaint"),
    [
        ({"patience": 2}, "patience: early stopping needs validation, but select is last; set select: best_val"),
        ({"repeats": 2}, "repeats: all 2 copies of a clip would be equal; set augment or sampling"),
        ({"repeats": 3, "augment": "crop"}, "repeats: batch_size 32 is not a multiple of 3"),
        (
            {"class_sampling": "balanced", "logit_adjustment": 1},
            "class_sampling: balanced corrects class shares already",
        ),
        ({"class_sampling": "balanced", "hard_negative_group": 2}, "set hard_negative_group: 1"),
        ({"augment": {"flips": "on"}}, "extra inputs"),
        ({"augment": "crops"}, "AugmentOptions"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(training, complaint):
    with pytest.raises(ValueError, match=f"(?i){complaint}"):
        TrainingOptions(**training)
