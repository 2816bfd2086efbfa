"""Write true captions of stills and captions with one wrong attribute, and decide whether a caption is true of a still.

Stills and captions are known as symbols, so `truth` decides for every caption whether it is true of every still, and no
true pair is ever treated as a negative. A caption with one attribute changed is a hard negative (NegCLIP, Yuksekgonul
et al., ICLR 2023).

B stills, K captions, A attributes.
"""

import numpy as np

from kinetext.data.stills import ATTRIBUTES, FREE, NAMES, NONE, PAIR_ONLY, UNSURE, Still


def caption_values(still: Still, random: np.random.Generator) -> dict[str, int]:
    """Choose at random the attributes of a still that a caption states.

    Return their true values as indices into ATTRIBUTES.
    """
    known = {name: value for name, value in still.values.items() if value >= 0}
    has_other = "other_shape" in known
    if has_other:
        relation = "distance" if random.random() < 0.4 else ("side" if "side" in known else "height")
        keep = {relation} | {name for name in ("shape", "colour") if random.random() < 0.7}
        if relation == "distance":
            keep &= {"distance", "shape", "colour"} if random.random() < 0.5 else {"distance"}
        keep |= {f"other_{name}" for name in keep & {"shape", "colour"}}
        if relation != "distance" and not keep & {"shape", "colour"}:
            keep |= {"colour", "other_colour"}
        if relation != "distance" and all(known[n] == known[f"other_{n}"] for n in keep & {"shape", "colour"}):
            keep = {"distance"}  # "a red shape left of a red shape" is true both ways round
    else:
        keep = {name for name in known if random.random() < 0.35}
        if known.get("visibility") == 0:
            keep -= {"visibility"}  # captions do not mention that a figure is solid
    for special in ("gate", "box", "orientation"):
        if special in known and random.random() < 0.7:
            keep |= {special}
    if known.get("visibility", 0) > 0 and random.random() < 0.8:
        keep |= {"visibility"}
    if not keep:
        keep = {str(random.choice([name for name in known if name != "visibility"] or ["visibility"]))}
    return {name: known[name] for name in NAMES if name in keep}


def hard_negative(values: dict[str, int], random: np.random.Generator) -> dict[str, int]:
    """Return the values of a caption with one attribute, chosen at random, replaced by a wrong value."""
    names = [name for name in values if not name.startswith("other_")] or list(values)
    if "orientation" in names and "shape" in names:
        names.remove("shape")  # only arrows have a direction: the caption would contain "arrow" in any case
    name = str(random.choice(names))
    wrong = int(random.integers(len(ATTRIBUTES[name]) - 1))
    wrong += wrong >= values[name]
    if name == "visibility":
        wrong = {1: 2, 2: 1}[values[name]]  # captions call faint figures "a shape", too
    return values | {name: wrong}


def caption_text(values: dict[str, int], random: np.random.Generator) -> str:
    """Return the caption that states these values, in one of several wordings."""
    word = {name: ATTRIBUTES[name][value] for name, value in values.items()}
    if word.get("visibility") == "absent":
        text = str(random.choice(("an empty scene", "nothing is there", "nothing")))
    elif any(name in word for name in PAIR_ONLY):
        text = _pair_text(word)
    else:
        text = _single_text(word, random)
    if "background" in word:
        tail = f"on a {word['background']} background"
        text = f"{text} {tail}" if text else str(random.choice((f"a {word['background']} background", tail)))
    return text


def _noun(word: dict[str, str], prefix: str = "") -> str:
    parts = [word.get(prefix + "colour", ""), word.get(prefix + "shape", "shape")]
    if not prefix:
        faint = "faint" if word.get("visibility") == "faint" else ""
        parts = [faint, word.get("size", ""), *parts]
    return "a " + " ".join(part for part in parts if part)


def _pair_text(word: dict[str, str]) -> str:
    relation = word.get("side") or word.get("height")
    first, second = _noun(word), _noun(word, "other_")
    if relation:
        return f"{first} {relation} {second}"
    both = "two shapes" if first == second == "a shape" else f"{first} and {second}"
    return f"{both} {word.get('distance', '')}".strip()


def _single_text(word: dict[str, str], random: np.random.Generator) -> str:
    named = any(name in word for name in ("shape", "colour", "size", "visibility", "orientation"))
    if "orientation" in word:
        word = word | {"shape": "arrow"}
    subject = _noun(word) if named else str(random.choice(("a shape", "it is", "something")))
    tail = []
    if "orientation" in word:
        tail.append(f"pointing {word['orientation']}")
    if "position" in word:
        preposition = "in the" if word["position"] == "centre" else "at the"
        tail.append(f"{preposition} {word['position']}")
    if "box" in word:
        tail.append(f"{word['box']} the box")
    if "gate" in word:
        gate = str(random.choice((f"the gate is {word['gate']}", f"{word['gate']} gate")))
        return f"{gate} and {subject} {' '.join(tail)}".strip() if named or tail else gate
    return f"{subject} {' '.join(tail)}".strip() if named or tail else ""


# Shape and colour by position in a pair: the same for the still and for captions that begin with either figure.
POSITIONED: dict[str, tuple[str, ...]] = {
    f"{position} {name}": ATTRIBUTES[name]
    for position in ("left", "right", "upper", "lower")
    for name in ("shape", "colour")
}


def positioned(values: dict[str, int]) -> dict[str, int]:
    """Return the shape and colour of each figure of a pair, by position: left and right, or upper and lower.

    The result is empty if neither `side` nor `height` is known.
    """
    by_position = {}
    for relation, ends in (("side", ("left", "right")), ("height", ("upper", "lower"))):
        if values.get(relation, NONE) < 0:
            continue
        first, second = ends if values[relation] == 0 else ends[::-1]
        for name in ("shape", "colour"):
            for position, key in ((first, name), (second, f"other_{name}")):
                if values.get(key, NONE) >= 0:
                    by_position[f"{position} {name}"] = values[key]
    return by_position


def table(rows: list[dict[str, int]], absent: int) -> np.ndarray:
    """Return attribute values as int8 [rows, A]. Missing attributes get the value `absent`."""
    return np.array([[row.get(name, absent) for name in NAMES] for row in rows], np.int8)


def truth(stills_BA: np.ndarray, captions_KA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two bool arrays [B, K]: whether each caption is true of each still, and whether that cannot be decided.

    A caption of two figures may begin with either figure.
    """
    true_BK, undecided_BK = _truth(stills_BA, captions_KA)
    true_swapped_BK, undecided_swapped_BK = _truth(stills_BA, _swapped(captions_KA))
    true_BK |= true_swapped_BK
    return true_BK, (undecided_BK | undecided_swapped_BK) & ~true_BK


def _swapped(captions_KA: np.ndarray) -> np.ndarray:
    """Return the captions of two figures with the figures exchanged: "a left of b" becomes "b right of a".

    Captions of one figure do not change.
    """
    swapped_KA = captions_KA.copy()
    column = {name: index for index, name in enumerate(NAMES)}
    pair_K = (captions_KA[:, [column[name] for name in PAIR_ONLY]] != FREE).any(-1)
    for name in ("shape", "colour"):
        one, other = column[name], column[f"other_{name}"]
        swapped_KA[pair_K, one], swapped_KA[pair_K, other] = captions_KA[pair_K][:, [other, one]].T
    for relation in (column["side"], column["height"]):
        stated_K = captions_KA[:, relation] != FREE
        swapped_KA[stated_K, relation] = 1 - captions_KA[stated_K, relation]
    return swapped_KA


def _truth(stills_BA: np.ndarray, captions_KA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two arrays of `truth`, but only for captions of two figures that begin with the main figure."""
    s, c = stills_BA[:, None, :], captions_KA[None, :, :]
    agrees = (c == FREE) | (s == c)
    # "a red circle" in a still of two figures may mean either of them
    pair_only = [name in PAIR_ONLY for name in NAMES]
    one_of_two = (stills_BA[:, NAMES.index("other_shape")] >= 0)[:, None] & (captions_KA[:, pair_only] == FREE).all(-1)
    of_figure = np.array([name in ("shape", "colour") for name in NAMES])
    unsure = (c != FREE) & ((s == UNSURE) | (one_of_two[:, :, None] & of_figure & (s >= 0)))
    true_BK = agrees.all(-1)
    return true_BK, (agrees | unsure).all(-1) & ~true_BK
