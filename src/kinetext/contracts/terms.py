"""Contract checks of loss terms, which are added to the method mean_pool on kinetext-tiny with random weights."""

import torch

from kinetext.contracts import Case, require
from kinetext.contracts.inputs import loss_inputs, noise_clips, perturb, random_tiny, require_same_parameters
from kinetext.methods.base import Method, build_method
from kinetext.training.loss_terms.base import LossTerm, TermInputs


def attributes_have_known_values(case: Case) -> None:
    """Check that `tasks` has known values."""
    tasks = set(case.cls.tasks)
    require(bool(tasks) and tasks <= {"classes", "captions"}, f"tasks is {case.cls.tasks!r}; take classes, captions")


def building_leaves_the_method_alone(case: Case) -> None:
    """Check that building the term neither changes the method's parameters nor registers them with the term."""
    method = build_method(random_tiny(), "mean_pool", {}).eval()
    before = {name: p.clone() for name, p in method.named_parameters()}
    term = case.cls(method, case.config)
    for name, parameter in method.named_parameters():
        require(name in before, f"the method has a new parameter {name}; register it with the term")
        require(torch.equal(parameter, before[name]), f"{name} of the method is changed")
    shared = {id(p) for p in method.parameters()} & {id(p) for p in term.parameters()}
    require(not shared, "the term registers parameters of the method as its own; keep the method in a tuple")


def loss_is_a_finite_scalar(case: Case) -> None:
    """Check that the loss is a finite scalar and the same twice, both with frames and with cached tokens."""
    method, term = _build(case)
    for task in case.cls.tasks:
        for cached in (False, True):
            loss = term.loss(_inputs(method, task, cached))
            require(loss.ndim == 0, f"the loss of {task} has shape {tuple(loss.shape)}; take the mean over the clips")
            require(bool(loss.isfinite()), f"the loss of {task} is {loss.item()}")
            same = torch.equal(loss, term.loss(_inputs(method, task, cached)))
            require(same, f"the second time the loss of {task} is different")


def gradients_reach_the_method_and_the_term(case: Case) -> None:
    """Check that the method and every trainable parameter of the term get a gradient."""
    for task in case.cls.tasks:
        method, term = _build(case)
        term.loss(_inputs(method, task, cached=False)).backward()
        reached = any(p.grad is not None and bool(p.grad.any()) for p in method.parameters())
        require(reached, f"no parameter of the method gets a gradient from {task}: the term has no effect")
        for name, parameter in term.named_parameters():
            if parameter.requires_grad:
                has_gradient = parameter.grad is not None and bool(parameter.grad.any())
                require(has_gradient, f"{name} of the term gets no gradient from {task}")


def the_seed_decides_new_parameters(case: Case) -> None:
    """Check that building the term twice with the same seed gives the same parameters."""
    require_same_parameters(_build(case)[1], _build(case)[1])


CHECKS = (
    attributes_have_known_values,
    building_leaves_the_method_alone,
    loss_is_a_finite_scalar,
    gradients_reach_the_method_and_the_term,
    the_seed_decides_new_parameters,
)


def _build(case: Case) -> tuple[Method, LossTerm]:
    """Return the method mean_pool and the term, with noise added to every trainable parameter of both."""
    method = build_method(random_tiny(), "mean_pool", {}).eval()
    term: LossTerm = case.cls(method, case.config).eval()
    perturb(method)
    perturb(term)
    return method, term


def _inputs(method: Method, task: str, cached: bool) -> TermInputs:
    """Return the inputs of a loss term for a batch. With cached tokens there are no frames."""
    losses, table = loss_inputs(method, task)
    tokens = method.image_tokens(noise_clips())
    return TermInputs(None if cached else noise_clips(), tokens, table, losses)
