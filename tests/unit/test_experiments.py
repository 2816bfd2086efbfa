"""experiments/*.yaml are right as they stand, but for the folders of videos and lists, which a reader has to put in."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from kinetext.config.experiment import Config
from kinetext.core import plugins
from kinetext.plan import check_config, plan_runs
from repository import ROOT

FILES = sorted((ROOT / "experiments").glob("*.yaml"))
SUITE = ("motion_suite", "methods_shapes", "methods_inside_shapes")  # share clips, results and one report
LISTS = {  # what check-config looks for among the annotations
    "kinetics": ["train.csv", "validate.csv"],
    "ssv2": ["train.json", "validation.json", "labels.json"],
    "msrvtt": ["MSRVTT_data.json", "MSRVTT_train.9k.csv", "MSRVTT_JSFUSION_test.csv"],
    "didemo": [f"{split}_{kind}" for split in ("train", "val", "test") for kind in ("list.txt", "data.json")],
    "lsmdc": ["LSMDC16_annos_training.csv", "LSMDC16_annos_val.csv", "LSMDC16_challenge_1000_publictect.csv"],
    "hmdb51": [f"kick_test_split{fold}.txt" for fold in (1, 2, 3)],
    "ucf101": ["classInd.txt", *(f"{part}list0{fold}.txt" for part in ("train", "test") for fold in (1, 2, 3))],
    "msvd": ["train_list.txt", "val_list.txt", "test_list.txt", "raw-captions.pkl"],
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Callable[[Path], Config]:
    """A function that checks a file, once, with new folders in place of those that it names."""

    @cache
    def check(file: Path) -> Config:
        folder, values = tmp_path_factory.mktemp(file.stem), yaml.safe_load(file.read_text())
        for name, data in values["datasets"].items():
            for key in {"root", "annotations"} & set(data.get("options", {})):
                path = folder / data["options"][key].lstrip("/")
                assert str(data["options"][key]).startswith("/data/")
                path.mkdir(parents=True, exist_ok=True)
                data["options"][key] = str(path)
            for list_file in LISTS.get(data.get("module", name), []):
                (Path(data["options"]["annotations"]) / list_file).touch()
        return check_config(values, file.name)

    return check


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_file_passes_the_check(file, checked):
    config = checked(file)
    runs = plan_runs(config)
    folder = "motion_suite" if file.stem in SUITE else file.stem
    assert config.results == f"results/{folder}"  # so that none writes over another's runs
    assert {run.dataset for run in runs.values()} == set(config.datasets)
    assert {run.method for run in runs.values()} == set(config.methods)  # none is forgotten
    known = {(run.dataset, run.protocol, run.method, run.texts) for run in runs.values()}
    for number in config.report.reference:
        assert (number.dataset, number.protocol, number.method, number.texts) in known
        assert 0 < number.value < 1 or number.metric.endswith("mdr")
        assert number.source


def test_the_files_of_the_motion_suite_are_one_study():
    """`snakemake --configfile A B C` merges them as here. No row is in two files with other settings."""
    configs = [yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text()) for name in SUITE]
    merged = copy.deepcopy(configs[0])
    for config in configs[1:]:
        update_config(merged, config)
    runs = plan_runs(check_config(merged, "the suite"))
    assert {name: merged[name] for name in ("datasets", "confusables", "tuning")} == {
        name: configs[0][name] for name in ("datasets", "confusables", "tuning")
    }
    single = [plan_runs(check_config(config, "a file")) for config in configs]
    assert len(runs) == sum(map(len, single))
    assert all(runs[name] == run for part in single for name, run in part.items())


def test_stan_trains_and_tests_on_pixels_as_the_papers_do(checked):
    for file in FILES:
        if file.stem.startswith("stan_"):
            config = checked(file)
            [frames] = [data.frames for data in config.datasets.values()]
            assert frames.crop == "whole"
            for method in config.methods.values():
                assert 3 * method.num_frames == frames.num_frames  # so that the tested frame is a segment's middle
                assert method.testing.views == (3 if file.stem in ("stan_k400", "stan_ssv2") else 1)
                if method != config.methods["zero_shot"]:
                    assert (method.training.sampling, method.training.augment.crop) == ("segment", 0.08)


def test_vifi_trains_everything_with_the_released_settings(checked):
    settings = {"supervised": (30, 512, 2.2e-5, 16), "zero_shot": (10, 256, 8e-6, 32)}
    settings |= {"few_shot": (50, 64, 2e-6, 32), "base_to_novel": (11, 64, 2e-6, 32)}
    files = [file for file in FILES if file.stem.startswith("vifi_")]
    assert len(files) == 1 + 1 + 3 + 4
    for file in files:
        method = checked(file).methods["vifi"]
        training = method.training
        [values] = [values for name, values in settings.items() if file.stem.startswith(f"vifi_{name}")]
        assert (training.epochs, training.batch_size, training.lr, method.num_frames) == values
        assert training.image_encoder == training.text_encoder == training.word_embeddings == "trained"
        assert training.augment.flip == ("off" if file.stem.endswith("ssv2") else "on")
        assert (training.weight_decay, training.label_smoothing, training.warmup_epochs) == (0.001, 0.1, 5)
        assert (training.mixup, training.cutmix, training.betas) == (0.8, 1.0, (0.9, 0.98))


def test_the_papers_six_data_sets_have_a_file():
    assert {file.stem for file in FILES} >= {f"stan_{n}" for n in ("msrvtt", "didemo", "lsmdc", "msvd", "k400", "ssv2")}
    for name in LISTS:
        plugins.load("datasets", name)


def test_the_ladder_differs_in_one_option_a_row(checked):
    config = checked(next(file for file in FILES if file.stem == "ablation_shapes"))
    full = config.methods["stan"]
    assert len(plan_runs(config)) == 6 * 3
    for name, off in (("one_level", "multi_level"), ("no_cross_frame", "temporal"), ("no_intra_frame", "intra_frame")):
        row = config.methods[f"stan_{name}"]
        assert {key for key in row.options if row.options[key] != full.options.get(key)} == {off}
    assert all(method.training == full.training for method in config.methods.values())
