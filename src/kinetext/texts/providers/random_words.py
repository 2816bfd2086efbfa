"""Control: the class name followed by random words or random letters in place of a description.

WaffleCLIP (Roth et al., "Waffling around for Performance", ICCV 2023) found that on many image data sets such sentences
work about as well as descriptions of a language model, so descriptions have to be compared with them. As in WaffleCLIP,
sentences with words and with letters alternate. WaffleCLIP uses the same random sentences for all classes (`shared`);
an ablation of the paper uses different ones for each class, which is the default here.
"""

import random
import string

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.texts.positions import with_positions
from kinetext.texts.providers.base import Context, Provider, Text

# nothing that moves by itself or names a position in the picture
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


class RandomWords(Provider):
    """Random words in the form of descriptions, as a control."""

    control = True

    class Config(Options):
        """Number and seed of the random sentences."""

        sentences: int = Field(
            3, ge=1, le=20, description="about the whole clip, besides one of the start, one of the end and `steps`"
        )
        steps: int = Field(0, ge=0, le=20, description="sentences between start and end")
        words: int = Field(2, ge=1, le=10, description="random words, or random strings of five letters, per sentence")
        shared: bool = Field(False, description="same noise for all classes (WaffleCLIP); otherwise each class its own")
        seed: int = Field(0, ge=0, description="random seed of the words")

    @property
    def sentences(self) -> int:
        """How many sentences about the whole clip each class has."""
        return self.config.sentences

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return rows of kind `random`, with the positions of a description. Words of class names are not used."""
        config = self.config
        generator = random.Random(f"{config.seed}" if config.shared else f"{config.seed} {label}")
        in_names = {word for name in context.labels for word in name.casefold().split()}
        words = [word for word in WORDS if word not in in_names]
        texts = []
        empty = [""]
        places = with_positions(empty, empty * config.steps, empty, empty * config.sentences)
        for i, (position, _) in enumerate(places):
            letters = ["".join(generator.choices(string.ascii_lowercase, k=5)) for _ in range(config.words)]
            noise = " ".join(letters if i % 2 else generator.sample(words, config.words))
            texts.append(Text(label, f"{label}, which has {noise}", "random", position, source="random words"))
        return texts
