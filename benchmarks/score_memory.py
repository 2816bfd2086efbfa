"""Peak resident memory of scoring CLIPS clips for CAPTIONS captions, by the methods that compare each clip with each text,
and of writing the scores of four frame orders as a table.

    python benchmarks/score_memory.py [--captions 10000] [--clips 200] [--method x_pool ...] [--frames 12]

Each line is a fresh process. The backbone has the sizes of ViT-B/16; its weights, the tokens of the clips and the features
of the texts are random, because the memory of the scores does not depend on them. Clips are scored in batches and texts in
chunks as `kinetext predict-clips` does. `before` is the process with backbone, method and encoded texts, `peak` is the
highest resident memory. The memory for 10 000 clips is computed: the measured peak plus the scores of the other clips,
which `predict-clips` keeps for four frame orders. The line `table` measures what writing them adds.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import TextTable, WordFeatures, text_table
from kinetext.backbones.values import TextTokens
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.core.tables import write_table
from kinetext.evaluation.predictor import BATCH_CLIPS
from kinetext.evaluation.scores import score_clips
from kinetext.methods.base import Method, build_method

METHODS = ("zero_shot", "x_pool", "word_weighting", "ost", "x_clip")
MANY = 10_000  # clips that the memory is computed for
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--words", type=int, default=32, help="tokens of the longest caption")
    parser.add_argument("--method", nargs="*", default=[*METHODS, "table"])
    parser.add_argument("--here", help="measure this method in this process")
    options = parser.parse_args()
    if options.here == "table":
        measure_table(options)
    elif options.here:
        measure(options)
    else:
        sizes = [f"--{name}={getattr(options, name)}" for name in ("captions", "clips", "frames", "words")]
        for name in options.method:
            subprocess.run([sys.executable, __file__, *sizes, "--here", name], check=True)


@torch.inference_mode()
def measure(options: argparse.Namespace) -> None:
    """Score random clips for random captions and print the peak memory."""
    torch.manual_seed(0)
    method = build_method(OpenClipViT(Architecture("ViT-B-16")), options.here, {}).eval()
    chunks = [encode(method, part) for part in captions(options).captions()]
    before, rows, started_s = peak(), [], time.perf_counter()
    for first in range(0, options.clips, BATCH_CLIPS):
        clips = min(BATCH_CLIPS, options.clips - first)
        num_tokens = 197 if method.patches else 1
        tokens = {method.backbone.num_layers: torch.randn(clips, options.frames, num_tokens, method.backbone.width)}
        rows.append(score_clips(method, method.encode_tokens(tokens), chunks, 1))
    seconds, highest = time.perf_counter() - started_s, peak()
    others = (MANY * len(FRAME_ORDERS) - options.clips) * options.captions * 4
    print(
        f"{options.here}: {options.captions} captions x {options.clips} clips of {options.frames} frames in {seconds:.0f} s; "
        f"before {before / GIB:.2f} GiB, peak {highest / GIB:.2f} GiB; computed for {MANY} clips in {len(FRAME_ORDERS)} "
        f"frame orders {(highest + others) / GIB:.2f} GiB",
        flush=True,
    )


def captions(options: argparse.Namespace) -> TextTable:
    """Return a table of random captions of 5 tokens to `words` tokens."""
    K, L = options.captions, options.words
    length_K = torch.randint(5, L + 1, (K,))
    tokens = TextTokens(torch.randint(1, 40_000, (K, L)), torch.arange(L) < length_K[:, None])
    described_K = torch.ones(K, dtype=torch.bool)  # `ost` asks for descriptions
    whole_K, none_K = torch.full((K,), torch.nan), torch.full((K,), -1)
    return text_table([str(k) for k in range(K)], tokens, torch.arange(K), described_K, whole_K, none_K)


def encode(method: Method, table: TextTable) -> object:
    """Return the encoded texts of a table, from random features of its sentences and words."""
    S, L, D = *table.tokens.ids_KL.shape, method.backbone.embed_dim
    return method.pool_texts(WordFeatures(torch.randn(S, D), torch.randn(S, L, D)), table)


def measure_table(options: argparse.Namespace) -> None:
    """Write the scores of the clips in four frame orders and print what that adds to the memory."""
    score_BK = np.random.default_rng(0).normal(size=(options.clips, options.captions)).astype(np.float32)
    rows = [
        {"clip_id": str(b), "split": "test", "frame_order": order, "target": b, "score_K": score_K.copy()}
        for order in FRAME_ORDERS
        for b, score_K in enumerate(score_BK)
    ]
    before, started_s = peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        write_table("predictions", rows, path, {"labels": {"test": [str(k) for k in range(options.captions)]}})
        size = path.stat().st_size
    print(
        f"table: {options.captions} captions x {options.clips} clips x {len(FRAME_ORDERS)} frame orders, "
        f"{size / GIB:.2f} GiB on disk, in {time.perf_counter() - started_s:.0f} s; before {before / GIB:.2f} GiB, "
        f"peak {peak() / GIB:.2f} GiB",
        flush=True,
    )


def peak() -> int:
    """Return the highest resident memory of this process so far, bytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10


if __name__ == "__main__":
    main()
