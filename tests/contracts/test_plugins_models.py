"""Methods, backbones and loss terms from outside, and variants of each that break the contract."""

import pytest

from outside_plugins import check, outside

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [("methods", "adapter", '{"bottleneck": 4}'), ("backbones", "patchless", '{"dim": 12}'), ("terms", "smooth", "{}")],
)
def test_a_plugin_from_outside_keeps_the_contract(kind, name, options):
    code, output = check(kind, outside(name), "--options", options)
    assert code == 0, output


BROKEN_METHODS = {
    "sees_order is True, and reversed frames change the scores by": ("sees_order = False", "sees_order = True"),
    "sees_order is False, and cannot_see does not name order": ("IGNORES_ORDER\n\n", '"Nothing."\n\n'),
    "cannot_see, shuffled frames": (
        "x_SNV + attended +",
        "x_SNV + attended * (1 + attended.unflatten(0, x_BTNV.shape[:2]).diff(dim=1).abs().sum((1, 2, 3)).div(100)"
        ".repeat_interleave(x_BTNV.shape[1])[:, None, None]) +",
    ),
    "cannot_see is ''; write one line of text": ("cannot_see = IGNORES_ORDER", 'cannot_see = ""'),
    "tasks is ('clips',)": ("sees_order = False", 'tasks = ("clips",)'),
    "down.0.weight gets no gradient with trained encoders": ("self.down[number - 1](attended)", "attended[..., :8]"),
    "clip 0 alone": ("x_SNV + attended +", "x_SNV + attended - attended.mean(0) +"),
    "some scores are not finite": ("x_SNV + attended +", "x_SNV + attended / 0 +"),
    "needs_descriptions is True, and names alone are accepted": ("inside = True", "inside = needs_descriptions = True"),
    "losses returns no dictionary": (
        "    def layer",
        "    def losses(self, batch):\n        return 0.0\n\n    def layer",
    ),
    "levels is (1,); the last layer, 4": ("    def layer", "    levels = (1,)\n\n    def layer"),
}


@pytest.mark.parametrize("message", BROKEN_METHODS)
def test_a_method_that_breaks_the_contract_is_named_with_the_reason(message):
    code, output = check("methods", outside("adapter", *BROKEN_METHODS[message]))
    assert code == 1
    assert message in output


BROKEN_BACKBONES = {
    "facts() says that num_layers is 3, the model has 2": ("Facts(SIZE_PX, LAYERS", "Facts(SIZE_PX, 3"),
    "positions is not marked": ("self.mark_pretrained()", "pass"),
    "no parameter is in layer 1 of the image encoder": ("1 + int(rest", "2 + int(rest"),
    "token_counter counts 3 tokens of 'moving left', tokenize gives 4": (
        "len(text.split()) + 2",
        "len(text.split()) + 1",
    ),
    "'moving left' alone differs by": ("mask=tokens.mask_KL[:, None, None]", "mask=None"),
    "the logits of the cosines 0 and 1 are": ("self.log_scale.exp() * cosines", "-self.log_scale.exp() * cosines"),
    "clamp_scale leaves the scale at": ("self.log_scale.clamp_(", "self.log_scale.clamp("),
    "the frame features are different": (
        "return self.image_out(summary_BTV)",
        "return self.image_out(summary_BTV) + self.not_saved",
        "self.mark_pretrained()",
        "self.not_saved = torch.rand(()).item()\n        self.mark_pretrained()",
    ),
    "layer 1 with extra keys and values": ("if extra_keys_values is not None", "if False"),
    "summary has shape": ("tokens_BTNV.mean(-2)", "tokens_BTNV"),
}


@pytest.mark.parametrize("message", BROKEN_BACKBONES)
def test_a_backbone_that_breaks_the_contract_is_named_with_the_reason(message):
    code, output = check("backbones", outside("patchless", *BROKEN_BACKBONES[message]))
    assert code == 1
    assert message in output


BROKEN_TERMS = {
    "take the mean over the clips": ("dim=-1).mean()", "dim=-1)"),
    "no parameter of the method gets a gradient": (
        "frame_features(inputs.tokens)",
        "frame_features(inputs.tokens).detach()",
    ),
    "projection.weight of the term gets no gradient": ("frames_BTP = self.projection(", "frames_BTP = ("),
    "registers parameters of the method as its own": (
        "        self.projection =",
        "        self.kept = method\n        self.projection =",
    ),
}


@pytest.mark.parametrize("message", BROKEN_TERMS)
def test_a_loss_term_that_breaks_the_contract_is_named_with_the_reason(message):
    code, output = check("terms", outside("smooth", *BROKEN_TERMS[message]))
    assert code == 1
    assert message in output
