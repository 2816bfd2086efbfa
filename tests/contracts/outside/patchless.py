"""A backbone family from outside: a small image-text transformer without a class token, in plain torch.

An image's summary is the mean of its patches. A text is cut at spaces; a word's token is a hash of its letters.
"""

import zlib

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from kinetext.backbones.base import Backbone, Facts, Layer, ParameterPlace, Preprocess, TextTokens
from kinetext.core.plugins import Options

SIZE_PX, PATCH_PX, WIDTH, HEADS, LAYERS, CONTEXT, VOCABULARY = 64, 16, 32, 2, 2, 16, 1000
START, END = 1, 2


class PlainLayer(Layer):
    """Attention and an MLP, each after a LayerNorm."""

    def __init__(self, width=WIDTH, num_heads=HEADS):
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.queries, self.keys, self.values, self.out = (nn.Linear(width, width) for _ in range(4))
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def attention_norm(self, x_SNV):
        return self.norms[0](x_SNV)

    def attend(self, x_SNV, num_queries=None, extra_keys_values=None, mask=None):
        keys_values = (self.keys(x_SNV), self.values(x_SNV))
        if extra_keys_values is not None:
            keys_values = [torch.cat(pair, 1) for pair in zip(keys_values, extra_keys_values, strict=True)]
        queries = self.queries(x_SNV[:, :num_queries])
        heads = [x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (queries, *keys_values)]
        return self.out(F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2))

    def keys_values(self, x_SNV):
        x_SNV = self.norms[0](x_SNV)
        return self.keys(x_SNV), self.values(x_SNV)

    def mlp_norm(self, x_SNV):
        return self.norms[1](x_SNV)

    def feed_forward(self, x_SNV):
        return self.outer(F.gelu(self.inner(x_SNV)))


class Patchless(Backbone):
    """The two encoders and a scale."""

    class Config(Options):
        """Width of the joint space."""

        dim: int = Field(24, ge=2, description="width of the joint space")

    prefix_tokens = 0
    pools_patches = True

    def __init__(self, dim):
        super().__init__(Preprocess((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
        self.image_size_px, self.context_length, self.num_layers = SIZE_PX, CONTEXT, LAYERS
        self.width, self.embed_dim, self.grid = WIDTH, dim, (SIZE_PX // PATCH_PX, SIZE_PX // PATCH_PX)
        self.patch = nn.Conv2d(3, WIDTH, PATCH_PX, PATCH_PX)
        self.positions = nn.Parameter(0.1 * torch.randn(self.grid[0] * self.grid[1], WIDTH))
        self.image_layers = nn.ModuleList(PlainLayer() for _ in range(LAYERS))
        self.image_out = nn.Linear(WIDTH, dim)
        self.words, self.word_positions = (
            nn.Embedding(VOCABULARY, WIDTH),
            nn.Parameter(0.1 * torch.randn(CONTEXT, WIDTH)),
        )
        self.language_layers = nn.ModuleList(PlainLayer() for _ in range(LAYERS))
        self.text_out = nn.Linear(WIDTH, dim)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.layers, self.text_layers = tuple(self.image_layers), tuple(self.language_layers)
        self.mark_pretrained()

    @classmethod
    def facts(cls, config):
        return Facts(SIZE_PX, LAYERS, CONTEXT)

    @classmethod
    def prepare(cls, config, seed=0):
        torch.manual_seed(seed)
        return cls(config.dim)

    @classmethod
    def rebuild(cls, architecture):
        return cls(architecture["dim"])

    def architecture(self):
        return {"dim": self.embed_dim}

    @classmethod
    def token_counter(cls, architecture):
        return lambda text: len(text.split()) + 2

    def depth_of(self, name):
        part, _, rest = name.partition(".")
        if part in ("image_layers", "language_layers"):
            return ParameterPlace("image" if part == "image_layers" else "text", 1 + int(rest.partition(".")[0]))
        places = {"patch": ("image", 0), "positions": ("image", 0), "image_out": ("image_head", LAYERS + 1)}
        places |= {"words": ("words", 0), "word_positions": ("text", 0), "text_out": ("text", LAYERS + 1)}
        return ParameterPlace(*places.get(part, ("scale", 0)))

    def embed(self, frames_FCHW, change=None):
        x_FNV = self.patch(frames_FCHW).flatten(2).transpose(1, 2) + self.positions
        return x_FNV if change is None else change(x_FNV)

    def embeddings(self):
        return torch.zeros(WIDTH), torch.zeros(WIDTH), self.positions

    def summary(self, tokens_BTNV):
        return tokens_BTNV.mean(-2)

    def project(self, summary_BTV):
        return self.image_out(summary_BTV)

    def new_layer(self, width, num_heads):
        return PlainLayer(width, num_heads)

    def tokenize(self, texts):
        rows = [[START, *(3 + zlib.crc32(word.encode()) % (VOCABULARY - 3) for word in text.split())] for text in texts]
        rows = [[*row[: CONTEXT - 1], END] for row in rows]
        longest = max(map(len, rows))
        ids_KL = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return TextTokens(ids_KL, ids_KL > 0)

    def encode_text(self, tokens, prompts=()):
        x_KLV = self.words(tokens.ids_KL) + self.word_positions[: tokens.ids_KL.shape[1]]
        for layer in self.text_layers:
            x_KLV = x_KLV + layer.attend(layer.attention_norm(x_KLV), mask=tokens.mask_KL[:, None, None])
            x_KLV = x_KLV + layer.mlp(x_KLV)
        words_KLD = self.text_out(x_KLV)
        return words_KLD[torch.arange(len(words_KLD)), tokens.length_K - 1], words_KLD

    def text_positions(self):
        return self.word_positions

    def logits(self, cosines):
        return self.log_scale.exp() * cosines

    def set_temperature(self, temperature):
        with torch.no_grad():
            self.log_scale.copy_(torch.tensor(1 / temperature).log())

    def clamp_scale(self):
        with torch.no_grad():
            self.log_scale.clamp_(max=torch.tensor(100.0).log().item())
