"""train_method on a few clips of shapes: what it leaves behind, and that it always comes out the same."""

import json
import logging
import math
from dataclasses import replace

import pytest
import torch

from kinetext.backbones.checkpoint import load_backbone
from kinetext.config.training import TrainingOptions
from kinetext.core import tables
from kinetext.core.tensors import load_tensors
from kinetext.methods.base import Method, build_method
from kinetext.training import setup, train
from kinetext.training.objectives import Recognition, total
from kinetext.training.setup import rival_mask
from left import curve, equal, weights
from splits import write_splits

pytestmark = pytest.mark.usefixtures("on_cpu")


def states(tmp_path, name):
    return list((tmp_path / "cache" / name).rglob("*.pt"))


def test_a_training_leaves_a_checkpoint_its_curves_and_its_cost(trained, world, tmp_path):
    folder = trained("stan", image_encoder="frozen")
    tensors, header = load_tensors(folder / "checkpoint.safetensors")
    assert header["run"]["method"] == "stan"
    backbone = load_backbone(world.backbone)
    outside = {key for key in tensors if not key.startswith("branch.")}
    assert outside == {f"backbone.clip.visual.{end}" for end in ("ln_post.weight", "ln_post.bias", "proj")}
    assert not torch.equal(tensors["backbone.clip.visual.proj"], backbone.visual.proj)
    assert len(curve(folder, "train_loss")) == len(curve(folder, "val_loss")) == 3
    assert all(math.isfinite(loss) for loss in curve(folder, "train_loss"))
    # 8 validation clips; warm-up for one epoch of 3 steps, then cosine to zero over 6: a half after 3 of them
    assert all(top1 * 8 == round(top1 * 8) for top1 in curve(folder, "val_top1"))
    assert curve(folder, "lr") == pytest.approx([1e-4, 0.5e-4, 0.0], abs=1e-12)
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["train_clips_seen"] == 16 * 3
    assert cost["trained_parameters"] == sum(t.numel() for t in tensors.values())
    assert cost["new_parameters"] == sum(t.numel() for key, t in tensors.items() if key.startswith("branch."))
    assert not states(tmp_path, "run")  # the state of a finished training is cleared away


def test_training_lowers_the_loss(trained):
    losses = curve(trained("mean_pool", image_encoder="frozen", epochs=8, lr_new=1e-2, lr=1e-2), "train_loss")
    assert losses[-1] < 0.8 * losses[0]


def test_the_seed_decides(whole, trained):
    one, other = (whole("stan", seed=seed, image_encoder="frozen", epochs=1) for seed in (0, 1))
    second = trained("stan", seed=0, image_encoder="frozen", epochs=1)
    assert equal(weights(one), weights(second))
    assert not equal(weights(one), weights(other))


def test_a_loss_that_is_no_number_stops_and_names_clips(trained, tmp_path):
    with pytest.raises(RuntimeError, match=r"the loss is nan at step 2 of epoch 1; clips train/\w+/000\d, .*lower lr"):
        trained("mean_pool", image_encoder="frozen", lr=1e30, warmup_epochs=0.0, batch_size=2)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(("select", "kept"), [("best_val", 2), ("last", 4)])
def test_the_epoch_that_is_kept(trained, monkeypatch, select, kept):
    """Validation says 1/4, 3/4, 3/4, 1/2: the best is the second epoch, and the third only as good."""
    top1, seen = iter((0.25, 0.75, 0.75, 0.5)), []

    def validate(objective, batches):
        seen.append(objective.method.backbone.visual.proj.detach().clone())
        return {"val_loss": 1.0, "val_top1": next(top1)}

    monkeypatch.setattr(Recognition, "validate", validate)
    folder = trained("mean_pool", image_encoder="frozen", select=select, epochs=4)
    written = weights(folder)["backbone.clip.visual.proj"]
    assert [torch.equal(written, proj) for proj in seen].index(True) + 1 == kept


def test_the_best_epoch_cannot_be_chosen_without_validation_clips(trained, world, tmp_path):
    clips = [row for row in tables.read_rows("clips", world.clips) if row["split"] != "val"]
    tables.write_table("clips", clips, tmp_path / "clips.parquet", {"labels": world.labels})
    splits = write_splits(tmp_path / "clips.parquet")
    assert curve(trained("mean_pool", image_encoder="frozen", splits=splits), "val_loss") == []
    with pytest.raises(ValueError, match="best_val needs validation clips, and there are none"):
        trained("mean_pool", image_encoder="frozen", select="best_val", splits=splits)


@pytest.mark.parametrize("method", ["mean_pool", "stan"])
def test_kept_tokens_give_what_computing_them_anew_gives(trained, caplog, method):
    with caplog.at_level(logging.INFO):
        kept = trained(method, "kept", image_encoder="frozen", epochs=2)
        assert "GiB, cached" in caplog.text
        caplog.clear()
        anew = trained(method, "anew", image_encoder="frozen", epochs=2, cache_gib=0.0)
        assert "computed each epoch" in caplog.text
    # kept tokens are float16, with 11 bits: a relative rounding of 5e-4
    assert curve(kept, "train_loss") == pytest.approx(curve(anew, "train_loss"), rel=2e-3)
    assert curve(kept, "val_loss") == pytest.approx(curve(anew, "val_loss"), rel=2e-3)


def test_what_trains_is_what_was_asked_for(trained, world):
    """A frozen trunk and a frozen text tower come out as they went in; trained ones do not."""
    clip = dict(load_backbone(world.backbone).named_parameters())

    def moved(folder):
        return {key for key, t in weights(folder).items() if key.startswith("backbone.") and not near(key, t)}

    def near(key, tensor):
        return torch.equal(tensor, clip[key.removeprefix("backbone.")])

    frozen = moved(trained("mean_pool", "frozen", image_encoder="frozen", epochs=1))
    both = moved(trained("mean_pool", "both", image_encoder="trained", text_encoder="trained", epochs=1))
    assert not any("resblocks" in key for key in frozen)
    assert {"backbone.clip.visual.conv1.weight", "backbone.clip.visual.transformer.resblocks.0.ln_1.weight"} <= both
    assert {"backbone.clip.text_projection", "backbone.clip.transformer.resblocks.0.ln_1.weight"} <= both
    assert not both & {"backbone.clip.logit_scale", "backbone.clip.token_embedding.weight"}


def test_rivals_are_a_classs_own_and_those_it_is_taken_for():
    rivals = {"a": ["b", "not here"], "b": [], "c": ["a"]}
    assert rival_mask(rivals).tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, True],
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("declared", [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
        (
            "features",
            [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]],
        ),  # one class has some, the others use declared
    ],
)
def test_rivals_in_training_are_those_the_descriptions_were_written_against(world, tmp_path, rule, expected):
    rows = tables.read_rows("confusables", world.confusables)
    rows.append({"label": world.labels[0], "rival": world.labels[2], "score": 1.0, "rule": "features", "rank": 1})
    inputs = replace(world.inputs(), confusables=tmp_path / "confusables.parquet")
    tables.write_table("confusables", rows, inputs.confusables)
    run = world.write_run(tmp_path, "mean_pool", image_encoder="frozen")
    run.write_text(run.read_text() + f"confusables: {{rule: {rule}}}\n")
    assert setup.prepare(run, inputs, 1).objective.rivals_KK.int().tolist() == expected


def test_tokens_too_large_for_float16_are_not_cached(world, tmp_path, monkeypatch, caplog, on_cpu):
    run = world.write_run(tmp_path, "mean_pool", image_encoder="frozen")
    tokens = Method.image_tokens
    monkeypatch.setattr(Method, "image_tokens", lambda *arguments: {k: t * 1e6 for k, t in tokens(*arguments).items()})
    prepared = setup.prepare(run, world.inputs(), 1)
    assert prepared.train_clips.cached is None
    assert "exceed float16's largest number, 65504: they are not cached but computed each epoch" in caplog.text
    batch = next(prepared.train_clips.epoch(0))
    assert torch.isfinite(total(prepared.objective.losses(batch)))


@pytest.mark.parametrize("temperature", [0.01, None])  # CLIP's, which is the largest scale, and that of the weights
def test_the_temperature_is_learned_also_from_clips_own(trained, world, temperature):
    options = {"image_encoder": "frozen", "epochs": 1, "lr": 1e-2, "warmup_epochs": 0}
    folder = trained("mean_pool", temperature=temperature, learn_temperature=True, **options)
    scale = weights(folder)["backbone.clip.logit_scale"].item()
    start = math.log(1 / temperature) if temperature else load_backbone(world.backbone).clip.logit_scale.item()
    assert abs(scale - start) > 1e-3


def test_a_scale_at_its_largest_comes_back(tiny):
    method = build_method(tiny, "mean_pool", {})
    tiny.set_temperature(0.01)
    scale, largest = tiny.clip.logit_scale, tiny.clip.logit_scale.item()
    training = TrainingOptions(learn_temperature=True, lr=1e-2, warmup_epochs=0, betas=(0.0, 0.98))
    setup.choose_trained(method, training)
    optimizer, schedule = setup.make_optimizer(method, training, 100)
    for direction, expected in ((1.0, largest), (-1.0, largest - 1e-2)):
        (-direction * tiny.logits(torch.ones(()))).backward()
        assert scale.grad != 0
        train.update(method, [scale], optimizer, schedule, 5.0)
        assert scale.item() == pytest.approx(expected, abs=1e-3)


def test_decay_and_rates_by_group(tiny):
    """STAN's rule: new parameters learn faster; biases, LayerNorms and other vectors do not decay."""
    method = build_method(tiny, "stan", {"layers": 1})
    training = TrainingOptions(lr=1e-5, lr_new=1e-4, weight_decay=0.1, warmup_epochs=0)
    setup.choose_trained(method, training)
    optimizer, _ = setup.make_optimizer(method, training, 1)
    rule = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert rule[id(tiny.visual.conv1.weight)] == (1e-5, 0.1)
    assert rule[id(tiny.visual.ln_post.bias)] == (1e-5, 0.0)
    assert rule[id(method.branch.temporal[0].fc.weight)] == (1e-4, 0.1)
    assert rule[id(method.branch.temporal[0].fc.bias)] == (1e-4, 0.0)
    assert len(rule) == sum(p.requires_grad for p in method.parameters())
