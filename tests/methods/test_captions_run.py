"""Retrieval from clips to metrics: captions of a few clips of shapes, through every command but MLflow's."""

import logging

import numpy as np
import pytest
import torch

from few_draws import measure_quickly
from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.text_table import read_texts
from kinetext.config.texts import TextOptions
from kinetext.config.training import TrainingOptions
from kinetext.core import tables
from kinetext.data.splits import read_splits, split_clips
from kinetext.data.store import FrameStore
from kinetext.evaluation.predict import predict_clips
from kinetext.methods.base import build_method, contrastive_loss
from kinetext.texts.describe import describe_classes
from kinetext.training import setup
from kinetext.training.batches import Batches
from kinetext.training.objectives import Retrieval, total
from kinetext.training.train import train_method
from left import curve, weights

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.fixture
def trained(captioned, tmp_path):
    """A function of a method and its training to the folder that it was trained in."""

    def do(method, name="run", **training):
        folder = tmp_path / name
        run = captioned.write_run(folder, method, **{"epochs": 2, "text_encoder": "trained", **training})
        train_method(run, captioned.inputs(), tmp_path / "cache", folder / "checkpoint.safetensors")
        return folder

    return do


@pytest.fixture
def measured_run(captioned, trained, tmp_path):
    """A function of a method to the folder of its run, trained, predicted and measured."""

    def do(method):
        inputs, trains = captioned.inputs(), method != "zero_shot"
        folder = trained(method) if trains else captioned.write_run(tmp_path, method).parent
        checkpoint, predictions = folder / "checkpoint.safetensors" if trains else None, folder / "predictions.parquet"
        sources = (inputs.splits, [captioned.frames], inputs.texts, inputs.backbone)
        predict_clips(folder / "run.yaml", *sources, checkpoint, predictions)
        measure_quickly(folder, predictions, inputs.confusables, folder / "metrics.parquet")
        return folder

    return do


def measured(folder, frame_order="ordered"):
    return {
        r["metric"]: r
        for r in tables.read_rows("metrics", folder / "metrics.parquet")
        if r["frame_order"] == frame_order
    }


def test_the_texts_are_the_captions_of_every_clip(captioned):
    clips = tables.read_rows("clips", captioned.clips)
    rows = tables.read_rows("texts", captioned.texts)
    assert [(row["label"], row["sentence"]) for row in rows] == [
        (clip["clip_id"], caption) for clip in clips for caption in clip["captions"]
    ]
    assert {(row["kind"], row["status"]) for row in rows} == {("caption", "ok")}
    assert tables.read_rows("confusables", captioned.confusables) == []


@pytest.mark.parametrize("method", ["zero_shot", "mean_pool", "stan"])
def test_a_run_from_training_to_ranks(measured_run, method):
    folder = measured_run(method)
    rows = [r for r in tables.read_rows("predictions", folder / "predictions.parquet") if r["frame_order"] == "ordered"]
    metadata = tables.read_metadata(folder / "predictions.parquet")
    assert [len(row["score_K"]) for row in rows] == [16] * 4
    assert metadata["captioned"]
    assert [len(row["bank_P"]) for row in rows] == [24] * 4  # four captions of each of six training clips
    assert [np.isnan(row["bank_P"]).all() for row in rows] == [True, False, False, False]  # one clip has no frames
    for row in rows:
        assert next(k for k, clip in enumerate(metadata["labels"]["test"]) if clip == row["clip_id"]) == row["target"]
    metrics = measured(folder)
    assert (metrics["t2v_r1"]["clips"], metrics["t2v_mnr"]["high"] <= 4) == (4, True)
    assert metrics["t2v_r1"]["value"] <= 12 / 16  # the failed clip is never found
    assert {"v2t_r5", "t2v_mdr:dsl", "v2t_mnr:inverted", "t2v_r1:qb_norm"} <= set(metrics)
    assert not any(":" in name for name in measured(folder, "reversed"))
    if method == "mean_pool":
        backwards = measured(folder, "reversed")
        assert backwards["t2v_mnr"]["value"] == metrics["t2v_mnr"]["value"]
    if method != "zero_shot":
        assert all(0 <= value <= 1 for value in curve(folder, "val_t2v_r1"))
        assert len(curve(folder, "val_loss")) == 2


def test_training_lowers_the_loss(trained):
    losses = curve(trained("stan", image_encoder="frozen", epochs=12, lr=1e-3, lr_new=1e-3), "train_loss")
    assert losses[-1] < 0.7 * losses[0]


def make(captioned, **training):
    training = TrainingOptions(batch_size=4, **training)
    splits = read_splits(captioned.splits())
    backbone = load_backbone(captioned.backbone)
    method = build_method(backbone, "mean_pool", {}).eval()
    tables_of = {name: read_texts(captioned.texts, splits[name].labels, backbone) for name in ("train", "val")}
    task = Retrieval(method, tables_of["train"], tables_of["val"], training)
    batches = {
        name: Batches(
            method,
            FrameStore([captioned.frames]),
            splits[name],
            training,
            0,
            torch.device("cpu"),
            torch.bincount(table.owner_S),
        )
        for name, table in tables_of.items()
    }
    return task, batches


def test_an_epoch_takes_one_caption_of_each_clip_and_another_epoch_others(captioned):
    task, batches = make(captioned)
    drawn = []
    for epoch in (0, 1, 0):
        pairs = [
            (c, int(t))
            for batch in batches["train"].epoch(epoch)
            for c, t in zip(batch.clip_ids, batch.text_N, strict=True)
        ]
        assert len(pairs) == len({clip for clip, _ in pairs}) == 6
        assert all(task.table.labels[task.table.owner_S[text]] == clip for clip, text in pairs)
        drawn.append(pairs)
    assert drawn[0] == drawn[2]
    assert dict(drawn[0]) != dict(drawn[1])


def test_all_captions_are_all_items_of_an_epoch(captioned):
    task, batches = make(captioned, captions_per_video="all")
    texts = [int(t) for batch in batches["train"].epoch(3) for t in batch.text_N]
    assert sorted(texts) == list(range(24))
    assert texts != sorted(texts)
    assert len(batches["train"]) == 6
    for batch in batches["train"].epoch(0):
        assert [task.table.labels[task.table.owner_S[t]] for t in batch.text_N] == batch.clip_ids


def test_the_loss_of_a_batch_is_that_of_its_clips_and_their_captions(captioned):
    task, batches = make(captioned, image_encoder="frozen")
    batch = next(iter(batches["train"].epoch(0)))
    clips = tables.read_rows("clips", captioned.clips)
    of_train = [caption for clip in clips if clip["split"] == "train" for caption in clip["captions"]]
    backbone = task.method.backbone
    with torch.inference_mode():
        text_BD, _ = backbone.encode_text(backbone.tokenize([of_train[t] for t in batch.text_N]))
        video_BD = task.method.encode_video(FrameStore([captioned.frames]).batch(batch.clip_ids))
        by_hand = contrastive_loss(task.method.score(video_BD, text_BD))
        # kept tokens are float16
        assert total(task.losses(batch)).item() == pytest.approx(by_hand.item(), rel=2e-3)


def test_validation_counts_every_caption_by_strictly_better_clips(captioned):
    task, batches = make(captioned)
    metrics = task.validate(batches["val"])
    assert metrics["val_t2v_r1"] * 8 == round(metrics["val_t2v_r1"] * 8)
    assert metrics["val_chance"] == 1 / len(batches["val"].clip_ids)
    with torch.no_grad():  # all scores alike: ties, and nothing is strictly better
        task.method.backbone.visual.proj.zero_()
    assert task.validate(batches["val"])["val_t2v_r1"] == 1.0


def test_the_temperature_is_fixed_or_learned(trained):
    name, options = "backbone.clip.logit_scale", {"image_encoder": "frozen", "temperature": 0.05}
    assert name not in weights(trained("mean_pool", "fixed", **options))
    learned = weights(trained("mean_pool", "learned", learn_temperature=True, lr=1e-2, **options))
    assert 0 < abs(learned[name].item() - torch.tensor(20.0).log().item()) < 0.5


def test_a_long_caption_keeps_its_end_and_is_counted(tiny, caplog):
    long = "a red circle moves to the right " * 20
    with caplog.at_level(logging.WARNING):
        tokens_KL = tiny.tokenize([long, f"{long} blue", "a red circle"]).ids_KL
    assert "2 of 3 texts are over" in caplog.text
    assert (tokens_KL.max(1).values == tokens_KL[2].max()).all()


def test_texts_of_classes_and_of_captions_are_not_taken_for_each_other(captioned, world, tmp_path):
    def describe(of, name):
        describe_classes(
            of.clips, of.splits(), of.confusables, TextOptions(), name, "text", tmp_path, tmp_path / "texts.parquet"
        )

    with pytest.raises(ValueError, match=r"texts.names: .*clips.parquet has captions; use the module captions"):
        describe(captioned, "names")
    with pytest.raises(ValueError, match=r"texts.captions: .*clips.parquet has classes; use any module but captions"):
        describe(world, "captions")


def test_draws_by_class_need_classes(captioned, tmp_path):
    from kinetext.config.data import ProtocolOptions

    with pytest.raises(ValueError, match="few_shot_2: the clips have captions, but few_shot draws by class"):
        split_clips("x", captioned.clips, [], "few_shot_2", ProtocolOptions(), tmp_path / "splits.parquet")


def test_the_bank_is_captions_of_training_clips_evenly_spaced(captioned, tmp_path, monkeypatch):
    run = captioned.write_run(tmp_path, "zero_shot")

    def bank(name):
        output = tmp_path / name
        predict_clips(run, captioned.splits(), [captioned.frames], captioned.texts, captioned.backbone, None, output)
        rows = tables.read_rows("predictions", output)
        assert {row["frame_order"] for row in rows if row["bank_P"] is not None} == {"ordered"}
        return np.array([row["bank_P"] for row in rows if row["frame_order"] == "ordered"])

    whole_BP = bank("whole.parquet")
    backbone = load_backbone(captioned.backbone)
    method = build_method(backbone, "zero_shot", {}).eval()
    splits, store = read_splits(captioned.splits()), FrameStore([captioned.frames])
    table = read_texts(captioned.texts, splits["train"].labels, backbone)
    frames_TCHW = store.frames(splits["test"].rows[0]["clip_id"])  # the second row: clips without frames come first
    with torch.inference_mode():
        (part,) = table.captions()
        by_hand = method.score(method.encode_video(frames_TCHW[None]), method.encode_texts(part))[0]
    assert whole_BP[1] == pytest.approx(by_hand.numpy(), abs=1e-4)
    monkeypatch.setattr("kinetext.evaluation.predictor.BANK_CAPTIONS", 5)
    assert bank("few.parquet")[1:] == pytest.approx(whole_BP[1:, [0, 4, 9, 14, 19]], abs=1e-4)


def test_neighbours_share_a_batch_and_an_epoch_has_every_clip_once(captioned):
    backbone = load_backbone(captioned.backbone)
    method, store = build_method(backbone, "zero_shot", {}), FrameStore([captioned.frames])
    train = read_splits(captioned.splits())["train"]
    training = TrainingOptions(batch_size=2, hard_negative_group=2, image_encoder="frozen")
    batches = Batches(method, store, train, training, 0, torch.device("cpu"))
    listed = [row["clip_id"] for row in train.rows]
    twins = {frozenset(listed[i : i + 2]) for i in range(0, 6, 2)}
    epochs = [[frozenset(batch.clip_ids) for batch in batches.epoch(number)] for number in range(6)]
    assert all(set(epoch) == twins and len(epoch) == 3 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_recipe_for_classes_is_refused_where_clips_have_captions(trained):
    with pytest.raises(ValueError, match=r"training\.mixup is for clips with one class each, and these have captions"):
        trained("mean_pool", mixup=0.8)
    with pytest.raises(ValueError, match=r"training\.class_sampling is for clips with one class each"):
        trained("mean_pool", class_sampling="balanced")
    with pytest.raises(ValueError, match=r"training\.logit_adjustment is for clips with one class each"):
        trained("mean_pool", logit_adjustment=1.0)


def test_an_automatic_flip_says_that_it_reads_no_captions(captioned, tmp_path, caplog):
    run = captioned.write_run(tmp_path, "mean_pool", augment={"flip": "auto"})
    prepared = setup.prepare(run, captioned.inputs(), 1)
    assert "flip: auto does not read captions, so no clip is mirrored" in caplog.text
    assert not prepared.train_clips.clips.flip
