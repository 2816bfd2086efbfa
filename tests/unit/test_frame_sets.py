"""The frames that are stored of a data set follow from its backbones, where the data set does not fix them."""

import pytest

from kinetext.config.data import FrameOptions
from kinetext.plan import check_config, frame_sets, plan_runs, smallest_frames

BACKBONES = {
    "b32": {"model": "ViT-B-32", "pretrained": "openai"},
    "b16": {"model": "ViT-B-16", "pretrained": "openai"},
    "siglip": {"model": "ViT-B-16-SigLIP-256", "pretrained": "webli"},
    "pe": {"model": "PE-Core-B-16", "pretrained": "meta"},
}


def configured(frames, **others):
    """A configuration of shapes and mean_pool on all backbones."""
    experiment = {"datasets": ["shapes"], "backbone": list(BACKBONES), "methods": ["mean_pool"], "texts": ["names"]}
    return check_config(
        {
            "backbones": BACKBONES,
            "datasets": {"shapes": {"frames": frames}, "other": {"module": "shapes"}},
            "methods": {"mean_pool": {}},
            "texts": {"names": {}},
            "experiments": {"first": experiment | others},
        }
    )


def test_each_backbone_gets_its_frames_and_equal_ones_are_shared():
    runs = plan_runs(configured({"num_frames": 4, "quality": 90}))
    assert {run.backbone: run.frame_options.frame_set for run in runs.values()} == {
        "b32": "224-shortest-bicubic",
        "b16": "224-shortest-bicubic",
        "siglip": "256-squash-bicubic",
        "pe": "224-squash-bilinear",
    }
    sets = frame_sets(runs.values(), "shapes")
    assert list(sets) == ["224-shortest-bicubic", "256-squash-bicubic", "224-squash-bilinear"]
    assert {(options.num_frames, options.quality) for options in sets.values()} == {(4, 90)}
    assert sets["256-squash-bicubic"].size_px == 256
    assert frame_sets(runs.values(), "other") == {}


def test_a_protocol_that_trains_on_another_data_set_has_the_frames_of_the_backbone_of_both():
    runs = plan_runs(configured({}, protocol="zero_shot_from_other")).values()
    assert frame_sets(runs, "shapes") == frame_sets(runs, "other")
    assert {run.dataset for run in runs} == {"shapes", "other"}


@pytest.mark.parametrize("backbones", [["b32", "siglip", "pe"], ["pe", "siglip", "b32"]])
def test_smallest_frames_do_not_depend_on_the_order_of_backbones(backbones):
    run = smallest_frames(plan_runs(configured({}, backbone=backbones)).values())
    assert (run.backbone, run.frame_options.frame_set) == ("b32", "224-shortest-bicubic")


@pytest.mark.parametrize(
    ("preferred", "chosen"),
    [
        ("256-squash-bicubic", "256-squash-bicubic"),
        ("336-shortest-bicubic", "224-shortest-bicubic"),
        (None, "224-shortest-bicubic"),
    ],
)
def test_frames_that_splits_were_made_from_are_preferred_if_a_backbone_still_takes_them(preferred, chosen):
    assert smallest_frames(plan_runs(configured({})).values(), preferred).frame_options.frame_set == chosen


def test_sizes_of_frames_are_compared_as_numbers():
    tiny, clip = plan_runs(configured({}, backbone=["b32", "b16"])).values()
    frames = FrameOptions(size_px=64, resize_mode="squash", interpolation="bilinear")
    options = {**tiny.dataset_options, "frames": frames.model_dump()}
    assert smallest_frames([clip, tiny.model_copy(update={"dataset_options": options})]).backbone == tiny.backbone


def test_written_and_inferred_values_are_the_same_run():
    """So that results from before, when values had to be written, are kept."""
    written = {"size_px": 224, "resize_mode": "shortest", "interpolation": "bicubic"}
    inferred, explicit = (plan_runs(configured(frames, backbone="b32")) for frames in ({}, written))
    assert [run.fingerprint for run in inferred.values()] == [run.fingerprint for run in explicit.values()]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            {"size_px": 224},
            r"first: datasets\.shapes\.frames\.size_px is 224, but backbone siglip takes 256; remove it",
        ),
        (
            {"resize_mode": "shortest"},
            r"datasets\.shapes\.frames\.resize_mode is shortest, but backbone siglip takes squash; remove it",
        ),
        (
            {"crop": "whole"},
            r"first: datasets\.shapes\.frames for backbone siglip: crop: whole keeps the shape.*set crop: centre",
        ),
    ],
)
def test_frames_that_do_not_fit_a_backbone_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        configured(frames)


def test_only_values_that_are_not_set_get_defaults():
    options = FrameOptions(size_px=224, num_frames=4).with_defaults(size_px=256, resize_mode="squash")
    assert (options.size_px, options.resize_mode, options.num_frames) == (224, "squash", 4)
