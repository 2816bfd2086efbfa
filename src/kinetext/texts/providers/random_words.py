"""Control: the class name followed by random words or random letters, where a description would stand.

WaffleCLIP (Roth et al., "Waffling around for Performance", ICCV 2023): such sentences do about as well as a language
model's descriptions on many image data sets, so that what descriptions add has to be measured against them. As there,
words and letters take turns; WaffleCLIP gives all classes the same noise (`shared`), its ablation gives each its own.
"""

import random
import string

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.texts.providers import Context, Text

CONTROL = True
# nothing that moves by itself or names a place in the picture
WORDS = """
    acorn album almond amber anchor apron attic autumn badge bagel barley barrel basil beacon beige bishop blanket bottle
    bronze button cabbage cactus candle canvas carbon carpet cedar cellar cement chalk cherry chimney cinnamon clay clover
    cobalt coffee copper coral cotton crayon cream crystal cupboard curtain cushion dairy denim diamond drawer dust ebony
    echo emerald enamel fabric feather fennel fiction flannel flint flour fossil garlic ginger glacier gold granite gravel
    hazel helium honey indigo ink iron island ivory jade jam jasmine jelly juniper kettle lace lantern lavender lemon lilac
    linen magnet mango maple marble meadow mercury mint mirror moss museum mustard napkin nickel nutmeg olive onion opal
    orchid oxygen oyster paper parsley pastry pearl pebble pepper pewter pickle pillow plaster plum poem porcelain powder
    quartz quilt raisin ribbon rose rubber ruby saffron salt sapphire satin sauce scarlet silk silver slate soap spice
    sponge starch statue steel sugar sulphur syrup tapestry thyme tile timber tin topaz tulip turquoise umbrella vanilla
    velvet vinegar violet walnut wax wheat willow wool yeast zinc
""".split()  # noqa: SIM905 (a list of 150 lines)


class Config(Options):
    """How much noise, and which."""

    sentences: int = Field(
        3, ge=1, le=20, description="about the whole clip, beside one of the start and one of the end"
    )
    words: int = Field(2, ge=1, le=10, description="random words, or random strings of five letters, per sentence")
    shared: bool = Field(False, description="all classes have the same noise (WaffleCLIP); otherwise each its own")
    seed: int = Field(0, ge=0, description="of the draw")


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """Rows of kind `random`, in the phases that a description has. No word is drawn that is part of a class name."""
    draw = random.Random(f"{config.seed}" if config.shared else f"{config.seed} {label}")
    taken = {word for name in context.labels for word in name.casefold().split()}
    free = [word for word in WORDS if word not in taken]
    texts = []
    for i, phase in enumerate(("start", "end", *["whole"] * config.sentences)):
        letters = ["".join(draw.choices(string.ascii_lowercase, k=5)) for _ in range(config.words)]
        noise = " ".join(letters if i % 2 else draw.sample(free, config.words))
        texts.append(Text(label, f"{label}, which has {noise}", kind="random", phase=phase, source="random words"))
    return texts
