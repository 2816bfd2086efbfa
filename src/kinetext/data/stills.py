"""Stills of the shapes world with true captions, on which the small CLIP is pretrained.

A still has attributes (colour, position, gate, ...), and a caption states some of them. Both are known as symbols, so
`truth` tells for every caption whether it is true of every still, and no true pair is ever treated as a negative. A
caption with one attribute changed is a hard negative (NegCLIP, Yuksekgonul et al., ICLR 2023). Nothing moves here:
the resulting CLIP knows appearance and position, and no motion.

B stills, K captions, A attributes.
"""

from dataclasses import dataclass

import numpy as np

from kinetext.data.scenes import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    POSITIONS,
    RADIUS,
    SHAPES,
    Figure,
    Scene,
    distractors,
    jittered_colour,
)

# Attributes and their values, in the order of the columns of `table`.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(RADIUS),
    "position": tuple(POSITIONS),
    "background": tuple(BACKGROUNDS),
    "orientation": tuple(DIRECTIONS),
    "visibility": ("solid", "faint", "absent"),
    "gate": ("open", "closed"),
    "box": ("inside", "outside"),
    "side": ("left of", "right of"),
    "height": ("above", "below"),
    "distance": ("close together", "far apart"),
    "other_shape": SHAPES,
    "other_colour": tuple(COLOURS),
}
NAMES = tuple(ATTRIBUTES)
FREE, NONE, UNSURE = -1, -2, -3  # a caption does not state it; a still lacks it; a still is ambiguous
PAIR_ONLY = ("side", "height", "distance", "other_shape", "other_colour")


@dataclass
class Still:
    """A scene to draw and its attributes as indices into ATTRIBUTES (or NONE, UNSURE)."""

    scene: Scene
    values: dict[str, int]


def draw_still(kind: str, random: np.random.Generator) -> Still:
    """Return a random still of a kind: single, pair, gate, box or empty."""
    values = dict.fromkeys(NAMES, NONE)
    background = int(random.integers(len(BACKGROUNDS)))
    values["background"] = background
    brightness = float(list(BACKGROUNDS.values())[background] + random.uniform(-0.07, 0.07))
    scene = Scene(brightness, tuple(random.uniform(-0.04, 0.04, 3)), noise=random.uniform(0.0, 0.05))
    scene.figures += distractors(int(random.integers(0, 5)), brightness, random)
    if kind == "empty":
        values["visibility"] = 2
        return Still(scene, values)
    main, main_values = _figure(random, arrow_share=0.3 if kind == "single" else 0.1)
    values |= main_values | {"visibility": 0}
    if kind == "single":
        if random.random() < 0.15:
            main.opacity, values["visibility"] = random.uniform(0.15, 0.4), 1
        scene.figures.append(main)
    elif kind == "gate":
        values["gate"] = int(random.integers(2))
        scene.gate = random.uniform(0.75, 1.0) if values["gate"] == 0 else random.uniform(0.0, 0.2)
        # half of the gate scenes hold a figure to the side of the gate, where it cannot hide it
        if random.random() < 0.5:
            main.x, values["position"] = random.choice((0.18, 0.82)), UNSURE
            main.radius, values["size"] = min(main.radius, 0.15), UNSURE
            scene.figures.append(main)
        else:
            values |= dict.fromkeys(("shape", "colour", "size", "position", "orientation", "visibility"), NONE)
    elif kind == "box":
        values["box"] = int(random.integers(2))
        x, y = random.uniform(0.28, 0.72, 2)
        grey = 0.95 if brightness < 0.5 else 0.05
        scene.figures.append(Figure("box", (grey,) * 3, x, y, random.uniform(0.2, 0.25)))
        main.radius = random.uniform(0.08, 0.11)
        if values["box"] == 0:
            main.x, main.y = x + random.uniform(-0.05, 0.05), y + random.uniform(-0.05, 0.05)
        else:
            main.x, main.y = _away(x, y, 0.36, random)
        values["size"] = values["position"] = UNSURE
        scene.figures.append(main)
    elif kind == "pair":
        other, other_values = _figure(random, arrow_share=0.1)
        values |= {"other_shape": other_values["shape"], "other_colour": other_values["colour"]}
        values |= dict.fromkeys(("size", "position", "orientation"), UNSURE)
        main.radius, other.radius = random.uniform(0.08, 0.13, 2)
        _arrange(main, other, values, random)
        scene.figures += [main, other]
    else:
        raise ValueError(f"kind: no still of kind '{kind}'; known: single, pair, gate, box, empty")
    return Still(scene, values)


def _figure(random: np.random.Generator, arrow_share: float) -> tuple[Figure, dict[str, int]]:
    shape = SHAPES.index("arrow") if random.random() < arrow_share else int(random.integers(len(SHAPES) - 1))
    colour, size = int(random.integers(len(COLOURS))), int(random.integers(len(RADIUS)))
    position, direction = int(random.integers(len(POSITIONS))), int(random.integers(len(DIRECTIONS)))
    values = {"shape": shape, "colour": colour, "size": size, "position": position, "orientation": NONE}
    angle = random.uniform(-0.2, 0.2)
    if SHAPES[shape] == "arrow":
        values["orientation"] = direction
        angle += list(DIRECTIONS.values())[direction]
    x, y = np.asarray(list(POSITIONS.values())[position]) + random.uniform(-0.06, 0.06, 2)
    radius = list(RADIUS.values())[size] * random.uniform(0.9, 1.1)
    rgb = jittered_colour(list(COLOURS)[colour], random)
    return Figure(SHAPES[shape], rgb, float(x), float(y), radius, angle), values


def _away(x: float, y: float, distance: float, random: np.random.Generator) -> tuple[float, float]:
    """Return a point of the frame at least `distance` away from (x, y) in one direction."""
    while True:
        point = random.uniform(0.12, 0.88, 2)
        if max(abs(point[0] - x), abs(point[1] - y)) >= distance:
            return float(point[0]), float(point[1])


def _arrange(main: Figure, other: Figure, values: dict[str, int], random: np.random.Generator) -> None:
    """Put two figures beside or above each other, close or far; ambiguous attributes stay UNSURE."""
    along = int(random.integers(2))  # 0: beside each other, 1: above each other
    near = random.random() < 0.5
    gap = random.uniform(0.24, 0.3) if near else random.uniform(0.58, 0.7)
    first_is_main = random.random() < 0.5
    start = random.uniform(0.14, 0.86 - gap)
    across = random.uniform(0.15, 0.85)
    ends = [(start, across), (start + gap, across + random.uniform(-0.06, 0.06))]
    for figure, (a, c) in zip((main, other) if first_is_main else (other, main), ends, strict=True):
        figure.x, figure.y = (a, c) if along == 0 else (c, a)
    values["distance"] = 0 if near else 1
    values["side"] = (0 if first_is_main else 1) if along == 0 else UNSURE
    values["height"] = (0 if first_is_main else 1) if along == 1 else UNSURE


def caption_values(still: Still, random: np.random.Generator) -> dict[str, int]:
    """Return the attributes that a caption of a still will state: some of the true ones."""
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
    """Return the values with one attribute replaced by a wrong value."""
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
    """Return the stated shape and colour of the left and right, or upper and lower, figure of a pair."""
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
    """Return attribute values as int8 [rows, A], with `absent` for missing ones."""
    return np.array([[row.get(name, absent) for name in NAMES] for row in rows], np.int8)


def truth(stills_BA: np.ndarray, captions_KA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each caption is true of each still, and whether that is undecided: two bool arrays [B, K].

    A caption of two figures may begin with either of them.
    """
    true_BK, undecided_BK = _truth(stills_BA, captions_KA)
    true_swapped_BK, undecided_swapped_BK = _truth(stills_BA, _swapped(captions_KA))
    true_BK |= true_swapped_BK
    return true_BK, (undecided_BK | undecided_swapped_BK) & ~true_BK


def _swapped(captions_KA: np.ndarray) -> np.ndarray:
    """Return captions that begin with the other figure: "a left of b" as "b right of a"; one figure's stay."""
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
    """Return `truth` for captions that begin with the main figure."""
    s, c = stills_BA[:, None, :], captions_KA[None, :, :]
    agrees = (c == FREE) | (s == c)
    # "a red circle" in a still of two figures may mean either of them
    pair_only = [name in PAIR_ONLY for name in NAMES]
    one_of_two = (stills_BA[:, NAMES.index("other_shape")] >= 0)[:, None] & (captions_KA[:, pair_only] == FREE).all(-1)
    of_figure = np.array([name in ("shape", "colour") for name in NAMES])
    unsure = (c != FREE) & ((s == UNSURE) | (one_of_two[:, :, None] & of_figure & (s >= 0)))
    true_BK = agrees.all(-1)
    return true_BK, (agrees | unsure).all(-1) & ~true_BK
