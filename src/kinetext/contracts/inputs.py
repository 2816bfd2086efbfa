"""Inputs and helpers for the checks of methods and loss terms: kinetext-tiny with random weights, 3 clips of noise, and 4 classes.

B clips, T frames, K classes.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kinetext.backbones.base import Backbone, TextTokens
from kinetext.backbones.text_table import TextTable, tabulate_texts
from kinetext.backbones.tiny import Tiny
from kinetext.contracts import Case, require
from kinetext.methods.base import LossInputs, Method, build_method
from kinetext.texts.positions import END, START

LABELS = ("rising", "falling", "growing", "gate opening")
B, T, K = 3, 5, len(LABELS)
TARGET_B = torch.tensor([0, 1, 3])
LABELS_BK = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
TOLERANCE = 1e-4  # float32; scores are up to 15
MOST_NOISE = 2**17  # numbers drawn for one parameter
RIVALS_KK = torch.eye(K, dtype=torch.bool) | torch.eye(K, dtype=torch.bool)[[1, 0, 3, 2]]


class TinyWithoutText(Tiny):
    """kinetext-tiny as a backbone without a text encoder; using the text encoder raises NotImplementedError."""

    has_text = False

    def tokenize(self, texts: list[str]) -> TextTokens:
        raise NotImplementedError("this backbone has no text encoder")

    def encode_text(self, tokens: TextTokens, prompts: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("this backbone has no text encoder")

    def text_positions(self) -> Tensor:
        raise NotImplementedError("this backbone has no text encoder")


def random_tiny(seed: int = 0, family: type[Tiny] = Tiny) -> Backbone:
    """Return a new kinetext-tiny with weights drawn from the seed.

    torch's generator is left as drawing the weights leaves it. They are drawn once and copied, because drawing takes
    longer than most checks.
    """
    drawn, random_state = _drawn_tiny(seed, family)  # type: ignore[arg-type]  # a class is hashable
    backbone = deepcopy(drawn)
    backbone.mark_pretrained()  # copies of parameters have no marks
    torch.set_rng_state(random_state)
    return backbone


@cache
def _drawn_tiny(seed: int, family: type[Tiny]) -> tuple[Backbone, Tensor]:
    """Return (kinetext-tiny with weights drawn from the seed, the state of torch's generator afterwards)."""
    torch.manual_seed(seed)
    return family().float().eval(), torch.get_rng_state()


def perturb(module: nn.Module) -> None:
    """Add noise to every trainable parameter, so that parameters that start at zero have an effect.

    Noise is drawn for at most MOST_NOISE numbers of a parameter and repeated in the others (word embeddings).
    """
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in filter(lambda parameter: parameter.requires_grad, module.parameters()):
            noise = 0.05 * torch.randn(min(parameter.numel(), MOST_NOISE), generator=generator)
            repeats = -(-parameter.numel() // MOST_NOISE)
            parameter.add_(noise.repeat(repeats)[: parameter.numel()].view(parameter.shape))


def require_same_parameters(first: nn.Module, second: nn.Module) -> None:
    """Raise ContractError unless two modules have the same parameters. Both must have been built with the same seed."""
    one, other = dict(first.named_parameters()), dict(second.named_parameters())
    require(one.keys() == other.keys(), "the second time it has other parameters")
    for name, parameter in one.items():
        require(torch.equal(parameter, other[name]), f"{name} is different; draw it with torch's generator")


def noise_clips(num_frames: int = T) -> Tensor:
    """Return normalised clips of noise [B, T, 3, 64, 64] whose brightness increases from frame to frame."""
    light_T = torch.linspace(-1, 1, num_frames)
    noise_BTCHW = torch.randn(B, num_frames, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return noise_BTCHW + light_T[:, None, None, None]


def class_table(backbone: Backbone, labels: tuple[str, ...] = LABELS, descriptions: bool = True) -> TextTable:
    """Return a table with the name of each class and, with `descriptions`, sentences about its start and its end."""
    rows = []
    for label in labels:
        sentences: list[tuple[str, float | None, str]] = [("name", None, label)]
        if descriptions:
            sentences += [("motion", START, f"before {label} it waits"), ("motion", END, f"then {label} is over")]
        rows += [{"label": label, "kind": kind, "position": at, "sentence": text} for kind, at, text in sentences]
    return tabulate_texts(rows, list(labels), backbone)


def loss_inputs(method: Method, task: str) -> tuple[LossInputs, TextTable]:
    """Return inputs of a loss and the table of texts.

    `task` says whether each clip of the batch has one class ("classes"), several ("labels") or a caption ("captions").
    """
    table = class_table(method.backbone, LABELS[:B] if task == "captions" else LABELS)
    video, text = method.encode_video(noise_clips()), method.encode_texts(table)
    if task == "captions":
        return LossInputs(video, text, torch.arange(B)), table
    if task == "labels":
        return LossInputs(video, text, TARGET_B, RIVALS_KK, 0.1, LABELS_BK), table
    return LossInputs(video, text, TARGET_B, RIVALS_KK, 0.1), table


def untrained_method(case: Case, seed: int = 0) -> Method:
    """Return the method on kinetext-tiny, with all weights drawn from the seed."""
    return build_method(random_tiny(seed), case.module, case.options).eval()


def perturbed_method(case: Case, backbone: Backbone | None = None) -> Method:
    """Return the method with noise added to every trainable parameter. A method with `fits` is fitted to noise.

    `backbone` is kinetext-tiny by default.
    """
    method = build_method(backbone, case.module, case.options).eval() if backbone else untrained_method(case)
    perturb(method)
    if method.fits:
        with torch.no_grad():
            frames_NTD = torch.cat([method.frame_features(method.image_tokens(noise_clips())) for _ in range(3)])
            target_N = torch.arange(len(frames_NTD)) % K
            method.fit(frames_NTD, target_N, method.encode_texts(class_table(method.backbone)))
    return method


def score(method: Method, frames_BTCHW: Tensor, table: TextTable) -> Tensor:
    """Return the scores [B, K] of clips for the classes of a table."""
    with torch.inference_mode():
        return method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))


def require_same(actual: Any, expected: Any, what: str) -> None:
    """Raise ContractError, beginning with `what`, unless two tensors or tuples of tensors are equal up to TOLERANCE."""
    try:
        torch.testing.assert_close(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)
    except AssertionError as error:
        require(False, f"{what}: {' '.join(str(error).split())}")
