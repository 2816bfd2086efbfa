"""The text-side module of moted: learned queries attend to the words of the descriptions of a class.

K classes, S sentences, L words, P phases, Q queries, D joint width.
"""

import torch
from torch import Tensor, nn

from kinetext.methods.blocks import Attention, zero_linear


class Reader(nn.Module):
    """Attend to the words of all descriptions of a class with a few learned queries per phase.

    The output is zero before training.
    """

    def __init__(self, width: int, phases: int, queries: int, heads: int) -> None:
        super().__init__()
        self.query_PQD = nn.Parameter(0.02 * torch.randn(phases, queries, width))
        self.phase = nn.Embedding(3, width)  # "at the left" means another motion at the start than at the end
        self.ln_words, self.ln_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), zero_linear(4 * width, width))

    def forward(
        self, word_SLD: Tensor, position_S: Tensor, mask_SL: Tensor, owner_S: Tensor, classes: int, max_sentences: int
    ) -> Tensor:
        """Return the output [K, P, D], averaged over the queries of a phase.

        `owner_S` is the class of each sentence, in ascending order. `max_sentences` is the largest number of sentences
        of a class. `mask_SL` is true for words and false for padding.
        """
        phase_S = torch.where(position_S == 0, 1, torch.where(position_S == 1, 2, 0))
        word_SLD = self.ln_words(word_SLD) + self.phase(phase_S)[:, None]
        S, L, D = word_SLD.shape
        # the sentences of one class in one row, in the order of the table (owners are sorted)
        position_S = torch.arange(S, device=owner_S.device) - torch.searchsorted(owner_S, owner_S)
        words = word_SLD.new_zeros(classes, max_sentences, L, D).index_put((owner_S, position_S), word_SLD)
        mask = mask_SL.new_zeros(classes, max_sentences, L).index_put((owner_S, position_S), mask_SL)
        query = self.query_PQD.flatten(0, 1).expand(classes, -1, -1)
        read = query + self.attn(query, words.flatten(1, 2), mask.flatten(1, 2))
        return self.mlp(self.ln_out(read)).unflatten(1, self.query_PQD.shape[:2]).mean(2)
