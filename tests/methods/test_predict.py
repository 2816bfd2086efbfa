"""predict_clips: a score for every class, for every test clip, with its frames in order and in three wrong orders."""

import math

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.text_table import read_texts
from kinetext.core import tables
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.data.store import FrameStore
from kinetext.evaluation.calibration import read_calibration
from kinetext.evaluation.cost import gflops_per_clip
from kinetext.evaluation.predict import predict_clips
from kinetext.evaluation.scores import frame_indices
from kinetext.methods.base import build_method
from kinetext.methods.checkpoint import save_trained
from kinetext.methods.zero_shot import ZeroShot

NEAR = 2e-3 if torch.cuda.is_available() else 1e-4  # cuDNN convolves in TF32


def predict(world, folder, method="zero_shot", frames=None, checkpoint=None, novel=(), **spec):
    """The rows of the table by (split, frame order, clip), and its metadata."""
    run = world.write_run(folder, method, novel=novel)
    run.write_text(run.read_text() + yaml.safe_dump(spec) if spec else run.read_text())
    output = folder / "predictions.parquet"
    predict_clips(run, world.splits(novel), [frames or world.frames], world.texts, world.backbone, checkpoint, output)
    rows = tables.read_rows("predictions", output)
    by_place = {(row["split"], row["frame_order"], row["clip_id"]): row for row in rows}
    assert len(by_place) == len(rows)
    return by_place, tables.read_metadata(output)


def test_frame_orders_of_eight_frames():
    def order(name, clip_id="clip a"):
        return frame_indices(name, 8, clip_id).tolist()

    assert order("ordered") == [0, 1, 2, 3, 4, 5, 6, 7]
    assert order("reversed") == [7, 6, 5, 4, 3, 2, 1, 0]
    assert order("repeated") == [4, 4, 4, 4, 4, 4, 4, 4]
    assert sorted(order("shuffled")) == order("ordered") != order("shuffled")
    assert order("shuffled") != order("shuffled", "clip b")
    torch.manual_seed(1)  # the shuffle is the clip's own: no seed and no other draw changes it
    shuffled = order("shuffled")
    torch.manual_seed(2)
    assert order("shuffled") == shuffled


def test_all_test_clips_have_a_row_for_each_frame_order(world, tmp_path):
    rows, metadata = predict(world, tmp_path)
    test = [row for row in tables.read_rows("clips", world.clips) if row["split"] == "test"]
    assert set(rows) == {("test", order, row["clip_id"]) for order in FRAME_ORDERS for row in test}
    assert metadata["labels"] == {"test": world.labels}
    assert metadata["failed"] == {"test": []}
    assert metadata["predict_clips_per_s"] > 0
    for clip in test:
        row = rows["test", "ordered", clip["clip_id"]]
        assert world.labels[row["target"]] == clip["label"]
        assert len(row["score_K"]) == 4


def test_predictions_carry_the_group_of_each_clip(world, tmp_path):
    splits = tables.read_table("splits", world.splits())
    group = splits["clip_id"]  # each clip its own film
    splits = splits.set_column(splits.schema.names.index("group"), "group", group)
    metadata = tables.metadata_of(splits.schema)
    tables.write_table("splits", splits, tmp_path / "splits.parquet", metadata)
    run, output = world.write_run(tmp_path, "zero_shot"), tmp_path / "predictions.parquet"
    predict_clips(run, tmp_path / "splits.parquet", [world.frames], world.texts, world.backbone, None, output)
    rows = tables.read_rows("predictions", output)
    assert all(row["group"] == row["clip_id"] for row in rows)


def test_scores_of_a_frame_order_equal_those_of_the_reordered_clip(world, tmp_path):
    torch.manual_seed(0)
    backbone = load_backbone(world.backbone)
    method = build_method(backbone, "stan", {"layers": 2}).eval()
    with torch.no_grad():  # move what starts at zero, so that time matters
        for parameter in method.new_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_trained(method, tmp_path / "checkpoint.safetensors", {})
    rows, _ = predict(world, tmp_path, "stan", checkpoint=tmp_path / "checkpoint.safetensors")
    store = FrameStore([world.frames])
    text = method.encode_texts(read_texts(world.texts, world.labels, backbone))
    for split, order, clip_id in rows:
        frames_1TCHW = store.batch([clip_id])
        by_hand = {
            "ordered": frames_1TCHW,
            "reversed": frames_1TCHW.flip(1),
            "shuffled": frames_1TCHW[:, frame_indices("shuffled", 8, clip_id)],
            "repeated": frames_1TCHW[:, 4:5].expand(1, 8, -1, -1, -1),
        }[order]
        with torch.inference_mode():
            score_K = method.score(method.encode_video(by_hand), text)[0]
        assert rows[split, order, clip_id]["score_K"] == pytest.approx(score_K.tolist(), abs=NEAR)
    ordered, backwards = (
        torch.tensor([row["score_K"] for (_, order, _), row in rows.items() if order == o]) for o in FRAME_ORDERS[:2]
    )
    assert (ordered - backwards).abs().max() > 1e-2  # so the comparison above can tell the orders apart


def test_a_method_without_time_ignores_frame_order(world, tmp_path):
    rows, _ = predict(world, tmp_path, "mean_pool")
    for (split, order, clip_id), row in rows.items():
        if order in ("reversed", "shuffled"):
            assert row["score_K"] == pytest.approx(rows[split, "ordered", clip_id]["score_K"], abs=NEAR)
        if order == "repeated":
            assert row["score_K"] != pytest.approx(rows[split, "ordered", clip_id]["score_K"], abs=NEAR)


def test_a_clip_without_frames_has_nan_scores(world, tmp_path):
    whole, _ = predict(world, tmp_path / "whole")
    lost = "test/growing/0001"
    frames = tables.open_shard("frames", world.frames).to_pylist()
    for row in frames:
        if row["clip_id"] == lost:
            row |= {"status": "failed", "error": "empty_file", "images": []}
    tables.write_shard("frames", [frames], tmp_path / "damaged.arrow")
    rows, metadata = predict(world, tmp_path / "damaged", frames=tmp_path / "damaged.arrow")
    assert metadata["failed"] == {"test": [lost]}
    assert set(rows) == set(whole)
    for (split, order, clip_id), row in rows.items():
        assert row["target"] == whole[split, order, clip_id]["target"]
        if clip_id == lost:
            assert len(row["score_K"]) == 4
            assert all(math.isnan(score) for score in row["score_K"])
        else:
            assert row["score_K"] == pytest.approx(whole[split, order, clip_id]["score_K"], abs=NEAR)


def test_novel_classes_are_a_separate_split_with_separate_labels(world, tmp_path):
    novel = ("shrinking", "moving left")
    rows, metadata = predict(world, tmp_path, novel=novel)
    labels = {
        "test": ["moving right", "growing"],
        "novel": ["moving left", "shrinking"],
        "novel_among_all": world.labels,
        "test_among_all": world.labels,
    }
    assert metadata["labels"] == labels
    whole, _ = predict(world, tmp_path / "supervised")
    labels = {row["clip_id"]: row["label"] for row in tables.read_rows("clips", world.clips)}
    assert {clip_id for _, _, clip_id in rows} == {clip_id for _, _, clip_id in whole}
    for (split, order, clip_id), row in rows.items():
        assert split.removesuffix("_among_all") == ("novel" if labels[clip_id] in novel else "test")
        assert metadata["labels"][split][row["target"]] == labels[clip_id]
        # a class's score is what it is among all classes; only the rivals are fewer
        among_all = dict(zip(world.labels, whole["test", order, clip_id]["score_K"], strict=True))
        assert row["score_K"] == pytest.approx([among_all[label] for label in metadata["labels"][split]], abs=NEAR)


def test_a_probe_is_scored_on_trained_classes_alone(world, tmp_path, monkeypatch):
    monkeypatch.setattr(ZeroShot, "needs_training_clips", True)
    rows, metadata = predict(world, tmp_path, novel=("shrinking", "moving left"))
    assert {split for split, _, _ in rows} == {"test"}
    assert metadata["labels"] == {"test": ["moving right", "growing"]}


def test_the_trained_checkpoint_is_used(world, tmp_path):
    torch.manual_seed(0)
    method = build_method(load_backbone(world.backbone), "mean_pool", {})
    with torch.no_grad():
        method.backbone.visual.proj.neg_()  # every cosine changes its sign
    save_trained(method, tmp_path / "checkpoint.safetensors", {})
    plain, _ = predict(world, tmp_path / "plain", "mean_pool")
    turned, _ = predict(world, tmp_path / "turned", "mean_pool", checkpoint=tmp_path / "checkpoint.safetensors")
    for key, row in turned.items():
        assert row["score_K"] == pytest.approx([-score for score in plain[key]["score_K"]], abs=NEAR)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_a_clips_score_is_the_average_over_its_views(world, tmp_path, average):
    testing = {"clips": 2, "crops": 3, "average": average}  # of square frames the three crops are one
    rows, metadata = predict(world, tmp_path, num_frames=4, testing=testing)
    assert metadata["testing"] == testing
    backbone, store = load_backbone(world.backbone), FrameStore([world.frames])
    method = build_method(backbone, "zero_shot", {}).eval()
    text = method.encode_texts(read_texts(world.texts, world.labels, backbone))
    for (_, order, clip_id), row in rows.items():
        if order == "ordered":
            frames_TCHW = store.frames(clip_id)
            views = torch.stack([frames_TCHW[[0, 2, 4, 6]], frames_TCHW[[1, 3, 5, 7]]])
            with torch.inference_mode():
                scores_VK = method.score(method.encode_video(views), text)
            expected_K = scores_VK.mean(0) if average == "logits" else scores_VK.softmax(1).mean(0).log()
            assert row["score_K"] == pytest.approx(expected_K.tolist(), abs=NEAR)
            assert not torch.allclose(scores_VK[0], scores_VK[1], atol=1e-3)  # so that an average is something


def test_shares_are_calibrated_on_validation_clips_and_costs_are_counted(world, tmp_path):
    rows, metadata = predict(world, tmp_path)
    fitted = read_calibration(metadata["calibration"])
    assert fitted.clips == 8 or "better than chance" in fitted.sentence()  # two validation clips of each class
    assert {split for split, *_ in rows} == {"test"}  # they have no rows of their own
    assert metadata["train_clips"] == dict.fromkeys(world.labels, 4)
    cost = metadata["cost"]
    assert (cost["trained_parameters"], cost["new_parameters"], cost["train_seconds"]) == (0, 0, 0.0)
    assert cost["predict_peak_mib"] > 50
    (tmp_path / "views").mkdir()
    _, viewed = predict(world, tmp_path / "views", num_frames=4, testing={"clips": 3})
    # three views of four frames against one of eight; the text side does not count
    assert viewed["cost"]["gflops_per_clip"] == pytest.approx(1.5 * cost["gflops_per_clip"], rel=0.01)


def test_operations_are_those_of_the_products(world):
    backbone = load_backbone(world.backbone)
    method = build_method(backbone, "zero_shot", {}).eval().requires_grad_(False)
    text_KD = method.encode_texts(read_texts(world.texts, world.labels, backbone))
    frames_VTCHW = torch.zeros(1, 8, 3, 64, 64, dtype=torch.uint8)
    one, two = (gflops_per_clip(method, frames_VTCHW, [text_KD] * copies) for copies in (1, 2))
    D, K = backbone.embed_dim, len(world.labels)
    assert two - one == pytest.approx(2 * D * K / 1e9)  # one score is one product of D multiply-adds


@pytest.mark.parametrize("name", ["zero_shot", "stan"])
def test_operations_are_those_that_torch_counts(world, name):
    method = build_method(load_backbone(world.backbone), name, {}).eval().requires_grad_(False)
    frames_VTCHW = torch.zeros(1, 4, 3, 64, 64, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as reference:
        method.encode_tokens(method.image_tokens(frames_VTCHW))
    assert gflops_per_clip(method, frames_VTCHW, []) == reference.get_total_flops() / 1e9


def test_a_protocol_without_validation_clips_is_not_calibrated(world, tmp_path):
    splits = tables.read_table("splits", world.splits())
    metadata = tables.metadata_of(splits.schema)
    without = splits.filter([split != "val" for split in splits["split"].to_pylist()])
    tables.write_table("splits", without, tmp_path / "splits.parquet", metadata)
    run, output = world.write_run(tmp_path, "zero_shot"), tmp_path / "predictions.parquet"
    predict_clips(run, tmp_path / "splits.parquet", [world.frames], world.texts, world.backbone, None, output)
    calibration = read_calibration(tables.read_metadata(output)["calibration"])
    assert calibration.sentence() == "shares are not calibrated: the run has no validation clips"


def test_motion_probes_encode_the_frames_again(world, tmp_path):
    """The tokens of a frame depend on its neighbours, so that reordered tokens are not those of reordered frames."""
    rows, _ = predict(world, tmp_path, "window_attention")
    clip_id = next(clip_id for _, _, clip_id in rows)
    method = build_method(load_backbone(world.backbone), "window_attention", {}).eval()
    frames_TCHW = FrameStore([world.frames]).frames(clip_id)
    table = read_texts(world.texts, world.labels, method.backbone)
    for order in ("reversed", "repeated"):
        index_T = frame_indices(order, len(frames_TCHW), clip_id)
        with torch.inference_mode():
            wanted_BK = method.score(method.encode_video(frames_TCHW[None, index_T]), method.encode_texts(table))
        assert rows["test", order, clip_id]["score_K"] == pytest.approx(wanted_BK[0].tolist(), abs=NEAR)
