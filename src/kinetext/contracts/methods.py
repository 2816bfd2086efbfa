"""Contract checks of methods, on kinetext-tiny with random weights, 3 clips of noise and 4 classes.

Checks of what a method states about itself are in method_statements.py. B clips, T frames, N tokens, K classes.
"""

from functools import wraps
from typing import Any

import torch

from kinetext.config.training import TrainingOptions
from kinetext.contracts import Case, Check, require
from kinetext.contracts.inputs import (
    LABELS,
    B,
    K,
    T,
    class_table,
    loss_inputs,
    noise_clips,
    perturb,
    perturbed_method,
    require_same,
    require_same_parameters,
    score,
    untrained_method,
)
from kinetext.contracts.method_statements import (
    attributes_have_known_values,
    cannot_see_is_true,
    frames_need_no_backbone,
    needs_descriptions_is_true,
    needs_text_is_true,
    options_are_accepted,
    sees_order_is_true,
    the_method_is_documented,
)
from kinetext.methods.checkpoint import load_trained, save_trained
from kinetext.training.setup import add_lora, choose_trained


def scores_are_finite(case: Case) -> None:
    """Check that the scores [B, K] are finite, that they differ, and that a second call returns the same scores."""
    method = perturbed_method(case)
    table = class_table(method.backbone)
    scores_BK = score(method, noise_clips(), table)
    require(tuple(scores_BK.shape) == (B, K), f"score has shape {tuple(scores_BK.shape)}, not {(B, K)}")
    require(bool(scores_BK.isfinite().all()), "some scores are not finite")
    require(float(scores_BK.std()) > 1e-3, "all scores are alike")
    require(torch.equal(scores_BK, score(method, noise_clips(), table)), "the second time the scores are different")


def any_number_of_frames_is_scored(case: Case) -> None:
    """Check that clips of 1, 3 and 16 frames get finite scores."""
    method = perturbed_method(case)
    for num_frames in (1, 3, 16):
        scores_BK = score(method, noise_clips(num_frames), class_table(method.backbone))
        require(bool(scores_BK.isfinite().all()), f"some scores of {num_frames} frames are not finite")


def clips_are_scored_alone(case: Case) -> None:
    """Check that a clip's scores do not depend on the other clips."""
    method = perturbed_method(case)
    table, frames = class_table(method.backbone), noise_clips()
    scores_BK = score(method, frames, table)
    for b in range(B):
        require_same(score(method, frames[b : b + 1], table), scores_BK[b : b + 1], f"clip {b} alone")


def classes_are_scored_alone(case: Case) -> None:
    """Check that a class's scores depend neither on other classes nor on their order, unless the method is fitted."""
    if case.cls.fits:
        return
    method = perturbed_method(case)
    scores_BK = score(method, noise_clips(), class_table(method.backbone))
    order = [3, 1, 0, 2]
    turned = class_table(method.backbone, tuple(LABELS[k] for k in order))
    require_same(score(method, noise_clips(), turned), scores_BK[:, order], "classes in another order")
    for k, label in enumerate(LABELS):
        require_same(
            score(method, noise_clips(), class_table(method.backbone, (label,))), scores_BK[:, [k]], f"'{label}' alone"
        )


def a_video_is_its_encoded_tokens(case: Case) -> None:
    """Check that encode_video equals encode_tokens of image_tokens, and that the tokens have the declared shapes."""
    method = perturbed_method(case)
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
        require_same(method.encode_video(noise_clips()), method.encode_tokens(tokens), "encode_video")


def frames_are_encoded_alone(case: Case) -> None:
    """Check that the tokens of a frame do not depend on other frames, unless the method works inside the encoder."""
    method = perturbed_method(case)
    if method.inside:
        return
    with torch.inference_mode():
        tokens, turned = method.image_tokens(noise_clips()), method.image_tokens(noise_clips().flip(1))
    for level in tokens:
        require_same(turned[level], tokens[level].flip(1), f"layer {level} of reversed frames")


def bytes_are_normalised(case: Case) -> None:
    """Check that uint8 frames give the same features as normalised ones."""
    method = perturbed_method(case)
    size = method.backbone.image_size_px
    frames_BTCHW = torch.randint(
        256, (1, 2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )
    with torch.inference_mode():
        normalised = method.encode_video(method.backbone.normalize(frames_BTCHW))
        require_same(method.encode_video(frames_BTCHW), normalised, "encode_video")


def losses_are_named(case: Case) -> None:
    """Check that for every task each loss is a finite scalar with a name."""
    method = perturbed_method(case)
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
        method, training = perturbed_method(case), TrainingOptions(image_encoder=encoder, text_encoder=encoder)
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
    method, path = perturbed_method(case), case.folder / "checkpoint.safetensors"
    choose_trained(method, options)
    save_trained(method, path, {})
    other = untrained_method(case, seed=1)
    with torch.no_grad():  # the backbone's folder has what does not train
        for parameter, source in zip(other.parameters(), method.parameters(), strict=True):
            if not source.requires_grad:
                parameter.copy_(source)
    load_trained(other, path)
    require_same(
        score(other, noise_clips(), class_table(other.backbone)),
        score(method, noise_clips(), class_table(method.backbone)),
        "the scores",
    )


def the_seed_decides_new_parameters(case: Case) -> None:
    """Check that building the method twice with the same seed gives the same parameters."""
    require_same_parameters(untrained_method(case), untrained_method(case))


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
