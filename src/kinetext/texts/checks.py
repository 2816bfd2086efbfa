"""Check sentences for the known faults of language models' descriptions.

The faults are those of published description files (numbers left in sentences, sentences shared by hundreds of classes,
refusals, text cut at 77 tokens, steps that cannot be seen), and words that an image-text model does not understand (a
rival's name after "unlike"). Nothing is corrected here. Each sentence gets a status, `ok` or `reason: details`, and its
provider may be asked to repair it. `REASONS` lists the reasons; docs/texts.md repeats the list.

The details after a reason are sent to a language model as part of a correction (prompts.correction), so changing their
wording would repeat the paid requests for corrections.
"""

import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache

from kinetext.core.schemas import DESCRIPTIONS
from kinetext.texts.answer_checks import is_gap, mark_counts, mark_equal
from kinetext.texts.providers.base import Text

REASONS = {
    "failed": "no answer, or no readable one",
    "not_json": "the answer is not the requested JSON object",
    "missing_key": "a part of the answer is missing or has the wrong form",
    "cut_off": "the answer ends at the server's limit of tokens",
    "refusal": "the model refuses to answer",
    "missing": "an edited file has no sentence about the class",
    "count": "more or fewer steps, or sentences about the whole movement, than requested",
    "empty": "no sentence",
    "character": "contains a line break or another control character",
    "fence": "contains code block marks",
    "preamble": "an introduction instead of a sentence about the class",
    "numbered": "begins with a number",
    "bullet": "begins with a bullet or a heading mark",
    "quoted": "is in quotation marks",
    "name_only": "adds nothing to the class name",
    "rival": "names a rival class; an image-text model does not understand `unlike`",
    "order": "a sentence about one moment has an order word (first, then, finally), which no single frame shows",
    "not_visual": "mentions thoughts, purposes, preparation or sound, which no frame shows",
    "long": "longer than the backbone's token limit, so its end would be cut off",
    "cut": "longer than the token limit, but used without its end: names, captions and unchecked sentences",
    "repeated": "duplicate within the class, for the same part of the clip",
    "pair": "same sentence as a rival class, for the same part of the clip",
    "shared": "same sentence as another class, for the same part of the clip",
}

# beginning of a failure's message (texts/answers.py, chat/completion.py) -> its reason
_FAILURES = (
    (r"the model refused", "refusal"),
    (r"the answer was cut off", "cut_off"),
    (r"the answer is (not|a) JSON", "not_json"),
    (r"the answer is empty|the reply has no text", "empty"),
    (r"the answer has no '|'\w+' in the answer", "missing_key"),
)
# what a sentence begins with or contains
_FORMS = (
    ("fence", r"`"),
    ("refusal", r"^((i'?m|i am) (very |so )?)?sorry\b|\bas an ai\b"),
    ("refusal", r"^(i'?m|i am) (unable|not able)\b|^i (cannot|can'?t|can not)\b"),
    ("preamble", r"^(sure|certainly|of course|absolutely|okay|ok)\b *[,.!:]|^(here|below) (is|are)\b|^here's\b|:$"),
    ("preamble", r"^(the )?following\b|^(start|end|whole|answer|output|description|sentence)( \d+)? *:"),
    ("numbered", r"^[(\[]?\d{1,3} ?[.):\]](?!\d)|^[(\[]?[a-h][)\]]|^#\d|^(step|number|no\.) \d"),
    ("bullet", r"^([-*+>\u2022\u2023\u25e6\u25aa\u00b7\u2013\u2014]|#+ )"),  # the last ones: dots, a square, dashes
    ("quoted", r"^[\"\u00ab].*[\"\u00bb]\W?$|^'.*'\W?$"),
)
# words for what cannot be seen; allowed where they are in the class name
_NOT_VISUAL = re.compile(
    r"\b(in order to|so as to|for the purpose|intend\w*|inten(t|tion)(ally)?|feel(s|ing|ings)?|emotion\w*"
    r"|decid(e|es|ing)|wants? to|wishes to|hop(es|ing) to|imagin(e|es|ing)|think(s|ing)?|thoughts?|believ(e|es|ing)"
    r"|remember(s|ing)?|understand(s|ing)?|know(s|ing)?|realis(es|ing)|realiz(es|ing)|enjoy(s|ing)?"
    r"|prepar(e|es|ing|ation) (for|to)|gets? ready|getting ready|plans? to|planning to|motivat\w*"
    r"|hear(s|ing)?|audibl[ey]|loud(ly)?|sounds?|noises?|smell(s|ing)?)\b"
)
# words for the order of moments, in a sentence about one of them; `the first horses` names things, not a moment
_ORDER = re.compile(
    r"(?<!\bthe )\b(first(ly)?|then|finally|lastly|afterwards?|subsequently|eventually)\b|^next\b(?! to\b)"
)
_FILLER = re.findall(
    r"\w+",
    "a an the of in on with and is are be being it its this that there one do does doing some someone somebody "
    "person people man woman human video clip footage movie scene picture frame photo showing shows",
)
_CONTROL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode categories, except the two joiners of Indic scripts
_ASCII_QUOTES = str.maketrans("\u2018\u2019\u201a\u201c\u201d\u201e", "'''\"\"\"")


@dataclass(frozen=True)
class TokenLimit:
    """The token limit of a backbone (its context length with start and end token) and a function that counts tokens."""

    tokens: int
    count: Callable[[str], int]


def check_texts(
    texts_by_label: dict[str, list[Text]],
    rivals: dict[str, list[str]],
    sentences: int | None = None,
    limit: TokenLimit | None = None,
    skip_checks: bool = False,
    steps: int | None = None,
    wrote: Callable[[Text], bool] = lambda text: True,
) -> dict[str, list[Text]]:
    """Return the texts of each label with the status of each text.

    Only descriptions of motion are checked for content. Those and sentences about appearance are compared between
    classes. Each answer must have `sentences` sentences about the whole movement and `steps` between start and end. The
    rows of one class and one `rival` are one answer. A row without a sentence is added to an answer with too few. Rows
    with a sentence are checked again; their earlier status has no effect. A failure that the provider reported is kept.
    With `skip_checks`, a sentence gets the status `empty`, `cut` or `ok`. Only rows that the provider `wrote` are
    checked. Others, which stand first, keep their status, and their sentences are compared with those that are checked.
    """
    checked = {}
    for label, texts in texts_by_label.items():
        kept, new = ([text for text in texts if wrote(text) is by_provider] for by_provider in (False, True))
        rows = [_checked(text, rivals.get(label, []), limit, skip_checks) for text in new if not is_gap(text)]
        checked[label] = kept + (rows if skip_checks else mark_counts(rows, sentences, steps))
    return checked if skip_checks else mark_equal(checked, rivals, wrote)


def form_fault(sentence: str, limit: TokenLimit | None = None) -> str | None:
    """Return the fault in the form of a sentence as `reason: details`, or None if it has none."""
    control = next((c for c in sentence if unicodedata.category(c) in _CONTROL and c not in "\u200c\u200d"), None)
    if control:
        return f"character: holds U+{ord(control):04X}"
    for reason, pattern in _FORMS:
        if match := re.search(pattern, _plain(sentence).strip()):
            return f"{reason}: '{match[0] if len(match[0]) <= 30 else match[0][:30] + '...'}'"
    return f"long: {excess}" if (excess := _excess(sentence, limit)) else None


def mark_cut(text: Text, limit: TokenLimit | None) -> Text:
    """Return the text with the status `cut: ...` if it exceeds the token limit, else `ok`. It is used in both cases."""
    excess = _excess(text.sentence, limit)
    return replace(text, status=f"cut: {excess}" if excess else "ok")


def _excess(sentence: str, limit: TokenLimit | None) -> str | None:
    """Return a phrase with the number of tokens of a sentence if it exceeds the limit, else None."""
    # a token has at least one byte; counting needs an import
    if limit and len(sentence.encode()) + 2 > limit.tokens and (tokens := limit.count(sentence)) > limit.tokens:
        return f"{tokens} tokens, the backbone takes {limit.tokens}"
    return None


def content_fault(sentence: str, label: str, rivals: Collection[str] = (), position: float | None = None) -> str | None:
    """Return the fault in the content of a description of motion as `reason: details`, or None if it has none."""
    words, name = _words(sentence), _words(label)
    form = fold if position is None else str  # the state `the gate is open` adds to the name `gate opening`
    if {form(word) for word in _split(sentence)} - {form(word) for word in _FILLER} <= {form(w) for w in _split(label)}:
        return f"name_only: nothing beyond '{label}'"
    for rival in rivals:
        if _contains(words, _words(rival)) and not _contains(name, _words(rival)):
            return f"rival: names '{rival}'"
    if (
        position is not None
        and (order := _ORDER.search(sentence.casefold()))
        and not set(_words(order[0])) <= set(name)
    ):
        return f"order: '{order[0]}' in a sentence about one moment"
    for match in _NOT_VISUAL.finditer(sentence.casefold()):
        if not set(_words(match[0])) <= set(name):
            return f"not_visual: '{match[0]}'"
    return None


@lru_cache(100_000)  # the words of one table, most of them repeated
def fold(word: str) -> str:
    """Return the stem of a word, so that inflected forms compare equal.

    The endings -s, -es, -ing, -e and a doubled final consonant are removed, and a final -y becomes -i. The ending -ed
    stays, because `closed` is the state after `closing`, not another form of it.
    """
    word = _plain(word).removesuffix("'s")
    for ending in ("ing", "es", "s", "e"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1 and re.search(r"[aeiouy]", stem):
            word = stem
            break
    if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word[:-1] + "i" if len(word) > 2 and word[-1] == "y" else word


def named_failure(status: str) -> str:
    """Return a status `failed: MESSAGE` as `reason: MESSAGE` if the reason of the message is known; else the status."""
    message = status.removeprefix("failed: ")
    reasons = (reason for pattern, reason in _FAILURES if message != status and re.match(pattern, message))
    return next((f"{reason}: {message}" for reason in reasons), status)


def _checked(text: Text, rivals: list[str], limit: TokenLimit | None, skip_checks: bool) -> Text:
    if not text.sentence.strip():
        return replace(text, status="empty: no sentence" if text.status == "ok" else text.status)
    if skip_checks or text.kind not in DESCRIPTIONS:
        return mark_cut(text, limit)
    fault = form_fault(text.sentence, limit)
    if text.kind == "motion" and not fault:
        all_rivals = [*rivals, *(text.rival.split(" | ") if text.rival else [])]
        fault = content_fault(text.sentence, text.label, all_rivals, text.position)
    return replace(text, status=fault or "ok")


@lru_cache(10_000)  # each class name is looked up in all sentences of its rivals
def _words(text: str) -> tuple[str, ...]:
    """Return the stems of the words of a text, without articles."""
    return tuple(fold(word) for word in _split(text) if word not in ("a", "an", "the"))


def _split(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", _plain(text))


def _plain(text: str) -> str:
    """Return the text in lower case with ASCII quotation marks."""
    return text.casefold().translate(_ASCII_QUOTES)


def _contains(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Return whether the words `part` follow each other somewhere in `words`."""
    return bool(part) and any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))
