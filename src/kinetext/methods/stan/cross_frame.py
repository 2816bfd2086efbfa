"""STAN's cross-frame modules. Each takes patches [B, L, T, V] and returns them with a residual added.

L comes before T so that attention over T needs no copy of the tensor.

B clips, L patches of a frame, T frames, V width, (h, w) the patch grid.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.methods.blocks import Attention, drop_path, zero_linear


class TimeAttention(nn.Module):
    """The temporal attention of the released code: LayerNorm, attention over T at each patch position, and a Linear.

    The Linear is zero before training.
    """

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.drop_path = drop_path(rate)
        self.fc = zero_linear(width, width)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches after attention to the same position in all frames."""
        x = self.attn(self.ln(patches_BLTV).flatten(0, 1))
        return patches_BLTV + self.fc(self.drop_path(x)).view(patches_BLTV.shape)


class PlainTimeAttention(nn.Module):
    """The temporal attention of the paper (Eq. 7 and 8): one head, scores divided by sqrt(V), and a residual.

    Unlike `TimeAttention` it has no LayerNorm and no additional Linear.
    """

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.attn = Attention(width, 1)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches after attention to the same position in all frames."""
        return patches_BLTV + self.attn(patches_BLTV.flatten(0, 1)).view(patches_BLTV.shape)


class TimeConv(nn.Module):
    """The convolution of the released code: one full 3 x 3 x 3 convolution, and a Linear that is zero before training.

    There is no norm and no activation.
    """

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 3, padding=1)
        self.drop_path = drop_path(rate)
        self.fc = zero_linear(width, width)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches after a convolution over space and time."""
        x = self.conv(patches_BLTV.unflatten(1, grid).permute(0, 4, 3, 1, 2))  # B V T h w
        return patches_BLTV + self.fc(self.drop_path(x.permute(0, 3, 4, 2, 1).flatten(1, 2)))


class TimeBottleneck(nn.Module):
    """The bottleneck of the paper (Eq. 9): down to V / 8, a convolution over three frames, GELU, up to V.

    The output is zero before training; the paper does not state an initialisation.
    """

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // 8)
        self.conv = nn.Conv1d(width // 8, width // 8, 3, padding=1)
        self.up = zero_linear(width // 8, width)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches after a convolution over three frames at each patch position."""
        x = self.conv(self.down(patches_BLTV).flatten(0, 1).transpose(1, 2))
        return patches_BLTV + self.up(F.gelu(x.transpose(1, 2))).view(patches_BLTV.shape)
