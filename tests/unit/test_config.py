"""Checks of config.yaml: a mistake is reported in one sentence with file, key, value and the nearest valid value."""

import copy
import json
import re
import subprocess
import sys

import pytest
import yaml

from kinetext.config.experiment import Config
from kinetext.config.run import fingerprint_of, read_run
from kinetext.plan import check_config, is_quick, load_config, plan_run, plan_runs
from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.questions import class_question
from repository import ROOT

SMALL = yaml.safe_load("""
backbones:
  tiny: {model: kinetext-tiny}
datasets:
  shapes:
    frames: {size_px: 64}
    novel: [gate opening, gate closing]
  mine: {module: folder, options: {root: .}, frames: {size_px: 64}}
texts:
  names: {}
  bundled: {}
methods:
  zero_shot: {}
  stan: {options: {layers: 2}, training: {epochs: 3, lr: 1.0e-4}}
  moted: {options: {visual_options: {layers: 2}}}
experiments:
  first: {datasets: [shapes], protocol: base_to_novel, backbone: tiny, methods: [zero_shot, stan], texts: [names], seeds: [0, 1]}
""")


def changed(path, value):
    """Return SMALL with the value at a dotted path replaced; None removes it."""
    config = copy.deepcopy(SMALL)
    *parents, last = path.split(".")
    section = config
    for key in parents:
        section = section.setdefault(key, {})
    if value is None:
        del section[last]
    else:
        section[last] = value
    return config


def error_message(config):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the tests compare the whole sentence
        check_config(config, "mine.yaml")
    return str(caught.value)


def test_the_shipped_configuration_is_valid():
    config = load_config(ROOT / "config.yaml")
    assert plan_runs(config)
    assert check_config(SMALL).experiments["first"].seeds == [0, 1]


MISTAKES = [
    ("experiment", {}, "experiment: unknown key; did you mean 'experiments'?"),
    ("methods.stan.options.layer", 2, "methods.stan.options.layer: unknown key; did you mean 'layers'?"),
    (
        "methods.moted.options.visual_options",
        {"layer": 2},
        "methods.moted.options.layer: unknown key; did you mean 'layers'?",
    ),
    ("methods.stan.trainin", {}, "methods.stan.trainin: unknown key; did you mean 'training'?"),
    (
        "datasets.shapes.frames.num_frame",
        4,
        "datasets.shapes.frames.num_frame: unknown key; did you mean 'num_frames'?",
    ),
    (
        "methods.stan.training.epochs",
        "many",
        "methods.stan.training.epochs: input should be a valid integer, unable to parse string as an integer, not 'many'",
    ),
    (
        "methods.stan.training",
        {"hard_negative_group": 3, "batch_size": 32},
        "methods.stan.training: hard_negative_group: batch_size 32 is not a multiple of 3",
    ),
    (
        "methods.stan.training",
        {"hard_negative_group": 2, "captions_per_video": "all"},
        "methods.stan.training: hard_negative_group: with captions_per_video: all a group would be captions of one clip; set it to one",
    ),
    (
        "confusables.rule",
        "feature",
        "confusables.rule: input should be 'features', 'text', 'declared' or 'file', not 'feature'",
    ),
    ("confusables.rule", "file", "confusables: rule is file, but `file` is not set; set it to your csv file of rivals"),
    ("confusables.file", "/nowhere/{dataset}.csv", "confusables.file: there is no file /nowhere/shapes.csv"),
    ("experiments", None, "experiments: is missing"),
    ("methods.stann", {}, "methods.stann: no module 'stann' among methods; did you mean 'stan'?"),
    ("methods.own", {"module": "stann"}, "methods.own: no module 'stann' among methods; did you mean 'stan'?"),
    ("datasets.mine.module", "foldr", "datasets.mine: no module 'foldr' among datasets; did you mean 'folder'?"),
    ("texts.own", {"module": "bundle"}, "texts.own: no module 'bundle' among texts; did you mean 'bundled'?"),
    (
        "experiments.first.methods",
        ["stam"],
        "experiments.first.methods: 'stam' is not in methods; did you mean 'stan'?",
    ),
    (
        "experiments.first.datasets",
        ["shape"],
        "experiments.first.datasets: 'shape' is not in datasets; did you mean 'shapes'?",
    ),
    ("experiments.first.texts", ["name"], "experiments.first.texts: 'name' is not in texts; did you mean 'names'?"),
    (
        "experiments.first.backbone",
        "tinny",
        "experiments.first.backbone: 'tinny' is not in backbones; did you mean 'tiny'?",
    ),
    (
        "datasets.shapes.frames.size_px",
        224,
        "experiments.first: datasets.shapes.frames.size_px is 224, but backbone tiny takes 64; remove it: the frames then follow from the backbone",
    ),
    (
        "experiments.first.methods",
        ["moted"],
        "experiments.first: moted needs motion descriptions and texts 'names' gives only names; "
        "put it in an experiment of its own with texts such as bundled or chat_api, or set as_descriptions: true",
    ),
    (
        "datasets.shapes.novel",
        None,
        "experiments.first.protocol: base_to_novel needs datasets.shapes.novel, the classes to hold out",
    ),
    (
        "datasets.mine.options.root",
        "/no/videos",
        "datasets.mine.options.root: no folder /no/videos; nearest existing parent: /",
    ),
    ("datasets.mine.options.root", None, "datasets.mine.options.root: is missing"),
    (
        "datasets.shapes.options",
        {"pairs": ["gate", "gatee"]},
        "datasets.shapes.options: no pair 'gatee'; did you mean 'gate'?",
    ),
    (
        "backbones.own",
        {"model": "ViT-B-32", "weights": "/no/weights.safetensors"},
        "backbones.own.weights: there is no file /no/weights.safetensors",
    ),
    (
        "methods.stan.options.layers",
        9,
        "experiments.first: methods.stan.options.layers is 9, but backbone tiny has 4 layers",
    ),
    (
        "backbones.own",
        {"model": "ViT-B32", "pretrained": "openai"},
        "backbones.own: open_clip has no model 'ViT-B32'; did you mean 'ViT-B-32'?",
    ),
    (
        "backbones.own",
        {"model": "RN50", "pretrained": "openai"},
        "backbones.own: open_clip's 'RN50' has a ResNet as image encoder, which is not supported; the nearest supported model is ViT-B-32",
    ),
    (
        "backbones.own",
        {"model": "ViT-B-32"},
        "backbones.own: give `pretrained` (a tag of open_clip) or `weights` (a file)",
    ),
    (
        "methods.stan.training.patience",
        2,
        "methods.stan.training: patience: early stopping needs validation, but select is last; set select: best_val",
    ),
    (
        "methods.stan.training.augment",
        {"crops": 0.5},
        "methods.stan.training.augment.crops: unknown key; did you mean 'crop'?",
    ),
    (
        "methods.stan.num_frames",
        9,
        "experiments.first: methods.stan.num_frames is 9, but datasets.shapes.frames.num_frames stores 8; store more",
    ),
    (
        "methods.stan.training.sampling",
        "segment",
        "experiments.first: methods.stan.training.sampling: segment chooses among 8 stored frames, and the method takes all; "
        "set methods.stan.num_frames to fewer, or datasets.shapes.frames.num_frames to more",
    ),
    (
        "methods.stan",
        {"num_frames": 4, "training": {"sampling": "dense", "stride": 3}},
        "experiments.first: methods.stan.training.stride: 4 frames, 3 from one to the next, do not fit into 8 stored ones",
    ),
    (
        "methods.stan.testing",
        {"clips": 2},
        "experiments.first: methods.stan.testing.clips: with num_frames 8 of 8 stored all views are the same; store more",
    ),
    (
        "methods.stan.testing",
        {"crops": 3},
        "experiments.first: methods.stan.testing.crops: 3 crops take datasets.shapes.frames.crop: whole",
    ),
    (
        "datasets.shapes.frames",
        {"size_px": 64, "crop": "whole", "encoding": "raw"},
        "datasets.shapes.frames: crop: whole frames differ in shape, which raw bytes do not record; set encoding: jpeg",
    ),
    (
        "datasets.shapes.frames",
        {"size_px": 64, "resize_mode": "squash"},
        "experiments.first: datasets.shapes.frames.resize_mode is squash, but backbone tiny takes shortest; remove it: the frames then follow from the backbone",
    ),
    (
        "datasets.shapes.frames",
        {"size_px": 64, "interpolation": "bilinear"},
        "experiments.first: datasets.shapes.frames.interpolation is bilinear, but backbone tiny takes bicubic; remove it: the frames then follow from the backbone",
    ),
    (
        "methods.stan.training",
        {"loss": "sigmoid", "label_smoothing": 0.1},
        "methods.stan.training: label_smoothing: is of the softmax, and loss is sigmoid; set one of the two",
    ),
    ("results", "a/{x}", "results: 'a/{x}' contains '{'; choose a folder without it"),
    ("results", "a<x>", "results: 'a<x>' contains '<'; choose a folder without it"),
    ("results", "a\nb", "results: 'a\\nb' contains '\\n'; choose a folder without it"),
    ("results", "~/r", "results: '~/r' begins with '-' or '~', or has a space at an end; write the whole path"),
    ("experiments.first.seeds", [1, 0, 1], "experiments.first.seeds: duplicate seed in [1, 0, 1]"),
    (
        "methods.zero_shot.training",
        {"epochs": 3},
        "experiments.first.methods: zero_shot does not train, but methods.zero_shot.training.epochs is set; remove it",
    ),
    (
        "methods.my method",
        {"module": "stan"},
        "methods.my method: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$', not 'my method'",
    ),
    (
        "report.headline",
        ["mean_class_acc"],
        "report.headline: no metric 'mean_class_acc'; did you mean 'mean_class_accuracy'?",
    ),
    (
        "report.headline",
        ["top1", "pair_accuracy:given"],
        "report.headline: 'pair_accuracy:given' names no mining rule; write pair_accuracy:RULE, RULE one of features, text, "
        "declared, file",
    ),
    (
        "texts.bundled.options",
        {"bank": "shape"},
        f"texts.bundled.options.bank: no bank 'shape' in {ROOT}/src/kinetext/texts/banks; did you mean 'shapes'?",
    ),
]


@pytest.mark.parametrize(("path", "value", "sentence"), MISTAKES, ids=[f"{m[0]}={m[1]}"[:60] for m in MISTAKES])
def test_a_mistake_is_reported_in_one_sentence_with_its_remedy(path, value, sentence):
    assert error_message(changed(path, value)) == f"mine.yaml: {sentence}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"texts": ["names"]}, "texts: spoken has captions and cannot take 'names'; take texts: [captions]"),
        (
            {"datasets": ["shapes"]},
            "texts: shapes has classes and cannot take 'captions'; take other texts, such as names",
        ),
        ({"protocol": "few_shot_2"}, "protocol: spoken has captions and no classes; take supervised"),
        (
            {"protocol": "zero_shot_from_shapes"},
            "texts: shapes has classes and cannot take 'captions'; take other texts, such as names",
        ),
    ],
)
def test_captions_and_classes_need_their_own_texts_and_protocols(changes, sentence):
    config = changed("texts.captions", {})
    config["datasets"]["spoken"] = {"module": "shapes_captions", "frames": {"size_px": 64}}
    config["experiments"] = {
        "spoken": {
            **SMALL["experiments"]["first"],
            "datasets": ["spoken"],
            "texts": ["captions"],
            "protocol": "supervised",
        }
    }
    config["experiments"]["spoken"] |= changes
    if sentence is None:
        assert len(plan_runs(check_config(config))) == 4
    else:
        assert error_message(config) == f"mine.yaml: experiments.spoken.{sentence}"


@pytest.mark.parametrize(
    ("method", "served"),
    [
        ("linear_probe", "classes"),
        ("knn", "classes"),
        ("zs_lp", "classes"),
        ("selected_descriptions", "classes"),
        ("moted", "classes"),
        ("ost", "classes and labels"),
    ],
)
def test_a_method_for_classes_is_refused_for_captions(method, served):
    config = changed("texts.captions", {})
    config["datasets"]["spoken"] = {"module": "shapes_captions", "frames": {"size_px": 64}}
    config["methods"] = {method: {}}
    experiment = {"datasets": ["spoken"], "backbone": "tiny", "methods": [method], "texts": ["captions"]}
    config["experiments"] = {"spoken": experiment}
    sentence = f"methods.{method}: datasets.spoken has captions, and {method} serves {served} only; take it out"
    assert error_message(config) == f"mine.yaml: experiments.spoken: {sentence}"


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ({"training": {"mixup": 0.8}}, "training.mixup is for clips with one class each, and {}; take it out"),
        (
            {"training": {"repeats": 2, "augment": "crop"}},
            "training.repeats is for clips with one class each, and {}; take it out",
        ),
        (
            {"testing": {"average": "probabilities"}},
            "testing.average: {}, whose scores are no probabilities; take logits",
        ),
    ],
)
def test_options_for_classes_are_refused_for_captions(method, sentence):
    config = changed("texts.captions", {})
    config["datasets"]["spoken"] = {"module": "shapes_captions", "frames": {"size_px": 64}}
    config["methods"]["mean_pool"] = method
    experiment = {"datasets": ["spoken"], "backbone": "tiny", "methods": ["mean_pool"], "texts": ["captions"]}
    config["experiments"] = {"spoken": experiment}
    expected = sentence.format("datasets.spoken has captions")
    assert error_message(config) == f"mine.yaml: experiments.spoken: methods.mean_pool.{expected}"


@pytest.mark.parametrize(
    ("method", "protocol", "sentence"),
    [
        (
            "moted",
            "base_to_novel",
            "experiments.first: moted needs a description of every class, and texts 'seen', made from training clips, have none "
            "of novel classes; take supervised or few_shot_K",
        ),
        (
            "stan",
            "zero_shot_from_shapes",
            "experiments.second: texts 'seen' are made from training clips, and zero_shot_from_shapes has none; "
            "take supervised, few_shot_K or base_to_novel",
        ),
    ],
)
@pytest.mark.parametrize("module", [None, "shuffled", "refined"])
def test_captions_of_clips_are_refused_where_classes_have_no_training_clips(method, protocol, sentence, module):
    server = {"model": "m", "base_url": "http://localhost:1"}
    texts = {"module": "captions_of_clips", "options": server}
    if module:
        texts = {"module": module, "options": {"of": texts, **(server if module == "refined" else {})}}
    config = changed("texts.seen", texts) | {"confusables": {"rule": "text"}}
    first = config["experiments"]["first"] | {"texts": ["seen"], "methods": [method]}
    config["experiments"]["first"] = first
    if protocol != "base_to_novel":
        config["datasets"]["more"] = {"module": "shapes", "frames": {"size_px": 64}}
        config["experiments"]["first"] = first | {"protocol": "supervised"}
        config["experiments"]["second"] = first | {"protocol": protocol, "datasets": ["more"]}
    assert error_message(config) == f"mine.yaml: {sentence}"


def test_a_probe_serves_base_to_novel_but_not_zero_shot():
    config = changed("methods.stan", {"module": "linear_probe"})
    assert plan_runs(check_config(config))  # base_to_novel
    config["datasets"]["more"] = {"module": "shapes", "frames": {"size_px": 64}}
    config["experiments"]["second"] = config["experiments"]["first"] | {"protocol": "supervised"}
    config["experiments"]["third"] = config["experiments"]["first"] | {
        "protocol": "zero_shot_from_shapes",
        "datasets": ["more"],
    }
    assert error_message(config) == (
        "mine.yaml: experiments.third: stan needs training clips of every class, and zero_shot_from_shapes has none; "
        "take supervised, few_shot_K or base_to_novel"
    )


@pytest.mark.parametrize("training", [{"logit_adjustment": 1.0}, {"class_sampling": "balanced"}])
def test_options_of_gradient_descent_are_refused_for_a_method_that_is_fitted(training):
    config = changed("methods.mean_pool", {"module": "linear_probe", "training": training})
    experiment = {"datasets": ["shapes"], "backbone": "tiny", "methods": ["mean_pool"], "texts": ["names"]}
    config["experiments"] = {"first": experiment}
    (option,) = training
    assert f"mean_pool is fitted to features in one go, where methods.mean_pool.training.{option} has no effect" in (
        error_message(config)
    )


def test_an_experiment_takes_one_backbone_or_several():
    config = copy.deepcopy(SMALL)
    config["experiments"]["again"] = dict(SMALL["experiments"]["first"], seeds=[1, 2])
    assert len(plan_runs(check_config(config))) == 6  # zero_shot and stan, seeds 0 to 2: both have seed 1
    config["backbones"]["other"] = {"model": "kinetext-tiny", "pretrain_steps": 5}
    config["experiments"]["again"]["backbone"] = ["other", "tiny"]
    runs = plan_runs(check_config(config))
    assert len(runs) == 10  # "other" adds two methods with two seeds each
    one, other = (runs[f"shapes/base_to_novel/{b}/stan/names/seed1"] for b in ("tiny", "other"))
    assert (one.backbone_options["pretrain_steps"], other.backbone_options["pretrain_steps"]) == (None, 5)
    assert one.fingerprint != other.fingerprint
    config["experiments"]["again"]["backbone"] = ["tiny", "othr"]
    assert error_message(config) == (
        "mine.yaml: experiments.again.backbone: 'othr' is not in backbones; did you mean 'other'?"
    )


def test_a_published_number_names_the_backbone_where_several_ran():
    config = copy.deepcopy(SMALL)
    config["backbones"]["other"] = {"model": "kinetext-tiny", "pretrain_steps": 5}
    config["experiments"]["first"]["backbone"] = ["tiny", "other"]
    number = {
        "metric": "top1",
        "value": 0.5,
        "source": "Table 1",
        "dataset": "shapes",
        "method": "stan",
        "texts": "names",
    }
    number["protocol"] = "base_to_novel"
    config["report"] = {"reference": [number]}
    assert error_message(config) == "mine.yaml: report.reference.0: add backbone, one of other, tiny"
    number["backbone"] = "other"
    check_config(config)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("methods: {stan: [}", "is not YAML; .* line 1, column 18"),
        ("- methods", "holds a list; it takes keys such as `experiments:`"),
        ("", "backbones: is missing"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_named_in_the_error(tmp_path, content, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {sentence}"):
        load_config(path)


def test_a_missing_file_is_named_in_the_error(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        load_config(tmp_path / "no.yaml")


# ---- runs


def test_every_run_of_an_experiment_is_planned():
    runs = plan_runs(check_config(SMALL))
    assert list(runs) == [f"shapes/base_to_novel/tiny/{m}/names/seed{s}" for m in ("zero_shot", "stan") for s in (0, 1)]
    stan = runs["shapes/base_to_novel/tiny/stan/names/seed1"]
    assert (stan.seed, stan.training.epochs, stan.method_options) == (1, 3, {"layers": 2})
    assert stan.protocol_options.novel == ["gate opening", "gate closing"]


def test_run_yaml_is_read_back_equal(tmp_path):
    for name, spec in plan_runs(check_config(SMALL)).items():
        plan_run(spec.model_dump_json(), tmp_path / "run.yaml")
        assert read_run(tmp_path / "run.yaml") == spec, name
    with pytest.raises(ValueError, match="is missing; run `snakemake` first"):
        read_run(tmp_path / "other.yaml")


def fingerprints(config):
    return [spec.fingerprint for spec in plan_runs(check_config(config)).values()]


def test_a_fingerprint_depends_on_the_options_of_a_run_not_on_their_notation():
    before = fingerprints(SMALL)
    assert len(set(before)) == 4
    assert fingerprints(json.loads(json.dumps(SMALL, sort_keys=True))) == before
    assert fingerprints(changed("report", {"title": "other"})) == before
    after = fingerprints(changed("methods.stan.training.lr", 2e-4))
    assert [a == b for a, b in zip(after, before, strict=True)] == [
        True,
        True,
        False,
        False,
    ]  # those of zero_shot are unchanged
    after = fingerprints(changed("datasets.shapes.frames.num_frames", 4))
    assert not set(after) & set(before)


OPERATIONAL = {
    **{"api_key_env": "OTHER_KEY", "max_in_flight": 8, "requests_per_minute": 60, "tokens_per_minute": 10_000},
    **{"timeout_s": 60, "retries": 0, "max_usd": 5, "price_in": 1, "price_out": 2},
    **{"batch": True, "batch_wait_s": 60, "batch_poll_s": 1},
}


def described(module, options):
    """SMALL with a text set of this module and its options, which the experiment takes."""
    config = changed("texts.described", {"module": module, "options": options})
    config["experiments"]["first"]["texts"] = ["described"]
    return config


def asked_by(module, options):
    """Options of the module with `options` for the provider that asks the model."""
    return options if module == "chat_api" else {"of": {"module": "chat_api", "options": options}}


@pytest.mark.parametrize("module", ["chat_api", "shuffled", "refined"])
def test_limits_and_prices_of_a_text_set_make_no_other_run(module):
    asked = {"model": "gpt-4o", "temperature": 0.5, "sentences": 2}
    before = plan_runs(check_config(described(module, asked_by(module, asked))))
    # what existing results have in their run.yaml: the options as they were configured
    for run in before.values():
        assert run.text_options == {"module": module, "options": asked_by(module, asked)}
        assert run.fingerprint == fingerprint_of(run.model_dump(mode="json"))
    assert plan_runs(check_config(described(module, asked_by(module, asked | OPERATIONAL)))) == before
    if module == "refined":
        assert plan_runs(check_config(described(module, asked_by(module, asked) | OPERATIONAL))) == before
    for option in ({"temperature": 0.0}, {"max_repairs": 2}, {"structured": False}):
        after = fingerprints(described(module, asked_by(module, asked | option)))
        assert not set(after) & {run.fingerprint for run in before.values()}, option


def test_a_request_depends_on_no_operational_option():
    assert set(OPERATIONAL) == ChatOptions.operational
    requests = [class_question("rising", ["falling"], ChatOptions(**options)).key for options in ({}, OPERATIONAL)]
    assert requests[0] == requests[1]
    assert ChatOptions().model_copy(update=OPERATIONAL) == ChatOptions(**OPERATIONAL)


def test_planning_a_run_imports_no_torch():
    """There is one plan_run job per run; importing torch would take seconds instead of a third of a second."""
    code = "import sys, kinetext.cli, kinetext.plan; print([m for m in ('torch', 'mlflow', 'open_clip') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_runs_without_gradient_descent_are_measured_first():
    config = copy.deepcopy(SMALL)
    config["methods"] |= {"zero_shot": {}, "linear_probe": {}}
    supervised = {"protocol": "supervised", "methods": ["zero_shot", "linear_probe", "stan"], "seeds": [0]}
    config["experiments"] = {"first": config["experiments"]["first"] | supervised}
    quick = {run.method: is_quick(run) for run in plan_runs(check_config(config)).values()}
    assert quick == {"zero_shot": True, "linear_probe": True, "stan": False}


def test_a_zero_shot_run_uses_the_checkpoint_of_the_trained_run():
    config = copy.deepcopy(SMALL)
    config["backbones"]["other"] = {"model": "kinetext-tiny", "pretrain_steps": 5}
    config["datasets"]["more"] = {"module": "shapes", "frames": {"size_px": 64}}
    config["experiments"]["first"]["protocol"] = "supervised"
    tested = {"protocol": "zero_shot_from_shapes", "datasets": ["more"]}
    config["experiments"]["second"] = config["experiments"]["first"] | tested
    runs = plan_runs(check_config(config))
    run = runs["more/zero_shot_from_shapes/tiny/stan/names/seed1"]
    assert run.trained_on == "shapes/supervised/tiny/stan/names/seed1"
    assert run.trained_fingerprint == runs[run.trained_on].fingerprint
    config["experiments"]["second"]["backbone"] = "other"
    runs = plan_runs(check_config(config))
    assert (
        runs["more/zero_shot_from_shapes/other/stan/names/seed1"].trained_on
        == "shapes/supervised/other/stan/names/seed1"
    )


# ---- the schema


def test_the_schema_is_up_to_date():
    schema = json.loads((ROOT / "workflow/config.schema.json").read_text())
    assert schema == Config.model_json_schema(), "run `kinetext export-schema`"


def test_every_option_is_described_in_the_schema():
    schema = json.loads((ROOT / "workflow/config.schema.json").read_text())
    models = {"Config": schema, **schema["$defs"]}
    assert len(models) >= 12
    for name, model in models.items():
        assert model["description"], name
        assert not [key for key, option in model["properties"].items() if not option.get("description")], name
    assert "epochs" in models["TrainingOptions"]["properties"]


def test_an_added_metric_is_checked():
    config = {**SMALL, "metrics": {"top3": {"module": "top_k", "options": {"k": 3}}}}
    assert check_config(config).metrics["top3"].options == {"k": 3}
    wrong = {
        "metrics.top2: no module 'top2' among metrics": {"top2": {}},
        "metrics.top3: k: input should be greater than or equal to 1, not 0": {
            "top3": {"module": "top_k", "options": {"k": 0}}
        },
        "metrics.top1: is a built-in metric": {"top1": {"module": "top_k"}},
        "metrics.ece5: metrics: there is no file .*absent.py": {"ece5": {"module": "absent.py"}},
    }
    for message, metrics in wrong.items():
        with pytest.raises(ValueError, match=f"config.yaml: {message}"):
            check_config({**SMALL, "metrics": metrics})


def test_a_bank_may_be_named_by_its_data_set():
    """A zero-shot study trains with one bank and tests with another."""
    config, options = copy.deepcopy(SMALL), {"bank": "{dataset}"}
    config["texts"]["described"] = {"module": "bundled", "options": options}
    config["texts"]["shuffled"] = {"options": {"of": {"module": "bundled", "options": options}}}
    config["datasets"]["hmdb51"] = {"module": "shapes", "frames": {"size_px": 64}}
    config["experiments"]["first"] |= {"protocol": "supervised", "texts": ["described", "shuffled"]}
    tested = {"protocol": "zero_shot_from_shapes", "datasets": ["hmdb51"]}
    config["experiments"]["second"] = config["experiments"]["first"] | tested
    runs = plan_runs(check_config(config))
    banks = {run.dataset: run.text_options["options"]["bank"] for run in runs.values() if run.texts == "described"}
    assert banks == {"hmdb51": "hmdb51", "shapes": "shapes"}
    of = {run.dataset: run.text_options["options"]["of"]["options"] for run in runs.values() if run.texts == "shuffled"}
    assert of == {"hmdb51": {"bank": "hmdb51"}, "shapes": {"bank": "shapes"}}
    config["datasets"]["hmdb52"] = config["datasets"].pop("hmdb51")
    config["experiments"]["second"]["datasets"] = ["hmdb52"]
    with pytest.raises(ValueError, match=r"texts\.described\.options\.bank: no bank 'hmdb52' .*hmdb51"):
        check_config(config)
