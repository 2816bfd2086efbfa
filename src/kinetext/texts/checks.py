"""Which sentences may not be used, and why: the faults that language models' descriptions are known for.

The list is what is wrong with published description files (reference/field.md 4: numbers left in sentences, sentences that
hundreds of classes share, refusals, text cut at 77 tokens, steps that nobody can see) and what an image-text model cannot
understand (a rival's name after "unlike"). Nothing is mended here: a sentence has a status, `ok` or `reason: what exactly`,
and whoever wrote it may be asked again. The vocabulary is REASONS, and docs/texts.md repeats it.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache

from kinetext.texts.providers.base import Text

REASONS = {
    "failed": "no answer, or none that can be read",
    "not_json": "the answer is not the JSON object that was asked for",
    "missing_key": "the answer lacks a part, or a part has the wrong form",
    "cut_off": "the answer ends at the server's limit of tokens",
    "refusal": "the model declines to answer",
    "missing": "an edited file has no sentence about the class",
    "count": "more or fewer sentences about the whole movement than were asked for",
    "empty": "no sentence",
    "character": "a line break or another control character inside",
    "fence": "marks of a code block",
    "preamble": "words about the answer instead of an answer",
    "numbered": "begins with a number",
    "bullet": "begins with a bullet or a mark of a heading",
    "quoted": "stands in quotation marks",
    "name_only": "says no more than the class's name",
    "rival": "names a class that it shall be told apart from; an image-text model does not understand `unlike`",
    "not_visual": "thoughts, purposes, preparation or sound, which no frame shows",
    "long": "over the backbone's limit of tokens: its end would be cut off",
    "repeated": "stands in its class before, for the same part of the clip",
    "pair": "the same sentence as a rival's, for the same part of the clip",
    "shared": "the same sentence as another class's, for the same part of the clip",
}

# how a provider's failures read (texts/prompts.py, providers/chat_api.py) -> their reason
_FAILURES = (
    (r"the model refused", "refusal"),
    (r"the answer was cut off", "cut_off"),
    (r"the answer is (not|a) JSON", "not_json"),
    (r"the answer is empty|the reply has no text", "empty"),
    (r"the answer has no '|'\w+' in the answer", "missing_key"),
)
# what a sentence begins with, or holds
_FORMS = (
    ("fence", r"`"),
    (
        "refusal",
        r"^((i'?m|i am) (very |so )?)?sorry\b|^(i'?m|i am) (unable|not able)\b|^i (cannot|can'?t|can not)\b|\bas an ai\b",
    ),
    ("preamble", r"^(sure|certainly|of course|absolutely|okay|ok)\b *[,.!:]|^(here|below) (is|are)\b|^here's\b|:$"),
    ("preamble", r"^(the )?following\b|^(start|end|whole|answer|output|description|sentence)( \d+)? *:"),
    ("numbered", r"^[(\[]?\d{1,3} ?[.):\]](?!\d)|^[(\[]?[a-h][)\]]|^#\d|^(step|number|no\.) \d"),
    ("bullet", r"^([-*+>\u2022\u2023\u25e6\u25aa\u00b7\u2013\u2014]|#+ )"),  # the last ones: dots, a square, dashes
    ("quoted", r"^[\"\u00ab].*[\"\u00bb]\W?$|^'.*'\W?$"),
)
# words for what cannot be seen; a class may be called so
_NOT_VISUAL = re.compile(
    r"\b(in order to|so as to|for the purpose|intend\w*|inten(t|tion)(ally)?|feel(s|ing|ings)?|emotion\w*"
    r"|decid(e|es|ing)|wants? to|wishes to|hop(es|ing) to|imagin(e|es|ing)|think(s|ing)?|thoughts?|believ(e|es|ing)"
    r"|remember(s|ing)?|understand(s|ing)?|know(s|ing)?|realis(es|ing)|realiz(es|ing)|enjoy(s|ing)?"
    r"|prepar(e|es|ing|ation) (for|to)|gets? ready|getting ready|plans? to|planning to|motivat\w*"
    r"|hear(s|ing)?|audibl[ey]|loud(ly)?|sounds?|noises?|smell(s|ing)?)\b"
)
_FILLER = re.findall(
    r"\w+",
    "a an the of in on with and is are be being it its this that there one do does doing some someone somebody "
    "person people man woman human video clip footage movie scene picture frame photo showing shows",
)
_CONTROL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode's categories, but for the two joiners of Indic scripts
_ARTICLES = {"a", "an", "the"}
_TYPEWRITER = str.maketrans("\u2018\u2019\u201a\u201c\u201d\u201e", "'''\"\"\"")
_NAMES = ("name", "caption")  # kinds that describe nothing


@dataclass(frozen=True)
class TokenLimit:
    """The longest text that the backbone's text tower takes, start and end token included, and how to count a text's."""

    most: int
    count: Callable[[str], int]


def check_texts(
    texts_by_label: dict[str, list[Text]],
    rivals: dict[str, list[str]],
    sentences: int | None = None,
    limit: TokenLimit | None = None,
    skip_checks: bool = False,
) -> dict[str, list[Text]]:
    """The same texts with their status, class by class. Only motion is judged by what it says, and compared between classes:
    names are given, and what stands still may be the same in two classes.

    `sentences` is how many about the whole movement each answer has to have (rows of one class and rival are one answer);
    missing ones become a row without a sentence. Rows that have a sentence are judged anew, whatever their status was; a
    provider's own failure stays. With `skip_checks` only emptiness counts.
    """
    checked = {}
    for label, texts in texts_by_label.items():
        own = [_judged(text, rivals.get(label, []), limit, skip_checks) for text in texts if not _is_gap(text)]
        checked[label] = _counted(own, sentences) if sentences and not skip_checks else own
    return checked if skip_checks else _compared(checked, rivals)


def form_fault(sentence: str, limit: TokenLimit | None = None) -> str | None:
    """What is wrong with how a sentence is written, as `reason: what exactly`; None if nothing is."""
    odd = next((c for c in sentence if unicodedata.category(c) in _CONTROL and c not in "\u200c\u200d"), None)
    if odd:
        return f"character: holds U+{ord(odd):04X}"
    plain = _straight(sentence).strip()
    for reason, pattern in _FORMS:
        found = re.search(pattern, plain)
        if found:
            return f"{reason}: '{_short(found[0])}'"
    if limit and len(sentence.encode()) + 2 > limit.most:  # a token has at least a byte; counting costs an import
        tokens = limit.count(sentence)
        if tokens > limit.most:
            return f"long: {tokens} tokens, the backbone takes {limit.most}"
    return None


def content_fault(sentence: str, label: str, rivals: Collection[str] = (), phase: str = "whole") -> str | None:
    """What is wrong with what a description says of its class's motion, as `reason: what exactly`; None if nothing is."""
    words, own = _words(sentence), _words(label)
    form = fold if phase == "whole" else str  # the state `the gate is open` says more than `gate opening`
    if {form(word) for word in _split(sentence)} - {form(word) for word in _FILLER} <= {form(w) for w in _split(label)}:
        return f"name_only: nothing beyond '{label}'"
    for rival in rivals:
        if _inside(_words(rival), words) and not _inside(_words(rival), own):
            return f"rival: names '{rival}'"
    for found in _NOT_VISUAL.finditer(sentence.casefold()):
        if not set(_words(found[0])) <= set(own):
            return f"not_visual: '{found[0]}'"
    return None


@lru_cache(100_000)  # the words of one table, most of which come again
def fold(word: str) -> str:
    """A word without its inflection: -s, -es, -ing, a last -e and a doubled last consonant go, -y becomes -i.

    -ed stays: `closed` is a state that `closing` leads to, not another form of it.
    """
    word = _straight(word).removesuffix("'s")
    for ending in ("ing", "es", "s", "e"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1 and re.search(r"[aeiouy]", stem):
            word = stem
            break
    if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word[:-1] + "i" if len(word) > 2 and word[-1] == "y" else word


def named_failure(status: str) -> str:
    """A provider's `failed: ...` under the name of its reason, if it has one."""
    said = status.removeprefix("failed: ")
    found = next((reason for pattern, reason in _FAILURES if re.match(pattern, said)), None)
    return f"{found}: {said}" if found and said != status else status


def _judged(text: Text, rivals: list[str], limit: TokenLimit | None, skip_checks: bool) -> Text:
    if not text.sentence.strip():
        return replace(text, status="empty: no sentence" if text.status == "ok" else text.status)
    if skip_checks or text.kind in _NAMES:
        return replace(text, status="ok")
    found = form_fault(text.sentence, limit)
    if text.kind == "motion" and not found:
        told_apart = [*rivals, *(text.rival.split(" | ") if text.rival else [])]
        found = content_fault(text.sentence, text.label, told_apart, text.phase)
    return replace(text, status=found or "ok")


def _is_gap(text: Text) -> bool:
    """A row that `_counted` has added for a sentence that is not there."""
    return not text.sentence and text.status.startswith("count:")


def _counted(texts: list[Text], sentences: int) -> list[Text]:
    """The rows of a class; of each answer, sentences beyond `sentences` are marked and a row says how many are missing."""
    answers: dict[str | None, int] = defaultdict(int)
    counted = []
    for text in texts:
        if text.sentence and text.kind not in _NAMES and text.phase == "whole":
            answers[text.rival] += 1
            if answers[text.rival] > sentences and text.status == "ok":
                text = replace(text, status=f"count: beyond the {sentences} that were asked for")
        counted.append(text)
    for rival, there in answers.items():
        if there < sentences:
            first = next(text for text in texts if text.rival == rival and text.sentence and text.kind not in _NAMES)
            gap = f"count: {there} of the {sentences} that were asked for"
            counted.append(replace(first, sentence="", phase="whole", status=gap))
    return counted


def _compared(texts_by_label: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
    """Equal sentences of one kind and phase: in a class the first of them stays; between classes all go, as none has a
    better claim. What one class starts with, another may end with.
    """
    said_by: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for label, texts in texts_by_label.items():
        for text in texts:
            if text.status == "ok" and label not in said_by[_key(text)]:
                said_by[_key(text)].append(label)
    compared: dict[str, list[Text]] = {}
    for label, texts in texts_by_label.items():
        seen: set[tuple[str, str, str]] = set()
        compared[label] = []
        for text in texts:
            if text.status == "ok":
                others = [other for other in said_by[_key(text)] if other != label]
                near = [other for other in others if other in rivals.get(label, []) or label in rivals.get(other, [])]
                if _key(text) in seen:
                    text = replace(text, status="repeated: stands in the class before")
                elif near and text.kind == "motion":
                    text = replace(text, status=f"pair: as of its rival '{near[0]}'")
                elif others and text.kind == "motion":
                    text = replace(text, status=f"shared: as of class '{others[0]}'")
                seen.add(_key(text))
            compared[label].append(text)
    return compared


def _key(text: Text) -> tuple[str, str, str]:
    return text.kind, text.phase, " ".join(text.sentence.casefold().split()).rstrip(".!; ")


@lru_cache(10_000)  # each class's name is looked for in all that is said of its rivals
def _words(text: str) -> tuple[str, ...]:
    """Folded words, without articles."""
    return tuple(fold(word) for word in _split(text) if word not in _ARTICLES)


def _split(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", _straight(text))


def _straight(text: str) -> str:
    """In small letters, with typewriter's quotation marks: double for the low, left and right ones, single likewise."""
    return text.casefold().translate(_TYPEWRITER)


def _inside(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether the words `part` stand in `whole` one after the other."""
    return bool(part) and any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:30]}..."
