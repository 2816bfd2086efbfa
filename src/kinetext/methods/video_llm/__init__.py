"""A multimodal model behind an OpenAI-compatible server chooses the class or caption of a clip (no paper; a baseline).

Each test clip is one request: its frames as JPEG images, and a numbered list of the choices with their descriptions.
The answer is a JSON object with the numbers of the best choices. With `examples`, training clips of the run come first,
as earlier turns of the conversation with the correct answers. The format follows multiple-choice video benchmarks
(MVBench, Li et al., CVPR 2024); the wording is ours.

Nothing trains and no parameter is added. There is no backbone: the run's name keeps one because its text set and its
confusable classes belong to it. The seed of a run shuffles the choices and draws the examples, because models favour
some positions in a list (Pezeshkpour and Hruschka, Findings of NAACL 2024); the spread over seeds shows how much.

The answer scores 1 and all other choices 0. In recognition, ties count as wrong. With `ranked: n` the model ranks its n
best choices, which score n, ..., 1. In retrieval a tie would count as correct, so the other choices get random scores below 1/2,
seeded by a hash of the request. An answer that cannot be parsed, or names no choice, counts as wrong and is noted in
the predictions.

Requests go through the client of the text provider chat_api: replies are cached by everything that determines them
(images by a hash of their pixels), cost is capped, and the API key is neither stored nor logged.

T frames, C channels (RGB), H x W pixels, K choices.
"""

import random
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.methods.frames import Answer, Cost, FrameMethod, Question
from kinetext.methods.video_llm.conversation import ask, read_choices
from kinetext.texts import cache
from kinetext.texts.chat import limits
from kinetext.texts.chat.completion import read_completion
from kinetext.texts.chat.model import ChatModel
from kinetext.texts.chat.options import ServerOptions


class VideoLLM(FrameMethod):
    """Ask a multimodal model which class or caption fits a clip."""

    paper = "none; a baseline as in MVBench (Li et al., CVPR 2024)"
    mechanism = (
        "Sends the frames to a multimodal model behind an API, which chooses from a list of classes or captions."
    )
    equals_before_training = "nothing trains; it is the model behind the API"
    cannot_see = (
        "Depends on the model, which gets the frames as still images in order. With detail: low (default), small "
        "details may be lost."
    )
    what_trains = "nothing"

    class Config(ServerOptions):
        """Options of the server and of the requests."""

        examples: int = Field(
            0, ge=0, le=64, description="training clips that each request shows with their classes, drawn by the seed"
        )
        ranked: int = Field(
            1,
            ge=1,
            le=20,
            description="how many choices the model names, best first; more make top5 and R@5 meaningful",
        )
        descriptions: int = Field(
            3,
            ge=0,
            le=20,
            description="descriptions per class in the list of choices, from the run's text set; 0: names",
        )
        motion_probes: bool = Field(
            False, description="also ask with frames reversed, shuffled and repeated: four times the requests"
        )
        max_choices: int = Field(
            500, ge=2, description="longer lists of choices are refused, because every request contains the whole list"
        )
        detail: Literal["low", "high", "auto"] | None = Field(
            "low", description="OpenAI's resolution of an image, low: 512 px; null: not sent"
        )
        jpeg_quality: int = Field(90, ge=50, le=100, description="JPEG quality of the images that are sent")
        max_no_reply: float = Field(
            0.0,
            ge=0,
            le=1,
            description="share of requests without any reply that count as wrong; above it the job fails",
        )

    config: Config

    def __init__(self, backbone: Backbone | None, config: Config) -> None:
        super().__init__(backbone, config)
        self.chat = ChatModel(config, "video_llm")
        self.seed, self.cache = 0, Path("results/cache")
        self.sent, self.models = 0, set[str]()
        self.lock = Lock()

    @property
    def at_once(self) -> int:
        """`max_in_flight` + 2, so that the next request is sent while frames are being decoded."""
        return self.config.max_in_flight + 2

    @property
    def frame_orders(self) -> tuple[str, ...]:
        """All frame orders with `motion_probes`, else `ordered` only."""
        return FRAME_ORDERS if self.config.motion_probes else FRAME_ORDERS[:1]

    @property
    def num_examples(self) -> int:
        return self.config.examples

    @property
    def num_descriptions(self) -> int:
        return self.config.descriptions

    @property
    def max_choices(self) -> int | None:
        return self.config.max_choices

    @property
    def max_no_reply(self) -> float:
        return self.config.max_no_reply

    def start(self, seed: int, cache: Path) -> None:
        self.seed, self.cache = seed, cache

    def answer(self, frames_TCHW: Tensor, question: Question) -> Answer:
        """Return the answer about a clip, from the cache or from the server.

        Raises ValueError if there are too many choices, if the cost cap is reached, or if every other clip would fail
        too: no key, key refused, no such model, no server.
        """
        config, num_choices = self.config, len(question.choices)
        if num_choices > config.max_choices:
            raise ValueError(
                f"video_llm: {num_choices} choices are more than max_choices ({config.max_choices}), and each request contains them "
                "all; raise options.max_choices"
            )
        order_K = self.choice_order(num_choices)
        request, images = ask(frames_TCHW, question, order_K, config)
        expected = limits.estimate(request, 1)
        try:
            send = partial(self._send, request, expected, images)
            record = cache.fetch_reply(request, self.cache, send)
        except limits.CapError as error:
            raise ValueError(f"video_llm: {error} (options.max_usd); run again to resume, answers are cached") from None
        except limits.NoReplyError as error:
            return Answer(None, f"no reply: {error}", replied=False)
        self.chat.count(request, record, expected)
        return self._read(record, cache.request_hash(request), question, order_K)

    def choice_order(self, num_choices: int) -> list[int]:
        """Return the indices of the choices in the order that the model sees, shuffled by the seed."""
        order_K = list(range(num_choices))
        random.Random(self.seed).shuffle(order_K)
        return order_K

    def cost(self) -> Cost:
        tokens = self.chat.ledger.tokens
        usd = self.chat.ledger.spent_usd if self.config.prices else None
        return Cost(
            len(self.chat.ledger.replies), tokens.prompt, tokens.completion, usd, self.sent, sorted(self.models)
        )

    def _send(self, request: dict[str, Any], expected: limits.Tokens, images: dict[str, bytes]) -> dict[str, Any]:
        record = self.chat.send(request, expected, images)
        with self.lock:
            self.sent += 1
        return record

    def _read(self, record: dict[str, Any], key: str, question: Question, order_K: list[int]) -> Answer:
        """Return the scores of the choices that a reply names; no scores, and the reason, if it names none.

        `key` is the hash of the request.
        """
        try:
            completion = read_completion(record["reply"])
            with self.lock:
                self.models.add(completion.model or self.config.model)
            positions = read_choices(completion.answer(), [question.choices[k].text for k in order_K])
        except ValueError as error:
            return Answer(None, f"no usable answer: {error}")
        others_K = np.random.default_rng(int(key, 16)).random(len(order_K), np.float32) / 2
        score_K = others_K if question.captions else np.zeros(len(order_K), np.float32)
        for rank, position in enumerate(positions[: self.config.ranked]):
            score_K[order_K[position]] = self.config.ranked - rank
        return Answer(score_K)
