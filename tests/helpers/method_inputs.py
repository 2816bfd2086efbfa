"""A method on kinetext-tiny, what goes into it and what comes out, for the tests of single methods."""

import torch

from kinetext.backbones.library import tokenizer_of
from kinetext.backbones.text_table import tabulate_texts
from kinetext.contracts import inputs
from kinetext.contracts.inputs import RIVALS_KK, TARGET_B, B, K, T, noise_clips, perturb
from kinetext.methods.base import LossInputs, build_method
from kinetext.texts.positions import NAMED
from kinetext.training.objectives import total
from worlds import text_rows

__all__ = ["RIVALS_KK", "TARGET_B", "B", "K", "T", "noise_clips", "perturb"]

# smaller than the defaults, for speed
OPTIONS = {
    "stan": {"layers": 2},
    "moted": {"visual_options": {"layers": 2}},
    "attentive_probe": {"depth": 2, "heads": 4, "lr": [1e-3], "weight_decay": [0.1], "epochs": 2},
    "zs_lp": {"epochs": 3},
    "cross_modal_probe": {"steps": 3},
    "lp_plus_plus": {"epochs": 11},
}
LABELS = list(inputs.LABELS)


def build(backbone, name, **options):
    """The method with its new parameters as they start."""
    torch.manual_seed(0)
    return build_method(backbone, name, {**OPTIONS.get(name, {}), **options}).eval()


def score(method, frames_BTCHW, table) -> torch.Tensor:
    with torch.inference_mode():
        return method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))


def fit(method, frames_BTCHW, table) -> None:
    """Fit a method with `fits` to these clips, three times each, and a class for each in turn."""
    with torch.no_grad():
        frames_NTD = torch.cat([method.frame_features(method.image_tokens(frames_BTCHW)) for _ in range(3)])
        method.fit(frames_NTD, torch.arange(len(frames_NTD)) % len(LABELS), method.encode_texts(table))


def total_loss(method, video, text, label_smoothing=0.0) -> torch.Tensor:
    return total(method.losses(LossInputs(video, text, TARGET_B, RIVALS_KK, label_smoothing)))


def assert_same(actual, expected) -> None:
    """Compare features or scores, alone or as a tuple of them, up to float32's rounding (scores are up to 15)."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def name_table(backbone):
    return tabulate_texts(text_rows(LABELS, descriptions=False), LABELS, backbone)


def row_features(backbone, rows) -> torch.Tensor:
    """The features of these rows' sentences, from open_clip itself."""
    return backbone.clip.encode_text(tokenizer_of(backbone.built_from.model)([row["sentence"] for row in rows]))


def sentence_features(backbone, label, kinds=("name", "motion")) -> torch.Tensor:
    """The features of a class's sentences, from open_clip itself."""
    return row_features(backbone, [row for row in text_rows([label]) if row["kind"] in kinds])


def description_rows(*sentences: tuple[str, str], label: str = "rising") -> list[dict]:
    """Rows of one class: its name, then descriptions as (position, or its name, sentence)."""
    rows = [("name", "whole", label), *(("motion", at, sentence) for at, sentence in sentences)]
    return [
        {"label": label, "kind": k, "position": NAMED.get(p, p), "sentence": s, "source": "test", "status": "ok"}
        for k, p, s in rows
    ]
