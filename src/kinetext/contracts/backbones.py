"""Contract checks of backbones, on frames of noise and a few texts.

B clips, T frames, F frames of all clips, N tokens of a frame, P patches, V visual width, K texts, L tokens of a text, D
joint width.
"""

import torch
from torch import Tensor

from kinetext.backbones.architecture import read_architecture
from kinetext.backbones.base import Backbone, TextTokens
from kinetext.backbones.checkpoint import load_backbone, save_backbone
from kinetext.contracts import Case, require

B, T = 2, 3
TEXTS = ["moving left", "a square that is moving to the right, then back again", "up"]
PARTS = ("image", "image_head", "text", "words", "scale")
TOLERANCE = 1e-4  # float32


def facts_are_those_of_the_model(case: Case) -> None:
    """Check that facts(), which does not build the model, agrees with the model."""
    facts, backbone = case.cls.facts(case.config), _build(case)
    for name in ("image_size_px", "num_layers", "context_length"):
        declared, true = getattr(facts, name), getattr(backbone, name)
        require(declared == true, f"facts() says that {name} is {declared}, the model has {true}")
    declared, true = ((sizes.frames_per_step, sizes.num_frames) for sizes in (facts, backbone))
    require(declared == true, f"facts() says that frames_per_step and num_frames are {declared}, the model has {true}")
    if backbone.across_frames:
        return
    require(len(backbone.layers) == backbone.num_layers, f"layers has {len(backbone.layers)} of {backbone.num_layers}")


def tokens_have_the_right_shapes(case: Case) -> None:
    """Check that each layer gives one token per patch and prefix token, and that all features have the right shapes.

    A video encoder gives them for each step of `frames_per_step` frames, and they depend on the order of frames.
    """
    backbone = _build(case)
    down, across = backbone.grid
    frames, steps = _frames(backbone), _num_frames(backbone) // backbone.frames_per_step
    shape = (B, steps, backbone.prefix_tokens + down * across, backbone.width)
    levels = tuple(range(backbone.num_layers + 1))
    with torch.inference_mode():
        tokens = backbone.visual_tokens(frames, levels)
        require(set(tokens) == set(levels), f"visual_tokens has layers {sorted(tokens)}, not {levels}")
        for level, tokens_BTNV in tokens.items():
            require(
                tuple(tokens_BTNV.shape) == shape, f"layer {level} has shape {tuple(tokens_BTNV.shape)}, not {shape}"
            )
        summary_BTV = backbone.summary(tokens[backbone.num_layers])
        _require_shape("summary", summary_BTV, (B, steps, backbone.width))
        _require_shape("project", backbone.project(summary_BTV), (B, steps, backbone.embed_dim))
        _require_shape("patches", backbone.patches(tokens[1]), (B, steps, down * across, backbone.width))
        whole = backbone.encode_frames(frames)
        _require_same("encode_frames", whole, backbone.project(summary_BTV))
        turned = backbone.encode_frames(frames.flip(1))
    if backbone.across_frames:
        require(
            not torch.allclose(turned, whole.flip(1), atol=1e-3), "across_frames is True, and frames are encoded alone"
        )
        return
    _require_same("frames in another order", turned, whole.flip(1))
    class_V, position_V, positions_PV = backbone.embeddings()
    _require_shape("the class embedding", class_V, (backbone.width,))
    _require_shape("the class embedding's position", position_V, (backbone.width,))
    _require_shape("the patches' positions", positions_PV, (down * across, backbone.width))


def the_default_hook_changes_nothing(case: Case) -> None:
    """Check that a hook that only runs the layer is called once per layer and leaves the tokens exactly as they are."""
    backbone, numbers = _build(case), []
    if backbone.across_frames:
        return

    def through(number: int, layer: torch.nn.Module, x_BTNV: Tensor) -> Tensor:
        numbers.append(number)
        output: Tensor = layer(x_BTNV.flatten(0, 1)).unflatten(0, x_BTNV.shape[:2])
        return output

    with torch.inference_mode():
        last = backbone.num_layers
        hooked = backbone.visual_tokens(_frames(backbone), (last,), through)[last]
        plain = backbone.visual_tokens(_frames(backbone), (last,))[last]
    require(torch.equal(hooked, plain), f"the tokens differ by {float((hooked - plain).abs().max()):.2g}")
    require(numbers == list(range(1, last + 1)), f"the hook saw layers {numbers}")


def a_layer_is_its_branches(case: Case) -> None:
    """Check that a layer adds its attention and MLP branches, and that extra keys and values act like extra tokens.

    Tokens that are appended to those of a frame have no position (layer.py), so their keys are those of `placed(None)`.
    """
    backbone = _build(case)
    if backbone.across_frames:
        return
    N = backbone.prefix_tokens + backbone.grid[0] * backbone.grid[1]
    x_SNV = torch.randn(4, N + 3, backbone.width, generator=_generator(1))
    with torch.inference_mode():
        for number, layer in enumerate(backbone.layers, 1):
            attended = x_SNV + layer.attention(x_SNV)
            _require_same(f"layer {number}", layer(x_SNV), attended + layer.mlp(attended))
            first = layer.attention(x_SNV, num_queries=3)
            _require_same(f"layer {number} with 3 queries", first, layer.attention(x_SNV)[:, :3])
            unplaced = layer.placed(None)
            extra = unplaced.keys_values(x_SNV[:, N:])
            split = layer.attention(x_SNV[:, :N], extra_keys_values=extra)
            _require_same(f"layer {number} with extra keys and values", split, layer.attention(x_SNV)[:, :N])
            short = unplaced.attention(x_SNV[:, :2], extra_keys_values=unplaced.keys_values(x_SNV[:, 2:5]))
            _require_same(f"layer {number} without positions", short, unplaced.attention(x_SNV[:, :5])[:, :2])
        _require_shape("new_layer", backbone.new_layer(64, 2)(torch.zeros(1, 5, 64)), (1, 5, 64))


def bytes_are_normalised(case: Case) -> None:
    """Check that normalize applies the mean and deviation of preprocess to uint8 frames and leaves floats unchanged."""
    backbone = _build(case)
    size = backbone.image_size_px
    frames_BTCHW = torch.randint(256, (1, 2, 3, size, size), dtype=torch.uint8, generator=_generator(2))
    mean, std = (torch.tensor(c)[:, None, None] for c in (backbone.preprocess.mean, backbone.preprocess.std))
    _require_same("normalize", backbone.normalize(frames_BTCHW), (frames_BTCHW / 255 - mean) / std)
    floats = frames_BTCHW / 255
    require(torch.equal(backbone.normalize(floats), floats), "normalize changes floats, which are normalised already")


def texts_are_encoded_alone(case: Case) -> None:
    """Check that a text's feature depends neither on other texts nor on padding, and that all shapes are right."""
    backbone = _build(case)
    if not backbone.has_text:
        return
    with torch.inference_mode():
        tokens = backbone.tokenize(TEXTS)
        text_KD, word_KLD = backbone.encode_text(tokens)
        K, L = tokens.ids_KL.shape
        require(tokens.mask_KL.shape == (K, L) and tokens.mask_KL.dtype == torch.bool, "the mask is not boolean [K, L]")
        _require_shape("encode_text", text_KD, (len(TEXTS), backbone.embed_dim))
        _require_shape("the words of encode_text", word_KLD, (len(TEXTS), L, backbone.embed_dim))
        require(not torch.equal(text_KD[0], text_KD[2]), "two texts have the same feature")
        require(backbone.context_length >= L, f"tokenize gives {L} tokens, context_length is {backbone.context_length}")
        lengths = [int(tokens.mask_KL[k].nonzero().max()) + 1 for k in range(K)]
        require(lengths == tokens.mask_KL.sum(1).tolist(), "the mask has gaps; it is true up to the end token")
        for k, length in enumerate(lengths):
            row = TextTokens(tokens.ids_KL[[k], :length], tokens.mask_KL[[k], :length])
            row = tokens.take(slice(k, k + 1)) if backbone.sees_padding else row
            _require_same(f"'{TEXTS[k]}' alone", backbone.encode_text(row)[0][0], text_KD[k])
        positions = backbone.text_positions()
        require(positions.ndim == 2 and len(positions) >= L, f"text_positions has shape {tuple(positions.shape)}")


def prompts_are_inserted(case: Case) -> None:
    """Check that prompts change a text's feature, that each of them gets a gradient, and that words keep their rows."""
    backbone = _build(case)
    if not backbone.has_text or not backbone.takes_prompts:
        return
    tokens, width = backbone.tokenize(TEXTS), backbone.text_positions().shape[1]
    count = min(3, len(backbone.text_layers))
    prompts = [torch.randn(4, width, generator=_generator(4 + i)).requires_grad_() for i in range(count)]
    text_KD, word_KLD = backbone.encode_text(tokens, prompts)
    _require_shape("the words of encode_text with prompts", word_KLD, (*tokens.ids_KL.shape, backbone.embed_dim))
    plain_KD, _ = backbone.encode_text(tokens)
    require(not torch.allclose(text_KD, plain_KD, atol=1e-3), "prompts do not change the features of texts")
    alone_KD, _ = backbone.encode_text(tokens.take(slice(0, 1)), prompts)
    _require_same("a text with prompts, alone", alone_KD[0].detach(), text_KD[0].detach())
    text_KD.sum().backward()
    for number, prompt in enumerate(prompts, 1):
        reached = prompt.grad is not None and bool(prompt.grad.abs().sum(-1).all())
        require(reached, f"a prompt of text layer {number} gets no gradient")


def the_embedding_can_be_changed(case: Case) -> None:
    """Check that embed applies `change` to the tokens before the norm, and that tokens may be added after the patches."""
    backbone = _build(case)
    if backbone.across_frames:  # a video encoder has no `embed`
        return
    frames = _frames(backbone)
    levels = (0, backbone.num_layers)
    with torch.inference_mode():
        plain = backbone.visual_tokens(frames, levels)
        same = backbone.visual_tokens(frames, levels, change=lambda x_BTNV: x_BTNV)
        _require_same("the tokens after a change to nothing", same[0], plain[0])
        shifted = backbone.visual_tokens(frames, levels, change=lambda x_BTNV: x_BTNV + 1.5 * x_BTNV.flip(-1))
        require(not torch.allclose(shifted[0], plain[0], atol=1e-3), "embed does not apply `change`")
        longer = backbone.visual_tokens(frames, levels, change=lambda x: torch.cat([x, x[..., :2, :]], -2))
        N = plain[0].shape[2]
        _require_same("the tokens before two added ones", longer[0][:, :, :N], plain[0])
        _require_shape("the tokens with two added ones", longer[levels[1]], (B, T, N + 2, backbone.width))


def long_texts_are_cut(case: Case) -> None:
    """Check that a text longer than the context is cut, and that token_counter agrees with tokenize."""
    backbone = _build(case)
    if not backbone.has_text:
        return
    tokens = backbone.tokenize(["up and down " * backbone.context_length])
    length, context = tokens.ids_KL.shape[1], backbone.context_length
    require(length <= context, f"a long text gives {length} tokens, context_length is {context}")
    save_backbone(backbone, case.folder, {"weights": "checked"}, case.module)
    count = case.cls.token_counter(read_architecture(case.folder))
    for text, length in zip(TEXTS, backbone.tokenize(TEXTS).mask_KL.sum(1).tolist(), strict=True):
        require(
            count(text) == length, f"token_counter counts {count(text)} tokens of '{text}', tokenize gives {length}"
        )


def the_scale_is_set_and_clamped(case: Case) -> None:
    """Check that logits rise with cosines, by 1 / temperature once it is set, and that clamp_scale limits the scale."""
    backbone = _build(case)
    with torch.no_grad():
        low, high = backbone.logits(torch.tensor([0.0, 1.0])).tolist()
        require(low < high, f"the logits of the cosines 0 and 1 are {low:.4g} and {high:.4g}")
        backbone.set_temperature(0.5)
        low, high = backbone.logits(torch.tensor([0.0, 1.0])).tolist()
        require(
            abs(high - low - 2) < TOLERANCE, f"with temperature 0.5 the logits are {high - low:.4g} apart instead of 2"
        )
        backbone.set_temperature(1e-9)
        backbone.clamp_scale()
        low, high = backbone.logits(torch.tensor([0.0, 1.0])).tolist()
        require(high - low < 1e6, f"clamp_scale leaves the scale at {high - low:.4g}; CLIP's largest is 100")


def parameters_have_a_place(case: Case) -> None:
    """Check that every parameter is marked as pretrained, and that depth_of gives its part and level."""
    backbone, parts = _build(case), set()
    for name, parameter in backbone.named_parameters():
        require(getattr(parameter, "is_pretrained", False), f"{name} is not marked; call mark_pretrained once built")
        depth = backbone.depth_of(name)
        require(depth.part in PARTS, f"depth_of('{name}') has part '{depth.part}'; take one of {', '.join(PARTS)}")
        require(depth.level >= 0, f"depth_of('{name}') has level {depth.level}")
        if depth.part == "image":
            after = backbone.num_layers + 1
            require(depth.level <= after, f"depth_of('{name}') has level {depth.level}; the last is {after}")
            parts.add(depth.level)
    missing = set(range(1, backbone.num_layers + 1)) - parts
    require(not missing, f"no parameter is in layer {min(missing, default=0)} of the image encoder")


def files_restore_the_model(case: Case) -> None:
    """Check that a model that was saved and loaded again gives exactly the same features."""
    backbone = _build(case)
    save_backbone(backbone, case.folder, {"weights": "checked"}, case.module)
    loaded = load_backbone(case.folder)
    with torch.inference_mode():
        frames = _frames(backbone)
        same = torch.equal(loaded.encode_frames(frames), backbone.encode_frames(frames))
        require(same, "the frame features are different")
        if backbone.has_text:
            features = [model.encode_text(model.tokenize(TEXTS))[0] for model in (loaded, backbone)]
            require(torch.equal(*features), "the text features are different")
        logits = [model.logits(torch.ones(1)) for model in (loaded, backbone)]
        require(torch.equal(*logits), "the logits are different")


CHECKS = (
    facts_are_those_of_the_model,
    tokens_have_the_right_shapes,
    the_default_hook_changes_nothing,
    a_layer_is_its_branches,
    bytes_are_normalised,
    texts_are_encoded_alone,
    prompts_are_inserted,
    the_embedding_can_be_changed,
    long_texts_are_cut,
    the_scale_is_set_and_clamped,
    parameters_have_a_place,
    files_restore_the_model,
)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _build(case: Case) -> Backbone:
    """Return the model with its weights, in float32 and in evaluation mode."""
    torch.manual_seed(0)
    backbone: Backbone = case.cls.prepare(case.config).float().eval()
    return backbone


def _frames(backbone: Backbone) -> Tensor:
    """Return frames of normalised noise [B, T, 3, H, W]; of a video encoder, `_num_frames` of them."""
    size = backbone.image_size_px
    return torch.randn(B, _num_frames(backbone), 3, size, size, generator=_generator(3))


def _num_frames(backbone: Backbone) -> int:
    """Return a number of frames that the backbone takes: T, or of a video encoder two steps or what it needs."""
    return T if not backbone.across_frames else backbone.num_frames or 2 * backbone.frames_per_step


def _require_shape(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    require(tuple(tensor.shape) == shape, f"{what} has shape {tuple(tensor.shape)}, not {shape}")


def _require_same(what: str, actual: Tensor, expected: Tensor) -> None:
    """Raise ContractError, with the name `what`, unless two tensors have equal shapes and values up to TOLERANCE."""
    require(actual.shape == expected.shape, f"{what} has shape {tuple(actual.shape)}, not {tuple(expected.shape)}")
    difference = float((actual - expected).abs().max())
    require(difference <= TOLERANCE * max(1.0, float(expected.abs().max())), f"{what} differs by {difference:.2g}")
