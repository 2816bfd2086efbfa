"""Methods inside the encoders, LoRA and distillation against numbers of their released code.

Compared are features, tokens of every layer, and gradients of all parameters, in float64 to 1e-9.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from kinetext.backbones.base import TextTokens
from kinetext.backbones.text_table import class_means, text_table
from kinetext.methods.base import build_method
from kinetext.training.loss_terms.distill_clip import ResidualProjector, distance
from recorded import Blocks, backward, cases, fill, frames_of, gradients_are, near, output_is, small_clip, spread

ST_ADAPTER, AIM, OPEN_VCLIP, VIFI, LORA = (
    cases(name) for name in ("st_adapter", "aim", "openvclip", "vificlip_prompts", "clip_lora")
)


def without_projection(config, folder, name, options):
    """A method whose features are those of the last norm: the joint space is the encoder's, the projection 1."""
    return build_method(small_clip(config, folder, joint=config["width"]), name, options)


def forget_projection(method):
    """Set the projection to 1, which does not train here."""
    method.backbone.visual.proj.data = torch.eye(method.backbone.width, dtype=torch.float64)
    method.backbone.visual.proj.requires_grad_(False)


def by_original(method, names, frames_BTCHW):
    """Gradients by the original's names."""
    gradients = {names[name]: p.grad for name, p in method.named_parameters() if p.requires_grad}
    return gradients | {"INPUT_BTCHW": frames_BTCHW.grad}


def st_adapter_names(method):
    parts = {"down": "fc1", "conv": "conv", "up": "fc2"}
    places = {"before_attention": "adapter_pre_attn", "before_mlp": "adapter_pre_mlp"}
    names = {}
    for name in method.new_parameters():
        where, number, part, kind = name.split(".")
        names[name] = f"transformer.resblocks.{int(number) - 1}.{places[where]}.{parts[part]}.{kind}"
    return names


@pytest.mark.parametrize("case", [case for case in ST_ADAPTER if "none" not in case])
def test_st_adapter_gives_the_originals_numbers(case, tmp_path, monkeypatch):
    """The class token, its mean over frames and the last norm; the last adapter before an MLP has no gradient there."""
    recorded = ST_ADAPTER[case]
    config = recorded["config"]
    before = {(True, False): "attention", (False, True): "mlp", (True, True): "both"}
    options = {
        "before": before[config["pre_attn"], config["pre_mlp"]],
        "width": config["adapter_width"],
        "layers": config["adapter_layers"],
        "kernel": config["kernel"],
        "average": "tokens",
    }
    method = without_projection(config, tmp_path, "st_adapter", options)
    names = fill(method, st_adapter_names(method), prefix="")
    forget_projection(method)
    frames_BTCHW, blocks = frames_of(config), Blocks(method, monkeypatch)
    video_BD = method.encode_video(frames_BTCHW)
    blocks.are(recorded["blocks"], whole_last=not config["pre_mlp"])
    output_is(video_BD, recorded["feature_after_ln_post"], "feature")
    loss = backward(video_BD)
    gradients = by_original(method, names, frames_BTCHW)
    gradients_are(gradients, recorded["grad_of_feature"], loss, zero="resblocks.5.adapter_pre_mlp")


def aim_names(method):
    parts = {"before_time": "T_Adapter_in", "time": "T_Adapter", "space": "S_Adapter", "mlp": "MLP_Adapter"}
    names = {"time_embed": "temporal_embedding"}
    for name in method.new_parameters():
        if name != "time_embed":
            _, number, adapter, part, kind = name.split(".")
            layer = f"transformer.resblocks.{number}.{parts[adapter]}"
            names[name] = f"{layer}.{'D_fc1' if part == 'down' else 'D_fc2'}.{kind}"
    return names


@pytest.mark.parametrize("case", AIM)
def test_aim_gives_the_originals_numbers(case, tmp_path, monkeypatch):
    recorded = AIM[case]
    config = recorded["config"]
    options = {"before_time": config["num_tadapter"] == 2, "scale": config["adapter_scale"], "max_frames": config["T"]}
    method = without_projection(config, tmp_path, "aim", options)
    names = fill(method, aim_names(method), prefix="")
    forget_projection(method)
    frames_BTCHW, blocks = frames_of(config), Blocks(method, monkeypatch)
    tokens = method.image_tokens(frames_BTCHW)
    blocks.are(recorded["blocks"])
    out_BVT11 = method.frame_features(tokens).transpose(1, 2)[..., None, None]
    output_is(out_BVT11, recorded["out_B_D_T_1_1"], "out")
    video_BD = method.encode_tokens(tokens)
    output_is(video_BD, recorded["mean_over_T"], "mean")
    loss = backward(video_BD)
    gradients_are(by_original(method, names, frames_BTCHW), recorded["grad_of_mean"], loss)


WINDOWS = {"expand_temporal_view": 1, "expand_temporal_view_step2": 2, "expand_temporal_view_step3": 3}


@pytest.mark.parametrize("case", [case for case in OPEN_VCLIP if "plain" not in case])
def test_window_attention_gives_the_originals_numbers(case, tmp_path, monkeypatch):
    """Zero keys and values off the ends are not masked: masking moves these numbers by 0.18 and more."""
    recorded = OPEN_VCLIP[case]
    config = recorded["config"]
    options = {"window": WINDOWS[config["temporal_modeling_type"]]}
    method = build_method(small_clip(config, tmp_path), "window_attention", options)
    names = fill(method, {})
    frames_BTCHW, blocks = frames_of(config), Blocks(method, monkeypatch)
    tokens = method.image_tokens(frames_BTCHW)
    blocks.are(recorded["blocks"])
    output_is(method.frame_features(tokens).flatten(0, 1), recorded["frame_feature_row_b*T+t"], "frames")
    video_BD = method.encode_tokens(tokens)
    output_is(video_BD, recorded["mean_over_T_of_raw_frame_features"], "mean")
    loss = backward(video_BD)
    gradients_are(by_original(method, names, frames_BTCHW), recorded["grad_of_mean"], loss)


def table_of(sentences):
    """A table of sentences of token ids, each of another class."""
    lengths_K = torch.tensor([len(ids) for ids in sentences])
    ids_KL = torch.tensor([ids + [0] * (int(lengths_K.max()) - len(ids)) for ids in sentences])
    tokens = TextTokens(ids_KL, torch.arange(ids_KL.shape[1]) < lengths_K[:, None])
    names = [str(k) for k in range(len(sentences))]
    K = len(sentences)
    owner_K, none_K = torch.arange(K), torch.full((K,), -1)
    return text_table(names, tokens, owner_K, none_K > 0, torch.full((K,), torch.nan), none_K)


@pytest.mark.parametrize("case", [case for case in VIFI if "no_prompts" not in case])
def test_vision_language_prompts_give_the_originals_numbers(case, tmp_path, monkeypatch):
    """The prompts of ours stand in one tensor per encoder. The float16 case rounds those that the original rounds."""
    recorded = VIFI[case]
    config = recorded["config"]
    rounded, kt = config["half_casts_kept"], config["N_CTX_TEXT"]
    options = {
        "vision_prompts": max(1, config["N_CTX_VISION"]),
        "vision_depth": config["PROMPT_DEPTH_VISION"],
        "text_prompts": kt,
        "text_depth": config["PROMPT_DEPTH_TEXT"],
    }
    method = build_method(small_clip(config, tmp_path), "vl_prompts", options)
    names = fill(method, {name: name for name in method.new_parameters()})
    stacks = {"text_DPW": ("prompt_learner.ctx", "transformer.resblocks.{}.VPT_shallow")}
    if method.vision_DPV is not None:
        stacks["vision_DPV"] = ("visual.VPT", "visual.transformer.resblocks.{}.VPT_shallow")
    originals = {}
    for ours, (first, later) in stacks.items():
        parameter = getattr(method, ours)
        originals[ours] = [first, *(later.format(k) for k in range(1, len(parameter)))]
        values = [0.3 * spread(name, tuple(parameter.shape[1:])) for name in originals[ours]]
        values = [
            v.half().double() if rounded and name != "prompt_learner.ctx" else v
            for name, v in zip(originals[ours], values, strict=True)
        ]
        if ours == "text_DPW" and "ctx_from_words" in case:
            values[0] = method.backbone.clip.token_embedding.weight.data[
                recorded["token_ids_no_padding"][0][1 : 1 + kt]
            ]
        parameter.data = torch.stack(values)
    frames_BTCHW, blocks = frames_of(config), Blocks(method, monkeypatch)
    video_BD = method.encode_video(frames_BTCHW)
    assert len(blocks.tokens) == config["layers"]
    blocks.are(recorded["blocks"], whole_last=method.vision_DPV is None)
    output_is(video_BD, recorded["mean_over_T_of_raw_frame_features"], "mean")
    # the words that the prompts replace there are left out here
    table = table_of([[ids[0], *ids[1 + kt :]] for ids in recorded["token_ids_no_padding"]])
    words = method.encode_words(table)
    output_is(words.sentence_SD, recorded["text_feature_raw"], "texts")
    scores_BK = method.score(video_BD, method.pool_texts(words, table))
    output_is(scores_BK, recorded["logits"], "logits")
    if rounded:
        return  # there the gradient is rounded too
    loss = backward(scores_BK)
    gradients = by_original(method, names, frames_BTCHW)
    for ours, stack in originals.items():
        gradients |= dict(zip(stack, gradients.pop(ours), strict=True))
    gradients.pop("token_embedding.weight")  # there the words are looked up once and kept
    gradients_are(gradients, recorded["grad_of_logits"], loss)


@pytest.mark.parametrize("case", ["tiny_none_T5", "tiny_plain_T5", "tiny_no_prompts_T5"])
def test_without_their_additions_the_originals_give_mean_pools_numbers(case, tmp_path, monkeypatch):
    """ST-Adapter's code without adapters, Open-VCLIP's without a window and ViFi-CLIP's without prompts."""
    recorded = (ST_ADAPTER | OPEN_VCLIP | VIFI)[case]
    config = recorded["config"]
    of_st_adapter = case in ST_ADAPTER
    if of_st_adapter:
        method = without_projection(config, tmp_path, "mean_pool", {})
        names = fill(method, {}, prefix="")
        forget_projection(method)
    else:
        method = build_method(small_clip(config, tmp_path), "mean_pool", {})
        names = fill(method, {})
    method.inside = True  # so that the layers are recorded
    frames_BTCHW, blocks = frames_of(config), Blocks(method, monkeypatch)
    tokens = method.image_tokens(frames_BTCHW)
    blocks.are(recorded["blocks"])
    if of_st_adapter:  # averages before the last norm
        output = method.backbone.project(method.summaries(tokens).mean(1))
        output_is(output, recorded["feature_after_ln_post"], "feature")
    else:
        output_is(method.frame_features(tokens).flatten(0, 1), recorded["frame_feature_row_b*T+t"], "frames")
        output = method.encode_tokens(tokens)
        output_is(output, recorded["mean_over_T_of_raw_frame_features"], "mean")
    if case in VIFI:
        table = table_of(recorded["token_ids_no_padding"])
        words = method.encode_words(table)
        output_is(words.sentence_SD, recorded["text_feature_raw"], "texts")
        output = method.score(output, method.pool_texts(words, table))
        output_is(output, recorded["logits"], "logits")
    [wanted] = [value for key, value in recorded.items() if key.startswith("grad_of_")]
    loss = backward(output)
    gradients = by_original(method, names, frames_BTCHW)
    gradients.pop("token_embedding.weight", None)  # there the words are looked up once and kept
    gradients_are(gradients, wanted, loss)


ORIGINAL = "parametrizations.in_proj_weight.original"  # the pretrained weight under LoRA
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def fill_lora(backbone, config):
    """Fill the parameters of LoRA by the names in the original, where every projection has a name of its own.

    What the original does not have (LoRA of keys or of later layers) is zero here; its LoRA of the output projection,
    which we do not have, is added to the weight. Returns the attentions by their names.
    """
    attentions = {}
    for prefix, layers in (("visual.", backbone.layers), ("", backbone.text_layers)):
        for number, layer in enumerate(layers):
            attn, name = layer.block.attn, f"{prefix}transformer.resblocks.{number}.attn"
            has_lora = config["encoder"] == "both" or prefix
            has_lora = has_lora and (config["position"] == "all" or number < 4)
            V, r = attn.embed_dim, config["r"]
            if not has_lora:
                if nn.utils.parametrize.is_parametrized(attn):
                    attn.parametrizations.in_proj_weight[0].up_3VR.data.zero_()
                continue
            attentions[name] = attn
            stored = attn.parametrizations.in_proj_weight
            part = lambda what, shape: 0.3 * spread(f"{name}.{what}", shape)  # noqa: B023, E731
            stored.original.data = torch.cat([part(f"{p}.weight", (V, V)) for p in PROJECTIONS])
            attn.in_proj_bias.data = torch.cat([0.2 * spread(f"{name}.{p}.bias", (V,)) for p in PROJECTIONS])
            attn.out_proj.weight.data = part("proj.weight", (V, V))
            attn.out_proj.bias.data = 0.2 * spread(f"{name}.proj.bias", (V,))
            if "o" in config["params"]:
                attn.out_proj.weight.data += (
                    config["scaling"] * part("proj.w_lora_B", (V, r)) @ part("proj.w_lora_A", (r, V))
                )
            for third, p in enumerate(PROJECTIONS):
                if p[0] in config["params"]:
                    stored[0].down_3RV.data[third] = part(f"{p}.w_lora_A", (r, V))
                    stored[0].up_3VR.data[third] = part(f"{p}.w_lora_B", (V, r))
                else:
                    stored[0].up_3VR.data[third] = 0
    return attentions


@pytest.mark.parametrize("case", LORA)
@pytest.mark.parametrize("training", [False, True])
def test_lora_gives_the_originals_numbers(case, training, tmp_path):
    """Scale alpha / sqrt(rank). In training the products are computed apart, here with the smallest dropout."""
    recorded = LORA[case]
    config = recorded["config"]
    backbone = small_clip(config, tmp_path)
    encoders = ("image", "text") if config["encoder"] == "both" else ("image",)
    for encoder in encoders:
        backbone.add_lora(encoder, config["r"], config["alpha"], 1e-300 if training else config["dropout"])
    method = build_method(backbone, "mean_pool", {})
    names = fill(method, {name: name for name in method.new_parameters()})
    for name, parameter in method.named_parameters():
        if name.endswith(ORIGINAL):  # in layers without LoRA there
            names[name] = names[name].replace(ORIGINAL, "in_proj_weight")
            parameter.data = 0.3 * spread(names[name], tuple(parameter.shape))
    attentions = fill_lora(backbone, config)
    method.train(training)
    frames_BTCHW = frames_of(config)
    tokens = method.image_tokens(frames_BTCHW)
    output_is(method.frame_features(tokens).flatten(0, 1), recorded["frame_feature_row_b*T+t"], "frames")
    video_BD = method.encode_tokens(tokens)
    output_is(video_BD, recorded["mean_over_T_of_raw_frame_features"], "mean")
    table = table_of([[49406, *ids, 49407] for ids in recorded["text_ids_no_padding"]])
    text_KD = method.encode_words(table).sentence_SD
    output_is(text_KD, recorded["text_feature_raw"], "texts")
    for output, key in ((video_BD, "grad_of_mean"), (text_KD, "grad_of_text_feature")):
        method.zero_grad()
        loss = backward(output)
        gradients = {n: p.grad for n, p in ((names[n], p) for n, p in method.named_parameters()) if p.grad is not None}
        gradients.pop("token_embedding.weight", None)  # not recorded
        gradients |= {"INPUT_BTCHW": frames_BTCHW.grad} if key == "grad_of_mean" else {}
        gradients_are(split_lora(gradients, attentions, config), recorded[key], loss, skipped=".proj.w_lora")


def split_lora(gradients, attentions, config):
    """The gradients of stacked projections and of LoRA, by the original's names."""
    for name, attn in attentions.items():
        ours = {kind: gradients.pop(f"{name}.in_proj_{kind}", None) for kind in ("weight", "bias")}
        for kind in ("weight", "bias"):
            out = gradients.pop(f"{name}.out_proj.{kind}", None)
            if out is not None:
                gradients[f"{name}.proj.{kind}"] = out
        for third, p in enumerate(PROJECTIONS):
            V = attn.embed_dim
            for kind, gradient in ours.items():
                if gradient is not None:
                    gradients[f"{name}.{p}.{kind}"] = gradient[third * V : (third + 1) * V]
            low_rank = attn.parametrizations.in_proj_weight[0]
            if p[0] in config["params"] and low_rank.down_3RV.grad is not None:
                gradients[f"{name}.{p}.w_lora_A"] = low_rank.down_3RV.grad[third]
                gradients[f"{name}.{p}.w_lora_B"] = low_rank.up_3VR.grad[third]
    return {name: gradient for name, gradient in gradients.items() if "parametrizations" not in name}


@pytest.mark.parametrize("case", cases("froster"))
def test_distill_clip_gives_frosters_numbers(case):
    """Two clips of three frames, five classes of two templates, features of 16 numbers."""
    recorded = cases("froster")[case]
    outputs, inputs = recorded["outputs"], {}
    for name, items in (("image_feat", 6), ("text_feat_0", 5), ("text_feat_1", 5)):
        inputs[name] = (2 * spread(name, (items, 16))).requires_grad_()
        inputs[f"raw_{name}"] = 2 * spread(f"raw_{name}", (items, 16))
    image, text = (ResidualProjector(16, 0.1).double() for _ in range(2))
    projectors = {"projector_v": image, "projector_t": text}
    for name, projector in projectors.items():
        projector.first.weight.data = 0.3 * spread(f"{name}.0.weight", (16, 16))
        if case != "zero_init":
            projector.second.weight.data = 0.3 * spread(f"{name}.2.weight", (16, 16))
    table = table_of([[1, 2, 3]] * 10)
    table = replace(table, labels=table.labels[:5], owner_S=torch.arange(5).repeat_interleave(2))
    every_S = torch.ones(10, dtype=torch.bool)

    def classes(prefix):
        templates = [inputs[f"{prefix}text_feat_{number}"] for number in range(2)]
        return class_means(torch.stack(templates, 1).flatten(0, 1), table, every_S)

    of_images = distance(image, inputs["image_feat"], inputs["raw_image_feat"])
    of_texts = distance(text, classes(""), classes("raw_"))
    losses = {"loss_image": of_images, "loss_text": of_texts, "distillation": of_images + of_texts}
    for name, loss in losses.items():
        near(loss, outputs[name]["value"], name)
    losses["distillation"].backward()
    gradients = {f"{name}.0.weight": projector.first.weight.grad for name, projector in projectors.items()}
    gradients |= {f"{name}.2.weight": projector.second.weight.grad for name, projector in projectors.items()}
    gradients |= {name: tensor.grad for name, tensor in inputs.items()}
    compared = 0
    for name, wanted in recorded["grad_of_distillation"].items():
        if isinstance(wanted, dict) and wanted.get("norm"):
            near(gradients[name].norm(), wanted["norm"], name)
            near(gradients[name].flatten()[:4], wanted["first4"], name)
            compared += 1
    assert compared >= 5
