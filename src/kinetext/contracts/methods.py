"""Contract checks of methods, on kinetext-tiny with random weights, 3 clips of noise and 4 classes.

B clips, T frames, N tokens, K classes.
"""

from functools import wraps
from typing import Any

import torch
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.backbones.text_table import TextTable
from kinetext.config.method import MethodOptions
from kinetext.config.training import TrainingOptions
from kinetext.config.tuning import RangeOptions
from kinetext.contracts import Case, Check, require
from kinetext.contracts.inputs import (
    LABELS,
    B,
    K,
    T,
    TinyWithoutText,
    class_table,
    loss_inputs,
    noise_clips,
    perturb,
    random_tiny,
    require_same_parameters,
)
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, Method, build_method
from kinetext.methods.checkpoint import load_trained, save_trained
from kinetext.methods.frames import FrameMethod
from kinetext.training.design import configured_value
from kinetext.training.setup import add_lora, choose_trained

TOLERANCE = 1e-4  # float32; scores are up to 15


def attributes_have_known_values(case: Case) -> None:
    """Check that the class attributes have known values, and that the search space names options."""
    for name in ("trains", "fits", "needs_text", "needs_descriptions", "needs_training_clips"):
        require(isinstance(getattr(case.cls, name), bool), f"{name} is {getattr(case.cls, name)!r}; take True or False")
    for name, fields in case.cls.search_space.items():
        RangeOptions(**fields)
        configured_value(MethodOptions(options=case.options), case.config, name)
    tasks = set(case.cls.tasks)
    require(bool(tasks) and tasks <= set(ALL_TASKS), f"tasks is {case.cls.tasks!r}; take {', '.join(ALL_TASKS)}")


def the_method_is_documented(case: Case) -> None:
    """Check that the attributes for the page of methods (docs/methods.md) are filled, each with one line."""
    names = ["paper", "mechanism", "equals_before_training", "cannot_see"]
    for name in names + ["fitted_parameters"] * case.cls.fits:
        text = getattr(case.cls, name)
        require(isinstance(text, str) and text.strip() != "", f"{name} is {text!r}; write one line of text")
    lines = [getattr(case.cls, name) for name in (*names, "what_trains", "fitted_parameters")] + [*case.cls.published]
    for text in lines:
        require(isinstance(text, str) and "\n" not in text, f"{text!r} is not one line of text")


def options_are_accepted(case: Case) -> None:
    """Check that the method accepts the options, also with an image encoder of 4 layers."""
    config = case.config
    case.cls.check(config)
    case.cls.check_depth(config, 4, "kinetext-tiny")
    method = _build(case)
    levels = tuple(method.levels)
    require(bool(levels) and set(levels) <= set(range(5)), f"levels is {levels}; layers are 1 to 4, 0 their input")
    require(4 in levels, f"levels is {levels}; the last layer, 4, must be among them")


def scores_are_finite(case: Case) -> None:
    """Check that the scores [B, K] are finite, that they differ, and that a second call returns the same scores."""
    method = _trained_a_little(case)
    table = class_table(method.backbone)
    scores_BK = _score(method, noise_clips(), table)
    require(tuple(scores_BK.shape) == (B, K), f"score has shape {tuple(scores_BK.shape)}, not {(B, K)}")
    require(bool(scores_BK.isfinite().all()), "some scores are not finite")
    require(float(scores_BK.std()) > 1e-3, "all scores are alike")
    require(torch.equal(scores_BK, _score(method, noise_clips(), table)), "the second time the scores are different")


def any_number_of_frames_is_scored(case: Case) -> None:
    """Check that clips of 1, 3 and 16 frames get finite scores."""
    method = _trained_a_little(case)
    for num_frames in (1, 3, 16):
        scores_BK = _score(method, noise_clips(num_frames), class_table(method.backbone))
        require(bool(scores_BK.isfinite().all()), f"some scores of {num_frames} frames are not finite")


def clips_are_scored_alone(case: Case) -> None:
    """Check that a clip's scores do not depend on the other clips."""
    method = _trained_a_little(case)
    table, frames = class_table(method.backbone), noise_clips()
    scores_BK = _score(method, frames, table)
    for b in range(B):
        _require_same(_score(method, frames[b : b + 1], table), scores_BK[b : b + 1], f"clip {b} alone")


def classes_are_scored_alone(case: Case) -> None:
    """Check that a class's scores depend neither on other classes nor on their order, unless the method is fitted."""
    if case.cls.fits:
        return
    method = _trained_a_little(case)
    scores_BK = _score(method, noise_clips(), class_table(method.backbone))
    order = [3, 1, 0, 2]
    turned = class_table(method.backbone, tuple(LABELS[k] for k in order))
    _require_same(_score(method, noise_clips(), turned), scores_BK[:, order], "classes in another order")
    for k, label in enumerate(LABELS):
        _require_same(
            _score(method, noise_clips(), class_table(method.backbone, (label,))), scores_BK[:, [k]], f"'{label}' alone"
        )


def a_video_is_its_encoded_tokens(case: Case) -> None:
    """Check that encode_video equals encode_tokens of image_tokens, and that the tokens have the declared shapes."""
    method = _trained_a_little(case)
    with torch.inference_mode():
        tokens = method.image_tokens(noise_clips())
        require(
            set(tokens) == set(method.levels), f"image_tokens has layers {sorted(tokens)}, levels is {method.levels}"
        )
        down, across = method.backbone.grid
        num_tokens = method.backbone.prefix_tokens + down * across if method.patches else 1
        shape = (B, T, num_tokens, method.backbone.width)
        for level, tokens_BTNV in tokens.items():
            actual = tuple(tokens_BTNV.shape)
            require(actual == shape, f"tokens of layer {level} have shape {actual}, not {shape}")
        _require_same(method.encode_video(noise_clips()), method.encode_tokens(tokens), "encode_video")


def frames_are_encoded_alone(case: Case) -> None:
    """Check that the tokens of a frame do not depend on other frames, unless the method works inside the encoder."""
    method = _trained_a_little(case)
    if method.inside:
        return
    with torch.inference_mode():
        tokens, turned = method.image_tokens(noise_clips()), method.image_tokens(noise_clips().flip(1))
    for level in tokens:
        _require_same(turned[level], tokens[level].flip(1), f"layer {level} of reversed frames")


def bytes_are_normalised(case: Case) -> None:
    """Check that uint8 frames give the same features as normalised ones."""
    method = _trained_a_little(case)
    size = method.backbone.image_size_px
    frames_BTCHW = torch.randint(
        256, (1, 2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )
    with torch.inference_mode():
        normalised = method.encode_video(method.backbone.normalize(frames_BTCHW))
        _require_same(method.encode_video(frames_BTCHW), normalised, "encode_video")


def sees_order_is_true(case: Case) -> None:
    """Check that reversing the frames changes the scores if and only if sees_order is True."""
    method = _trained_a_little(case)
    table = class_table(method.backbone)
    change = float((_score(method, noise_clips().flip(1), table) - _score(method, noise_clips(), table)).abs().max())
    agrees = change > 1e-3 if method.sees_order else change < TOLERANCE
    require(agrees, f"sees_order is {method.sees_order}, and reversed frames change the scores by {change:.2g}")


def cannot_see_is_true(case: Case) -> None:
    """Check that cannot_see names order if sees_order is False, and IGNORES_ORDER only if shuffling changes no score."""
    method, text = _trained_a_little(case), case.cls.cannot_see
    require(method.sees_order or "order" in text, f"sees_order is False, and cannot_see does not name order: {text!r}")
    if IGNORES_ORDER in text:
        table, shuffled_T = class_table(method.backbone), torch.randperm(T, generator=torch.Generator().manual_seed(1))
        expected_BK = _score(method, noise_clips(), table)
        _require_same(_score(method, noise_clips()[:, shuffled_T], table), expected_BK, "cannot_see, shuffled frames")


def needs_text_is_true(case: Case) -> None:
    """Check that the method works on a backbone without a text encoder if and only if needs_text is False."""
    try:
        method = _trained_a_little(case, random_tiny(family=TinyWithoutText))
        _score(method, noise_clips(), class_table(method.backbone))
        needs_text = False
    except Exception as error:  # of any kind: it is the plug-in's
        needs_text = True
        require(case.cls.needs_text, f"needs_text is False, and without a text encoder it fails: {error}")
    require(
        needs_text == case.cls.needs_text, "needs_text is True, and it scores without a text encoder; set it to False"
    )


def needs_descriptions_is_true(case: Case) -> None:
    """Check that the method accepts names alone, or raises ValueError for them if needs_descriptions is True."""
    method = _trained_a_little(case)
    names = class_table(method.backbone, descriptions=False)
    try:
        _score(method, noise_clips(), names)
        accepted = True
    except ValueError as error:
        accepted = False
        require(case.cls.needs_descriptions, f"needs_descriptions is False, and names alone are refused: {error}")
    require(accepted != case.cls.needs_descriptions, "needs_descriptions is True, and names alone are accepted")


def losses_are_named(case: Case) -> None:
    """Check that for every task each loss is a finite scalar with a name."""
    method = _trained_a_little(case)
    for task in case.cls.tasks if case.cls.trains else ():
        losses = method.losses(loss_inputs(method, task)[0])
        require(isinstance(losses, dict) and bool(losses), "losses returns no dictionary of losses by name")
        for name, loss in losses.items():
            require(isinstance(name, str), f"a loss of {task} has the name {name!r}")
            require(loss.ndim == 0, f"loss {name} of {task} has shape {tuple(loss.shape)}; take its mean")
            require(bool(loss.isfinite()), f"loss {name} of {task} is {loss.item()}")


def whatever_trains_gets_a_gradient(case: Case) -> None:
    """Check that trainable parameters, and only they, get a gradient, with encoders trained, with LoRA and frozen."""
    if not case.cls.trains or case.cls.fits:
        return
    for encoder in ("trained", "lora", "frozen"):
        method, training = _trained_a_little(case), TrainingOptions(image_encoder=encoder, text_encoder=encoder)
        add_lora(method, training, torch.device("cpu"))
        choose_trained(method, training)
        if encoder == "lora":
            perturb(method)  # half of the matrices start at zero, and then the others have no gradient
        total: Any = sum(sum(method.losses(loss_inputs(method, task)[0]).values()) for task in case.cls.tasks)
        total.backward()
        for name, parameter in method.named_parameters():
            has_gradient = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
            if parameter.requires_grad:
                require(has_gradient, f"{name} gets no gradient with {encoder} encoders")
            else:
                require(not has_gradient, f"{name} is frozen and gets a gradient")
        for name, parameter in method.new_parameters().items():
            require(parameter.requires_grad, f"{name}, which the method adds, does not train")


def a_checkpoint_restores_the_scores(case: Case) -> None:
    """Check that loading a checkpoint into a method with other weights gives the scores of the saved method."""
    if not case.cls.trains:
        return
    options = TrainingOptions(image_encoder="trained", text_encoder="trained")
    method, path = _trained_a_little(case), case.folder / "checkpoint.safetensors"
    choose_trained(method, options)
    save_trained(method, path, {})
    other = _build(case, seed=1)
    with torch.no_grad():  # the backbone's folder has what does not train
        for parameter, source in zip(other.parameters(), method.parameters(), strict=True):
            if not source.requires_grad:
                parameter.copy_(source)
    load_trained(other, path)
    _require_same(
        _score(other, noise_clips(), class_table(other.backbone)),
        _score(method, noise_clips(), class_table(method.backbone)),
        "the scores",
    )


def the_seed_decides_new_parameters(case: Case) -> None:
    """Check that building the method twice with the same seed gives the same parameters."""
    require_same_parameters(_build(case), _build(case))


def frames_need_no_backbone(case: Case) -> None:
    """Check that a method that reads frames is built without a backbone, and trains nothing."""
    require(case.cls.reads in ("tokens", "frames"), f"reads is {case.cls.reads!r}; take tokens or frames")
    if case.cls.reads == "tokens":
        return
    require(issubclass(case.cls, FrameMethod), "reads is frames, and the class does not extend FrameMethod")
    require(not case.cls.trains and not case.cls.needs_text, "reads is frames; set trains and needs_text to False")
    method = case.cls(None, case.config)
    require(not list(method.parameters()), "it reads frames and has parameters, which nothing trains or stores")
    require(method.at_once >= 1, f"at_once is {method.at_once}; take 1 or more")
    unknown = set(method.frame_orders) - set(FRAME_ORDERS)
    require(
        "ordered" in method.frame_orders and not unknown, f"frame_orders is {method.frame_orders}; take FRAME_ORDERS"
    )


def _of_tokens(check: Check) -> Check:
    """Return a check that only methods with a backbone need to pass."""

    @wraps(check)
    def checked(case: Case) -> None:
        if case.cls.reads == "tokens":
            check(case)

    return checked


CHECKS = (
    attributes_have_known_values,
    the_method_is_documented,
    frames_need_no_backbone,
    *map(
        _of_tokens,
        (
            options_are_accepted,
            scores_are_finite,
            any_number_of_frames_is_scored,
            clips_are_scored_alone,
            classes_are_scored_alone,
            a_video_is_its_encoded_tokens,
            frames_are_encoded_alone,
            bytes_are_normalised,
            sees_order_is_true,
            cannot_see_is_true,
            needs_text_is_true,
            needs_descriptions_is_true,
            losses_are_named,
            whatever_trains_gets_a_gradient,
            a_checkpoint_restores_the_scores,
            the_seed_decides_new_parameters,
        ),
    ),
)


def _build(case: Case, seed: int = 0) -> Method:
    """Return the method on kinetext-tiny, with all weights drawn from the seed."""
    return build_method(random_tiny(seed), case.module, case.options).eval()


def _trained_a_little(case: Case, backbone: Backbone | None = None) -> Method:
    """Return the method with noise added to every trainable parameter. A method with `fits` is fitted to noise.

    `backbone` is kinetext-tiny by default.
    """
    method = build_method(backbone, case.module, case.options).eval() if backbone else _build(case)
    perturb(method)
    if method.fits:
        with torch.no_grad():
            frames_NTD = torch.cat([method.frame_features(method.image_tokens(noise_clips())) for _ in range(3)])
            target_N = torch.arange(len(frames_NTD)) % K
            method.fit(frames_NTD, target_N, method.encode_texts(class_table(method.backbone)))
    return method


def _score(method: Method, frames_BTCHW: Tensor, table: TextTable) -> Tensor:
    with torch.inference_mode():
        return method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))


def _require_same(actual: Any, expected: Any, what: str) -> None:
    """Raise ContractError, beginning with `what`, unless two tensors or tuples of tensors are equal up to TOLERANCE."""
    try:
        torch.testing.assert_close(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)
    except AssertionError as error:
        require(False, f"{what}: {' '.join(str(error).split())}")
