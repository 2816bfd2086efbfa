"""Descriptions in a second round: a language model is asked again about the pairs of classes that are still confused.

After Escher (2024, iterative descriptions with a critic) and the pairwise descriptions of MoTED (CVPR 2024); the prompt
is ours (texts/prompts.py). Round one is the text set `of`, by any provider. Confusions are those that the mining rule
measured, with `features` on training clips only; or those of a csv file of yours (`confusions`: label, rival, score),
for example of a trained method on its training clips. The `pairs` most confused pairs are asked about, one request each:
it shows the model the old sentences of both classes and how often they are confused, and asks for better ones.

A class that is asked about gets the new sentences in place of the old ones, each with its rival; other classes keep
theirs. If an answer is unreadable, the old sentences stay. Replies are cached, the cost cap and the limits are those of
chat_api. Each round is a text set of its own, so that the report can compare rounds; a further round has `of: {module:
refined, ...}`.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from kinetext.core.schemas import DESCRIPTIONS, is_used
from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.mining import read_rivals
from kinetext.texts.prompts import VERSIONS
from kinetext.texts.providers._rearranged import SourceOptions
from kinetext.texts.providers.base import Context, Provider, Text, load_provider
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import Question, refine_question

Confusion = dict[tuple[str, str], float]


class RefinedOptions(ChatOptions):
    """The text set of round one, the pairs that are asked about, and the options of chat_api."""

    of: SourceOptions = Field(description="the provider of round one")
    pairs: int = Field(20, ge=1, description="pairs of classes that are asked about again, the most confused first")
    confusions: str | None = Field(
        None, description="csv file of confusions with columns label, rival and score; null: those of the mining rule"
    )
    ask: Literal["pair"] = Field("pair", description="one request per pair")


class Refined(ChatApi):
    """Descriptions of a second round, about the pairs of classes that are still confused."""

    Config: ClassVar[type[ChatOptions]] = RefinedOptions
    config: RefinedOptions
    fixed_counts = False  # the sentences of round one are kept where a class is in none of the pairs

    @cached_property
    def source(self) -> Provider:
        """The provider of round one. Raises ValueError, `of...: ...`, if it gives no descriptions."""
        of = self.config.of
        provider = load_provider("of", of.module, of.options)
        if not provider.gives_descriptions or provider.control:
            raise ValueError(f"of.module: {of.module} has no descriptions to refine; use bundled, file or chat_api")
        return provider

    def check(self) -> None:
        """Raise ValueError if the source gives no descriptions or has a wrong option, or if there is no such file."""
        self.source.check()
        for path in self._own_files():
            if not path.is_file():
                raise ValueError(f"confusions: there is no file {path}")

    def list_files(self) -> list[Path]:
        """Return the files that the source reads, and the file of confusions."""
        return [*self.source.list_files(), *self._own_files()]

    def refine(self, texts: dict[str, list[Text]], context: Context) -> dict[str, list[Text]]:
        """Return the table of round one with new sentences for the most confused pairs.

        Raises ValueError if there are no confusions, if the cost would exceed `max_usd`, or like `ChatApi.describe`.
        """
        confusion = self._confusion(context)
        asked = most_confused(confusion, set(texts), self.config.pairs)
        if not asked:
            raise ValueError(
                "refined: no two described classes are confused under the mining rule; set confusions, or use rule: features"
            )
        questions = {
            (a, b): [refine_question(k, rival, texts, score, self.config) for k, rival in ((a, b), (b, a))]
            for (a, b), score in asked.items()
        }
        self.plan_requests((of_pair[0] for of_pair in questions.values()), context)
        self._partners = {label: [b if a == label else a for a, b in asked if label in (a, b)] for label in texts}
        self._undescribed = set(texts)

        def ask(item: tuple[tuple[str, str], list[Question]]) -> list[Text]:
            pair, sides = item
            return [text for label, side in zip(pair, sides, strict=True) for text in self._texts(label, side, context)]

        items = list(questions.items())
        answers = [ask(items[0])]  # alone: it shows what a server accepts
        with ThreadPoolExecutor(self.at_once) as pool:
            answers += pool.map(ask, items[1:])
        return replaced(texts, (text for answer in answers for text in answer))

    def repair(self, label: str, rivals: list[str], texts: list[Text], context: Context) -> list[Text]:
        """Return new rows for faulty answers of this round. The sentences of round one are not asked about again."""
        of_round = [text for text in texts if (text.prompt_version or "").startswith(VERSIONS["refined"])]
        if not of_round:
            return texts
        new = super().repair(label, rivals, of_round, context)
        if any(is_used(text.status) and text.kind in DESCRIPTIONS for text in new):
            return [text for text in texts if text not in of_round and text.kind not in DESCRIPTIONS] + new
        return [text for text in texts if text not in of_round] + new

    def _typical_requests(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return the requests of this round, one per pair."""
        return super()._typical_requests(labels)[: self.config.pairs]

    def _own_files(self) -> list[Path]:
        return [Path(self.config.confusions)] if self.config.confusions else []

    def _confusion(self, context: Context) -> Confusion:
        if self.config.confusions is None:
            return context.confusion
        rivals = read_rivals(Path(self.config.confusions), context.labels)
        return {(label, rival): score for label, of_label in rivals.items() for rival, score in of_label.items()}


def most_confused(confusion: Confusion, labels: set[str], pairs: int) -> dict[tuple[str, str], float]:
    """Return the `pairs` unordered pairs of `labels` with the highest mean score of both directions, highest first."""
    scores: dict[tuple[str, str], float] = {}
    for (label, rival), score in confusion.items():
        if label in labels and rival in labels and score > 0:
            pair = (min(label, rival), max(label, rival))
            scores[pair] = scores.get(pair, 0.0) + score / 2
    best = sorted(scores, key=lambda pair: (-scores[pair], pair))[:pairs]
    return {pair: scores[pair] for pair in best}


def replaced(texts: dict[str, list[Text]], new: Iterable[Text]) -> dict[str, list[Text]]:
    """Return the table with the descriptions of each class that has new ones replaced by these."""
    of_label: dict[str, list[Text]] = {}
    for text in new:
        of_label.setdefault(text.label, []).append(text)
    table: dict[str, list[Text]] = {}
    for label, rows in texts.items():
        answers: list[Any] = of_label.get(label, [])
        if any(is_used(text.status) for text in answers):
            table[label] = [text for text in rows if text.kind not in DESCRIPTIONS] + answers
        else:  # the failures are kept with the old sentences, to be seen
            table[label] = rows + [replace(text, sentence="") for text in answers]
    return table
