"""The attentive probe of V-JEPA 2 (Assran et al., arXiv:2506.09985; facebookresearch/vjepa2 @ c2963a4,
src/models/attentive_pooler.py, evals/video_classification_frozen): a small transformer over all tokens of a clip.

depth - 1 self-attention blocks run over the tokens. Then one learned query attends to them: keys are normalised, the
query is not, and there is no output projection. An MLP and a linear classifier follow. No text is used.

One probe trains for each pair of learning rate and weight decay, all on the same batches. The probe with the best
*validation* accuracy after the last epoch is kept (the first if tied), and the others are discarded. V-JEPA 2's
evaluation reports the best epoch of the best probe on its test clips; here, test clips play no part in the selection. A
grid therefore needs `training.select: best_val`.

Only the probe trains. At width 768 it has 6.50 M parameters with depth 1 and 27.76 M with depth 4, plus K (V + 1) of
the classifier (tests/parity/test_attentive_probe.py); at width 512, on frame features, 2.89 M with depth 1. The probe
is randomly initialised and needs training clips of every class. With patch tokens it works on backbones without a class
token; with `tokens: frames`, each token is the backbone's image feature, which on CLIP comes from the class token.

Differences from the release: clips are not augmented, and training is in float32 on stored tokens (float16). Patch
tokens pass a LayerNorm without weights, because CLIP has no final norm on them (V-JEPA 2's encoder ends with one). With
`tokens: frames`, the probe reads frame features. The probe adds no positions: on an image model, which encodes frames
separately, frame order has no effect.

B, N clips, M validation clips, T frames, L tokens of a frame, S = T L tokens of a clip, V width, K classes, H heads.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from kinetext.backbones.base import Backbone
from kinetext.core.plugins import Options
from kinetext.methods.attentive_probe.pooler import AttentiveClassifier
from kinetext.methods.base import IGNORES_ORDER, SearchSpace, Tokens
from kinetext.methods.fitting import TextFreeHead, require_every_class, shuffled_batches

SCORED_AT_ONCE = 64  # clips
Grid = tuple[float, ...]


class AttentiveProbe(TextFreeHead):
    """Classify clips by attentive pooling of their tokens."""

    paper = "V-JEPA 2 (Assran et al., arXiv:2506.09985)"
    mechanism = (
        "Trains a small transformer that pools all tokens of a clip; validation clips choose among several "
        "learning rates. Uses no text."
    )
    equals_before_training = "nothing: it has no scores before it is fitted"
    cannot_see = IGNORES_ORDER
    fitted_parameters = "27.76 M (depth 4, V = 768) or 6.50 M (depth 1), and K (V + 1)"
    search_space: ClassVar[SearchSpace] = {"options.epochs": {"choices": [10, 20, 50]}}

    class Config(Options):
        """Options of the probe and of its training. The defaults are those of V-JEPA 2 for Something-Something v2."""

        tokens: Literal["patches", "frames"] = Field(
            "patches", description="patches: tokens of the last layer; frames: one feature per frame"
        )
        depth: int = Field(4, ge=1, description="blocks: depth - 1 of self-attention and one of cross-attention")
        heads: int = Field(16, ge=1, description="attention heads; they divide the width")
        lr: Grid = Field((5e-3, 3e-3, 1e-3, 3e-4, 1e-4), min_length=1, description="learning rates of AdamW")
        weight_decay: Grid = Field(
            (0.01, 0.1, 0.4, 0.8), min_length=1, description="weight decay of matrices; biases have none"
        )
        epochs: int = Field(20, ge=1, description="passes over the training clips; the rate falls as a cosine to zero")
        batch_size: int = Field(64, ge=1, description="clips per step")

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.patches = config.tokens == "patches"
        self.token_width = backbone.width if self.patches else backbone.embed_dim
        if self.token_width % config.heads:
            raise ValueError(f"attentive_probe: heads: {config.heads} does not divide the width {self.token_width}")

    @classmethod
    def chooses_on_val(cls, config: Any) -> bool:
        return len(config.lr) * len(config.weight_decay) > 1

    def frame_features(self, tokens: Tokens) -> Tensor:
        """Return the tokens [B, T, L, V] of each frame in float16, or its feature [B, T, 1, D] (`tokens: frames`)."""
        if not self.patches:
            return super().frame_features(tokens)[:, :, None]
        x_BTLV = self.patch_tokens(tokens, self.backbone.num_layers)
        return F.layer_norm(x_BTLV, x_BTLV.shape[-1:]).half()

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the tokens of all frames [B, S, V]."""
        return frames_BTD.flatten(1, 2)

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Any, val: tuple[Tensor, Tensor] | None = None) -> None:
        """Train a probe per pair of learning rate and weight decay; keep the best on the validation clips.

        Raises ValueError if a class has no training clip, or if there are several probes and no validation clips.
        """
        require_every_class("attentive_probe", target_N, len(text))
        if val is None and self.chooses_on_val(self.config):
            raise ValueError(
                "attentive_probe: several probes need validation clips to choose from; set training.select: best_val, or "
                "give one lr and one weight_decay"
            )
        grid = list(product(self.config.lr, self.config.weight_decay))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch.initial_seed())
            probes = [self._new_probe(len(text)).to(self.device) for _ in grid]
        train_probes(probes, grid, self.encode_frames(frames_NTD), target_N, self.config)
        scores = [0.0] if val is None else [self._accuracy(probe, *val) for probe in probes]
        chosen = scores.index(max(scores))
        self.fitted = {name: tensor.detach().cpu() for name, tensor in probes[chosen].state_dict().items()}
        self.fitted["lr_weight_decay"] = torch.tensor(grid[chosen], dtype=torch.float64)

    def _new_probe(self, classes: int) -> AttentiveClassifier:
        return AttentiveClassifier(self.token_width, self.config.heads, self.config.depth, classes)

    @torch.no_grad()
    def _accuracy(self, probe: nn.Module, frames_MTD: Tensor, target_M: Tensor) -> float:
        batches = zip(frames_MTD.split(SCORED_AT_ONCE), target_M.split(SCORED_AT_ONCE), strict=True)
        correct = 0
        for frames_BTD, target_B in batches:
            scores_BK = probe(self.encode_frames(frames_BTD).to(self.device).float())
            correct += int((scores_BK.argmax(-1).cpu() == target_B).sum())
        return correct / len(target_M)

    def score(self, video: Tensor, text: Any) -> Tensor:
        """Return the logits [B, K]. Raises ValueError if the probe is not fitted or has other classes."""
        classes = len(self.fitted.get("linear.bias", ()))
        self.require_fitted("linear.bias", classes, text)
        with torch.device("meta"):  # the weights are those of `fitted`
            probe = self._new_probe(classes)
        weights = {name: self.fitted[name].to(video.device) for name in probe.state_dict()}
        return functional_call(probe, weights, (video.float(),))


@torch.enable_grad()
def train_probes(
    probes: list[AttentiveClassifier],
    grid: list[tuple[float, float]],
    tokens_NSV: Tensor,
    target_N: Tensor,
    config: AttentiveProbe.Config,
) -> None:
    """Train each probe with its learning rate and weight decay. Each batch of tokens is read once for all probes."""
    device = probes[0].linear.weight.device
    groups: list[dict[str, Any]] = []
    for probe, (lr, weight_decay) in zip(probes, grid, strict=True):
        parameters = list(probe.parameters())
        matrices, vectors = ([p for p in parameters if (p.ndim >= 2) == wanted] for wanted in (True, False))
        groups += [
            {"params": matrices, "lr": lr, "peak": lr, "weight_decay": weight_decay},
            {"params": vectors, "lr": lr, "peak": lr, "weight_decay": 0.0},
        ]
    optimizer = torch.optim.AdamW(groups)
    steps = config.epochs * -(-len(target_N) // config.batch_size)
    for step, index_B in enumerate(shuffled_batches(len(target_N), config.batch_size, config.epochs)):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + math.cos(math.pi * step / steps))
        tokens_BSV, target_B = tokens_NSV[index_B].to(device).float(), target_N[index_B].to(device)
        for probe in probes:
            F.cross_entropy(probe(tokens_BSV), target_B).backward()
        optimizer.step()
        optimizer.zero_grad()
