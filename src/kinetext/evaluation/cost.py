"""The floating-point operations of testing a clip, counted by torch. They do not depend on the machine.

Papers on video often report the operations of one view and count a multiply-add as one. Here all views of a test clip
count, and a multiply-add counts as two operations, as in torch.

V views, T frames, C channels, H, W pixels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kinetext.methods.base import Method


class FlopCounter(TorchDispatchMode):
    """Count floating-point operations by torch's own formulas while it is active.

    It counts what `torch.utils.flop_counter.FlopCounterMode` counts in total, but not by module, and it does not import
    torch.compile, which takes as long as all other imports of a test together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing is compiled here, so torch.compile need not be imported to be kept out."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and add its count. One without a formula is taken apart first, if torch can."""
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            return parts if parts is not NotImplemented else func(*args, **kwargs)
        output = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=output)
        return output


def gflops_per_clip(method: Method, frames_VTCHW: Tensor, text: list[Any]) -> float:
    """Return the 10^9 floating-point operations of encoding all views of one clip and scoring them for encoded texts.

    Matrix products, convolutions and attention count, with two operations for each multiply-add. Encoding the texts
    does not count, because it is done once for all clips.
    """
    # a module in inference mode shows the counter no matrix products
    with torch.inference_mode(False), torch.no_grad(), FlopCounter() as counter:
        video = method.encode_tokens(method.image_tokens(frames_VTCHW.clone()))
        for part in text:
            method.score(video, part)
    return counter.flops / 1e9
