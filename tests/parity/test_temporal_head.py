"""seq_transformer against numbers of CLIP4Clip's seqTransf and ActionCLIP's Transf (temporal_head.json, which names the code).

Both released codes have LayerNorms with eps 1e-12, set here too; ours have open_clip's 1e-5. CLIP4Clip masks frames after
the end of a clip; here a clip has no such frames, so its masked case is compared with clips encoded alone. Of ActionCLIP's
other kinds, Conv_1D (as released it reads frames and channels in the wrong order) and Transf_cls are not implemented. Its
loss is half that of `ost` (tests/parity/test_ost.py).
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from closed_form import closed_input, closed_weight, cotangent, near_gradient, near_rows, recorded
from kinetext.methods.base import build_method
from recorded import small_clip

CASES = recorded("temporal_head")
CLIP4CLIP = {"clip4clip_full": [5, 5], "clip4clip_masked": [3, 5]}
SIZES = {"px": 32, "patch": 16, "width": 16, "heads": 1, "layers": 1, "joint": 64}
TEXT = {"width": 64, "heads": 1, "layers": 2}


def build_filled(case, folder, eps=1e-12):
    """The method, filled like the original, and its names there."""
    init, blocks = ("clip4clip", "transformerClip") if case in CLIP4CLIP else ("actionclip", "transformer")
    backbone = small_clip(SIZES | {"text": TEXT}, folder)
    method = build_method(backbone, "seq_transformer", {"init": init, "layers": 2}).double().eval()
    names = {name: name.replace(".block.", ".") for name in method.new_parameters()}
    names = {ours: theirs.replace("blocks.", f"{blocks}.resblocks.") for ours, theirs in names.items()}
    names["position_PD"] = "frame_position_embeddings.weight"
    for name, parameter in method.new_parameters().items():
        parameter.data = closed_weight(names[name], tuple(parameter.shape))
    for module in method.blocks.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    backbone.clip.logit_scale.data.fill_(math.log(100))
    return method, names


def of_clips(encode, frames_BTD, lengths):
    """Encode each clip alone, up to its length, as clips are of one length here."""
    return [encode(frames_TD[None, :length])[0] for frames_TD, length in zip(frames_BTD, lengths, strict=True)]


@pytest.mark.parametrize("case", CLIP4CLIP)
def test_clip4clips_frames_after_the_transformer(case, tmp_path):
    """Before they are normalised."""
    record, lengths = CASES[case], CLIP4CLIP[case]
    assert record["options"]["lengths"] == lengths
    method, names = build_filled(case, tmp_path)
    method.config = method.config.model_copy(update={"init": "actionclip"})  # which normalises no frame
    frames_BTD = closed_input("frame_feat", tuple(record["inputs"]["frame_feat"])).requires_grad_()
    clips = of_clips(method.transform, frames_BTD, lengths)
    wanted = record["outputs"]["frames"]
    real = [5 * clip + t for clip, length in enumerate(lengths) for t in range(length)]
    near_rows(torch.cat(clips), {key: [wanted[key][row] for row in real] for key in ("first8_per_row", "norm_per_row")})
    if "grad_of_frames" in record:
        output = torch.stack(clips)
        compare_gradients(output, record["grad_of_frames"], method, names, frames_BTD)


@pytest.mark.parametrize("case", CASES)
def test_video_features_scores_and_gradients(case, tmp_path):
    record, lengths = CASES[case], CLIP4CLIP.get(case, [5, 5])
    method, names = build_filled(case, tmp_path)
    frames_BTD, text_KD = (closed_input(n, tuple(record["inputs"][n])) for n in ("frame_feat", "text_feat"))
    frames_BTD, text_KD = frames_BTD.requires_grad_(), text_KD.flatten(0, -2)
    pooled_BD = torch.stack(of_clips(method.encode_frames, frames_BTD, lengths))
    near_rows(pooled_BD, record["outputs"]["pooled"])
    scores_BK = method.score(pooled_BD, text_KD)
    if case in CLIP4CLIP:
        near_rows(scores_BK.T, record["outputs"]["logits"])
        plain = build_method(method.backbone, "mean_pool", {})
        means_BD = torch.stack(of_clips(plain.encode_frames, F.normalize(frames_BTD, dim=-1), lengths))
        near_rows(plain.score(means_BD, text_KD).T, record["outputs"]["meanP_logits"])
    else:
        near_rows(scores_BK, record["outputs"]["logits_per_image"])
    compare_gradients(pooled_BD, record["grad_of_pooled"], method, names, frames_BTD)


def compare_gradients(output, recorded_gradients, method, names, frames_BTD):
    (output * cotangent(output)).sum().backward()
    gradients = {names[name]: parameter.grad for name, parameter in method.new_parameters().items()}
    gradients["frame_feat"] = frames_BTD.grad
    assert set(gradients) == set(recorded_gradients)
    for name, record in recorded_gradients.items():
        near_gradient(gradients[name], record)


def test_open_clips_eps_moves_the_numbers_little(tmp_path):
    record = CASES["clip4clip_full"]
    frames_BTD = closed_input("frame_feat", tuple(record["inputs"]["frame_feat"]))
    released, ours = (
        build_filled("clip4clip_full", tmp_path, eps)[0].encode_frames(frames_BTD) for eps in (1e-12, 1e-5)
    )
    assert 0 < (released - ours).abs().max() < 1e-5
