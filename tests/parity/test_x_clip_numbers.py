"""x_clip against numbers of the original code (microsoft/VideoX, X-CLIP @ 1744b21), recorded in x_clip.json.

Where transformers is installed, its XCLIPModel with the same random weights has to agree, too.
"""

import json
import re

import open_clip
import pytest
import torch

from closed_form import closed_input, fill, near, recorded
from kinetext.backbones.base import TextTokens
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import text_table
from kinetext.methods.base import build_method

CASES = recorded("x_clip")
START, END = 49406, 49407
RENAMED = (  # here -> in the original, by prefix
    (r"^backbone\.clip\.", ""),
    (r"^messages\.(\d+)\.attn\.in_proj\.(\w+)", r"visual.transformer.resblocks.\1.message_attn.in_proj_\2"),
    (r"^messages\.(\d+)\.", r"visual.transformer.resblocks.\1.message_"),
    (r"^integration\.position_PD", "mit.positional_embedding"),
    (r"^integration\.layers\.(\d+)\.block", r"mit.resblocks.\1"),
    (r"^prompts\.patch_norm", "prompts_visual_ln"),
    (r"^prompts\.patch_proj_VD", "prompts_visual_proj"),
    (r"^prompts\.scale_D", "prompts_generator.alpha"),
    (r"^prompts\.norm", "prompts_generator.norm"),
    (r"^prompts\.layers\.(\d+)\.(query|key|value)", r"prompts_generator.decoder.\1.cross_attn.\2"),
    (r"^prompts\.layers\.(\d+)\.out", r"prompts_generator.decoder.\1.cross_attn.proj"),
    (r"^prompts\.layers\.(\d+)\.ln_1", r"prompts_generator.decoder.\1.norm1"),
    (r"^prompts\.layers\.(\d+)\.ln_2", r"prompts_generator.decoder.\1.norm3"),
    (r"^prompts\.layers\.(\d+)\.c_fc", r"prompts_generator.decoder.\1.mlp.0"),
    (r"^prompts\.layers\.(\d+)\.c_proj", r"prompts_generator.decoder.\1.mlp.3"),
    (r"(?<=cross_attn\.)(q|k|v)(uery|ey|alue)", r"\1_proj"),
)


def original_name(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def build_case(case: str, folder):
    """The method on a CLIP of the recorded sizes, filled like the original."""
    config = CASES[case]["config"]
    vision = {"image_size": config["px"], "layers": config["layers"], "width": config["width"]}
    vision |= {"head_width": config["width"] // config["heads"], "patch_size": config["patch"]}
    text = {"context_length": 77, "vocab_size": 49408, **config["text"]}
    settings = {"embed_dim": config["joint"], "vision_cfg": vision, "text_cfg": text}
    name = f"kinetext-test-x-clip-{case.lower()}"
    (folder / f"{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)
    options = {"frames": config["T"], "heads": config["joint_heads"]}
    options |= {"integration_layers": config["mit_layers"], "prompt_layers": config["prompts_layers"]}
    method = build_method(OpenClipViT(Architecture(name, quick_gelu=True)), "x_clip", options).double().eval()
    fill(method, original_name)
    return method


def class_table(ids: list[list[int]]):
    K, longest = len(ids), max(map(len, ids)) + 2
    ids_KL, mask_KL = torch.zeros(K, longest, dtype=torch.long), torch.zeros(K, longest, dtype=torch.bool)
    for k, words in enumerate(ids):
        ids_KL[k, : len(words) + 2] = torch.tensor([START, *words, END])
        mask_KL[k, : len(words) + 2] = True
    none_K = torch.full((K,), -1)
    tokens, whole_K = TextTokens(ids_KL, mask_KL), torch.full((K,), torch.nan)
    return text_table([str(k) for k in range(K)], tokens, torch.arange(K), none_K > 0, whole_K, none_K)


def near_items(ours, record) -> None:
    near(ours.flatten(1)[:, :8], record["first8_per_item"])
    near(ours.flatten(1).norm(dim=1), record["norm_per_item"])


@pytest.mark.parametrize("case", CASES)
def test_x_clip_gives_the_originals_numbers_and_gradients(case, tmp_path):
    record, method = CASES[case], build_case(case, tmp_path)
    config = record["config"]
    frames_BTCHW = closed_input("input", (config["B"], config["T"], 3, config["px"], config["px"])).requires_grad_()
    with torch.no_grad():
        every = method.backbone.visual_tokens(frames_BTCHW, tuple(range(1, config["layers"] + 1)), method.layer)
    for number, tokens_BTNV in every.items():
        block = record["blocks"][str(number - 1)]
        near(tokens_BTNV[0, 0, 0, :8], block["cls_b0_t0_first8"])
        near(tokens_BTNV.norm(), block["norm"])
    tokens = method.image_tokens(frames_BTCHW)
    near_items(method.frame_features(tokens).flatten(0, 1), record["frame_feature_cls_proj_row_b*T+t"])
    video, text_KD = method.encode_tokens(tokens), method.encode_texts(class_table(record["text_ids_no_padding"]))
    near_items(text_KD, record["text_feature_raw"])
    near_items(video.video_BD, record["video_feature_mit"])
    near_items(method.prompts(text_KD, video.patches_BND).flatten(0, 1), record["prompt_alpha_times_text_row_b*K+k"])
    logits_BK = method.score(video, text_KD)
    near_items(logits_BK, record["logits"])
    (logits_BK * closed_input("cotangent", tuple(logits_BK.shape))).sum().backward()
    gradients = {original_name(name): p.grad for name, p in method.named_parameters()}
    gradients["INPUT_BTCHW"] = frames_BTCHW.grad
    norms = record["grad_of_logits"]["grad_norm"]
    assert set(gradients) == set(norms)
    for name, gradient in gradients.items():
        near(gradient.norm(), norms[name])
    for name, first in record["grad_of_logits"]["grad_first4"].items():
        near(gradients[name].flatten()[:4], first)


def test_without_the_second_layer_norm_the_numbers_are_others(tmp_path):
    record, method = CASES["tiny_T5"], build_case("tiny_T5", tmp_path)
    method.prompts.norm = torch.nn.Identity()
    frames_BTCHW = closed_input("input", (2, 5, 3, 64, 64))
    with torch.inference_mode():
        text_KD = method.encode_texts(class_table(record["text_ids_no_padding"]))
        logits_BK = method.score(method.encode_video(frames_BTCHW), text_KD)
    assert (logits_BK - torch.tensor(record["logits"]["first8_per_item"])).abs().max() > 0.01


TRANSFORMERS = (  # original -> in transformers
    (r"^(visual|mit|)\.?(transformer\.)?resblocks\.", r"\1.encoder.layers."),
    (r"^\.?encoder", "text_model.encoder"),
    (r"^visual\.encoder", "vision_model.encoder"),
    (r"(?<=layers\.\d\.)attn\.", "self_attn."),
    (r"ln_(1|2)\.", r"layer_norm\1."),
    (r"mlp\.c_fc", "mlp.fc1"),
    (r"mlp\.c_proj", "mlp.fc2"),
    (r"^visual\.(class_embedding)", r"vision_model.embeddings.\1"),
    (r"^visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1", "vision_model.embeddings.patch_embedding"),
    (r"^visual\.ln_(pre|post)", r"vision_model.\1_layernorm"),
    (r"^visual\.proj", "visual_projection.weight"),
    (r"^mit\.positional_embedding", "mit.position_embedding"),
    (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"^token_embedding", "text_model.embeddings.token_embedding"),
    (r"^ln_final", "text_model.final_layer_norm"),
    (r"^text_projection", "text_projection.weight"),
    (r"^prompts_visual_ln", "prompts_visual_layernorm"),
    (r"^prompts_visual_proj", "prompts_visual_projection"),
    (r"^prompts_generator\.norm", "prompts_generator.layernorm"),
)


def transformers_weights(method) -> dict[str, torch.Tensor]:
    """The weights of a method by their names in transformers' XCLIPModel."""
    weights = {}
    for ours, parameter in method.named_parameters():
        name, tensor = original_name(ours), parameter.detach()
        for pattern, replacement in TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        if name in ("visual_projection.weight", "text_projection.weight"):
            tensor = tensor.T
        if name == "mit.position_embedding":
            tensor = tensor[None]
        if "in_proj_" not in name:
            weights[name] = tensor
            continue
        for letter, third in zip("qkv", tensor.chunk(3), strict=True):
            weights[name.replace("in_proj_", f"{letter}_proj.")] = third
    return weights


@torch.inference_mode()
@pytest.mark.parametrize("case", ["tiny_T5", "tiny_mit2_prompt1_T5"])
def test_x_clip_equals_the_model_of_transformers_with_the_same_weights(case, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers: is not installed (extra `video`)")
    method, config = build_case(case, tmp_path), CASES[case]["config"]
    generator = torch.Generator().manual_seed(0)
    for parameter in method.parameters():  # random, not the recorded ones
        if parameter.ndim:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    text, width, joint = config["text"], config["width"], config["joint"]
    theirs = transformers.XCLIPModel(
        transformers.XCLIPConfig(
            text_config={
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
            },
            vision_config={
                "hidden_size": width,
                "intermediate_size": 4 * width,
                "num_hidden_layers": config["layers"],
                "num_attention_heads": config["heads"],
                "mit_hidden_size": joint,
                "mit_intermediate_size": 4 * joint,
                "mit_num_hidden_layers": config["mit_layers"],
                "mit_num_attention_heads": config["joint_heads"],
                "image_size": config["px"],
                "patch_size": config["patch"],
                "num_frames": config["T"],
            },
            projection_dim=joint,
            prompt_layers=config["prompts_layers"],
            prompt_num_attention_heads=config["joint_heads"],
        )
    )
    theirs = theirs.double().eval()
    theirs.load_state_dict(transformers_weights(method))
    frames_BTCHW = closed_input("input", (config["B"], config["T"], 3, config["px"], config["px"]))
    table = class_table(CASES[case]["text_ids_no_padding"])
    logits_BK = method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))
    output = theirs(input_ids=table.tokens.ids_KL, pixel_values=frames_BTCHW)
    near(logits_BK, output.logits_per_video)
    assert logits_BK.abs().max() > 0.1
