"""x_pool against numbers of the original code (layer6ai-labs/xpool @ bc88718), recorded in x_pool.json."""

import pytest
import torch

from closed_form import closed_input, cotangent, fill, near_gradient, near_rows, recorded
from kinetext.methods.base import contrastive_loss
from kinetext.methods.x_pool import TextPooling, XPool

CASES = recorded("x_pool")
NAMES = {
    **{ours: f"cross_attn.{ours[:1]}_proj" for ours in ("query", "key", "value")},
    **{"out": "cross_attn.out_proj", "linear": "linear_proj"},
    **{"input_norm": "layer_norm1", "attended_norm": "layer_norm2", "output_norm": "layer_norm3"},
}


def original_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    return f"{NAMES[module]}.{kind}"


class Bare:
    """A backbone whose logits are the cosines."""

    embed_dim = 16

    @staticmethod
    def logits(cosines):
        return cosines


@pytest.mark.parametrize("case", CASES)
def test_pooling_gives_the_originals_numbers_and_gradients(case):
    record = CASES[case]
    pool = TextPooling(16, record["options"]["num_mha_heads"], 0.3).eval()
    fill(pool, original_name)
    text_KD, frames_BTD = (closed_input(n, tuple(record["inputs"][n])) for n in ("text_feat", "video_feat"))
    inputs = {"text_feat": text_KD.requires_grad_(), "video_feat": frames_BTD.requires_grad_()}
    method = XPool.__new__(XPool)
    torch.nn.Module.__init__(method)
    method.backbone, method.pool = Bare(), pool
    sims_KB = method.score(frames_BTD, text_KD).T
    outputs = {
        "pooled": pool(text_KD, frames_BTD),
        "sims": sims_KB,
        "clip_loss": contrastive_loss(100 * sims_KB[:4, :4]),
    }
    for name, output in outputs.items():
        near_rows(output, record["outputs"][name])
        scalar = output if output.ndim == 0 else (output * cotangent(output)).sum()
        names = {original_name(n): p for n, p in pool.named_parameters()} | inputs
        gradients = torch.autograd.grad(scalar, list(names.values()), retain_graph=True)
        for original, gradient in zip(names, gradients, strict=True):
            near_gradient(gradient, record[f"grad_of_{name}"][original])
