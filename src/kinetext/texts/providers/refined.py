"""Descriptions in a second round: a language model is asked again about the pairs of classes that are still confused.

After Escher (2024, iterative descriptions with a critic) and the pairwise descriptions of MoTED (CVPR 2024); the prompt
is ours (texts/prompts.py). Round one is the text set `of`, by any provider. Confusions are those that the mining rule
measured, with `features` on training clips only; or those of a csv file of yours (`confusions`: label, rival, score),
for example of a trained method on its training clips. The `pairs` most confused pairs are asked about, one request each:
it shows the model the old sentences of both classes and how often they are confused, and asks for better ones.

A class that is asked about gets the new sentences in place of the old ones, each with its rival; other classes keep
theirs. A class also keeps its old sentences if no new one can be used. If no pair has a usable answer, the table is
refused. Replies are cached, the cost cap and the limits are those of chat_api. Each round is a text set of its own, so
that the report can compare rounds; a further round has `of: {module: refined, ...}`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

from pydantic import Field

from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.mining import read_rivals
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

    def __init__(self, config: RefinedOptions):
        super().__init__(config)
        self._asked: set[str] = set()  # hashes of the requests of this round

    @property
    def needs_confusion(self) -> bool:
        """Whether the confusions are those of the mining rule, not of a file."""
        return self.config.confusions is None

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
        """Return the table of round one with new rows for the most confused pairs.

        Raises ValueError if there are no confusions, if the cost would exceed `max_usd`, or like `ChatApi.describe`.
        """
        confusion = self._confusion(context)
        asked = most_confused(confusion, set(texts), self.config.pairs)
        if not asked:
            raise ValueError(
                "refined: the mining rule (confusables.rule) gives no confusion of two described classes; set `confusions` "
                "to a csv file of them"
            )
        questions = {
            (a, b): [
                refine_question(k, rival, texts, score, self.config, context.max_words) for k, rival in ((a, b), (b, a))
            ]
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
        new = [text for answer in answers for text in answer]
        return {label: rows + [text for text in new if text.label == label] for label, rows in texts.items()}

    def wrote(self, text: Text) -> bool:
        """Return whether a row is of an answer or a correction of this round, not of an earlier one."""
        return text.request_hash in self._asked

    def _texts(self, label: str, question: Question, context: Context) -> list[Text]:
        """Return the rows of one question, and remember that they are of this round."""
        self._asked.add(question.key)
        return super()._texts(label, question, context)

    def _typical_requests(
        self, labels: Sequence[str], train_clips: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return the requests of this round, one per pair. Those of round one are the source's."""
        return super()._typical_requests(labels)[: self.config.pairs]

    def _own_files(self) -> list[Path]:
        return [Path(self.config.confusions)] if self.config.confusions else []

    def _confusion(self, context: Context) -> Confusion:
        if self.config.confusions is None:
            return context.confusion
        rivals = read_rivals(Path(self.config.confusions), context.labels)
        return {(label, rival): score for label, of_label in rivals.items() for rival, score in of_label.items()}


def most_confused(confusion: Confusion, labels: set[str], pairs: int) -> dict[tuple[str, str], float]:
    """Return the `pairs` unordered pairs of `labels` with the highest scores, highest first.

    A score is the mean of both directions. If one is missing, which happens because only the top rivals of a class are
    known, it is that of the other.
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for (label, rival), score in confusion.items():
        if label in labels and rival in labels:
            scores.setdefault((min(label, rival), max(label, rival)), []).append(score)
    means = {pair: fmean(of_pair) for pair, of_pair in scores.items() if sum(of_pair) > 0}
    best = sorted(means, key=lambda pair: (-means[pair], pair))[:pairs]
    return {pair: means[pair] for pair in best}
