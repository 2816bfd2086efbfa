"""Contract checks of what a method states about itself: its attributes are filled, and they are true.

B clips, T frames, K classes.
"""

import torch

from kinetext.config.method import MethodOptions
from kinetext.config.tuning import RangeOptions
from kinetext.contracts import Case, require
from kinetext.contracts.inputs import (
    TOLERANCE,
    T,
    TinyWithoutText,
    class_table,
    noise_clips,
    perturbed_method,
    random_tiny,
    require_same,
    score,
    untrained_method,
)
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER
from kinetext.methods.frames import FrameMethod
from kinetext.training.design import configured_value


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


def options_are_accepted(case: Case) -> None:
    """Check that the method accepts the options, also with an image encoder of 4 layers."""
    config = case.config
    case.cls.check(config)
    case.cls.check_depth(config, 4, "kinetext-tiny")
    method = untrained_method(case)
    levels = tuple(method.levels)
    require(bool(levels) and set(levels) <= set(range(5)), f"levels is {levels}; layers are 1 to 4, 0 their input")
    require(4 in levels, f"levels is {levels}; the last layer, 4, must be among them")


def sees_order_is_true(case: Case) -> None:
    """Check that reversing the frames changes the scores if and only if sees_order is True."""
    method = perturbed_method(case)
    table = class_table(method.backbone)
    change = float((score(method, noise_clips().flip(1), table) - score(method, noise_clips(), table)).abs().max())
    agrees = change > 1e-3 if method.sees_order else change < TOLERANCE
    require(agrees, f"sees_order is {method.sees_order}, and reversed frames change the scores by {change:.2g}")


def cannot_see_is_true(case: Case) -> None:
    """Check that cannot_see names order if sees_order is False, and IGNORES_ORDER only if shuffling changes no score."""
    method, text = perturbed_method(case), case.cls.cannot_see
    require(method.sees_order or "order" in text, f"sees_order is False, and cannot_see does not name order: {text!r}")
    if IGNORES_ORDER in text:
        table, shuffled_T = class_table(method.backbone), torch.randperm(T, generator=torch.Generator().manual_seed(1))
        expected_BK = score(method, noise_clips(), table)
        require_same(score(method, noise_clips()[:, shuffled_T], table), expected_BK, "cannot_see, shuffled frames")


def needs_text_is_true(case: Case) -> None:
    """Check that the method works on a backbone without a text encoder if and only if needs_text is False."""
    try:
        method = perturbed_method(case, random_tiny(family=TinyWithoutText))
        score(method, noise_clips(), class_table(method.backbone))
        needs_text = False
    except Exception as error:  # of any kind: it is the plug-in's
        needs_text = True
        require(case.cls.needs_text, f"needs_text is False, and without a text encoder it fails: {error}")
    require(
        needs_text == case.cls.needs_text, "needs_text is True, and it scores without a text encoder; set it to False"
    )


def needs_descriptions_is_true(case: Case) -> None:
    """Check that the method accepts names alone, or raises ValueError for them if needs_descriptions is True."""
    method = perturbed_method(case)
    names = class_table(method.backbone, descriptions=False)
    try:
        score(method, noise_clips(), names)
        accepted = True
    except ValueError as error:
        accepted = False
        require(case.cls.needs_descriptions, f"needs_descriptions is False, and names alone are refused: {error}")
    require(accepted != case.cls.needs_descriptions, "needs_descriptions is True, and names alone are accepted")
