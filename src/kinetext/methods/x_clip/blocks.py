"""The parts that X-CLIP adds to CLIP: messages between frames, the multi-frame integration transformer, and
video-conditioned text prompts.

Source: microsoft/VideoX (X-CLIP) @ 1744b21, models cct, mit and prompt.

B clips, T frames, N patches, K texts, V width of the image encoder, D joint width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.attention import QUICK, fused_attention
from kinetext.backbones.base import Backbone
from kinetext.methods.blocks import Attention

STD = 0.02  # of the truncated normal that most weights are drawn from


class Message(nn.Module):
    """Turn the summary of each frame into a message, and let the messages of a clip attend to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.ln = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        nn.init.xavier_uniform_(self.attn.in_proj.weight)  # as in torch's MultiheadAttention
        for linear in (self.attn.in_proj, self.attn.out_proj):
            nn.init.zeros_(linear.bias)

    def forward(self, summary_BTV: Tensor) -> Tensor:
        """Return the messages [B, T, V]."""
        message_BTV = self.fc(summary_BTV)
        return message_BTV + self.attn(self.ln(message_BTV))


class Integration(nn.Module):
    """The multi-frame integration transformer: layers with frame positions, a residual, and the mean over frames."""

    def __init__(self, backbone: Backbone, frames: int, layers: int, heads: int) -> None:
        super().__init__()
        width = backbone.embed_dim
        self.layers = nn.ModuleList(backbone.new_layer(width, heads) for _ in range(layers))
        self.position_PD = nn.Parameter(nn.init.trunc_normal_(torch.empty(frames, width), std=STD))
        self.apply(_initialize)

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """Return the video features [B, D]."""
        x_BTD = frames_BTD + self.positions(frames_BTD.shape[1])
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return (x_BTD + frames_BTD).mean(1)

    def positions(self, num_frames: int) -> Tensor:
        """Return the position embeddings [T, D], interpolated linearly if T is not the number of learned ones."""
        if num_frames == len(self.position_PD):
            return self.position_PD
        return F.interpolate(self.position_PD.T[None], num_frames, mode="linear")[0].T


class PromptLayer(nn.Module):
    """A layer of the prompt generator: texts attend to the patches of a clip, then an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, text_BKD: Tensor, patches_BND: Tensor) -> Tensor:
        """Return the texts [B, K, D] after the layer."""
        query_BKD = self.query(self.ln_1(text_BKD))
        attended_BKD = fused_attention(query_BKD, self.key(patches_BND), self.value(patches_BND), self.heads)
        text_BKD = text_BKD + self.out(attended_BKD)
        hidden = F.silu(QUICK * self.c_fc(self.ln_2(text_BKD))) / QUICK  # OpenAI's GELU
        return text_BKD + self.c_proj(hidden)


class PromptGenerator(nn.Module):
    """Compute the prompts added to the texts: layers that attend to a clip's patches, times a factor per channel."""

    def __init__(self, width: int, patch_width: int, layers: int, heads: int, scale: float) -> None:
        super().__init__()
        self.patch_norm = nn.LayerNorm(patch_width)
        self.patch_proj_VD = nn.Parameter(torch.randn(patch_width, width))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(PromptLayer(width, heads) for _ in range(layers))
        self.scale_D = nn.Parameter(torch.full((width,), scale))
        self.layers.apply(_initialize)

    def patches(self, patches_BTNV: Tensor) -> Tensor:
        """Return the features [B, N, D] of the patches, averaged over the frames.

        The mean is taken before the projection, which gives the same result as after it.
        """
        return self.norm(self.patch_norm(patches_BTNV).mean(1) @ self.patch_proj_VD)

    def forward(self, text_KD: Tensor, patches_BND: Tensor) -> Tensor:
        """Return the prompts [B, K, D] of all pairs of texts and clips."""
        text_BKD = text_KD.expand(patches_BND.shape[0], -1, -1)
        for layer in self.layers:
            text_BKD = layer(text_BKD, patches_BND)
        return self.scale_D * text_BKD


def _initialize(module: nn.Module) -> None:
    """Draw the weights of a Linear from a truncated normal; biases are zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
