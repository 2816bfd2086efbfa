"""Descriptions of classes from captions of their training clips, by a multimodal model behind a chat server.

No paper. Each request shows the frames of one training clip and asks for a description of its movement in the form of
chat_api: start, steps, end and the whole. No class name is sent, so the sentences depend on the frames only. The
captions of all sampled clips of a class are its descriptions. Equal sentences about the same part are one row, and the
column `clips` names the clips. Validation and test clips are never shown. A class without training clips, such as a novel
one, has no description.

As with chat_api, replies are cached under a hash of the request (images by a hash of their pixels), cost is capped, and
the key is never stored or logged. Frames of training clips leave this machine, unless the server is local.

T frames, C channels (RGB), H x W pixels.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.positions import part_name
from kinetext.texts.providers.base import Context, Text
from kinetext.texts.providers.chat_api import ChatApi
from kinetext.texts.questions import Question, clip_question

if TYPE_CHECKING:
    from kinetext.data.store import FrameStore


class CaptionOptions(ChatOptions):
    """The clips and frames that are shown, and the options of chat_api."""

    clips: int = Field(5, ge=1, description="training clips per class, drawn at random; one request each")
    frames: int = Field(8, ge=1, le=64, description="frames per clip, evenly spaced among the stored ones")
    seed: int = Field(0, ge=0, description="random seed for the choice of clips")
    detail: Literal["low", "high", "auto"] | None = Field(
        "low", description="OpenAI's resolution of an image, low: 512 px; null: not sent"
    )
    jpeg_quality: int = Field(90, ge=50, le=100, description="JPEG quality of the images that are sent")
    sentences: int = Field(1, ge=1, le=20, description="sentences about the whole movement per clip")
    about: Literal["motion"] = Field("motion", description="the movement")
    ask: Literal["class"] = Field("class", description="one request per clip")
    max_repairs: Literal[0] = Field(0, description="no corrections are requested; other clips have usable sentences")
    batch: Literal[False] = Field(False, description="no batches")


class CaptionsOfClips(ChatApi):
    """Captions of training clips by a multimodal model, pooled per class."""

    Config: ClassVar[type[ChatOptions]] = CaptionOptions
    config: CaptionOptions
    reads_clips = True
    request_unit = "clips"
    fixed_counts = False  # the captions of all clips are pooled

    def __init__(self, config: CaptionOptions):
        super().__init__(config)
        self._store: FrameStore | None = None
        self._questions: dict[str, list[Question]] = {}  # class -> questions about its clips
        # (class, hash of a request) -> its clips; clips with equal frames have one request
        self._clips: dict[tuple[str, str], list[str]] = {}
        self._shown: dict[str, str] = {}  # hash of a request -> a clip with its frames

    def prepare(self, rivals: dict[str, list[str]], context: Context) -> None:
        """Draw the clips and print the estimated cost. Raises ValueError like ChatApi.prepare, or if there are no clips."""
        for label in rivals:
            self._draw(label, context)
        if not any(self._questions.values()):
            raise ValueError("captions_of_clips: no class has a training clip with frames under this protocol")
        super().prepare(rivals, context)

    def questions(self, label: str, rivals: list[str]) -> list[Question]:
        """Return one question per clip of the class."""
        return self._questions.get(label, [])

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return the captions of the clips of a class. Equal sentences about the same part are one row.

        An answer that cannot be read is one row with status `failed: ...`. Raises ValueError like ChatApi.describe.
        """
        self._draw(label, context)
        texts = super().describe(label, rivals, context)
        if not texts:
            return [Text(label, "", "motion", status="failed: the class has no training clip with frames")]
        return pooled(texts)

    def _texts(self, label: str, question: Question, context: Context) -> list[Text]:
        """Return the caption of a clip, or one row with status `failed: ...`."""
        clips = " | ".join(self._clips[label, question.key])
        texts = [replace(text, clips=clips) for text in super()._texts(label, question, context)]
        steps = sum(part_name(text.position) == "steps" for text in texts)
        if steps == self.config.steps or texts[0].status != "ok":
            return texts
        status = f"failed: the answer has {steps} steps, {self.config.steps} were requested"
        return [replace(texts[0], sentence="", position=None, status=status)]

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        clip_id = self._shown[Question(request, None).key]
        return self.chat.send(request, self._estimate(request), self._image_parts(clip_id)[1])

    def _typical_requests(
        self, labels: Sequence[str], train_clips: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return one request per clip, with as many images as frames are shown."""
        request = clip_question([{"type": "image_url"}] * self.config.frames, self.config).request
        available = [self.config.clips if train_clips is None else train_clips.get(label, 0) for label in labels]
        return [request] * sum(min(self.config.clips, count) for count in available)

    def _draw(self, label: str, context: Context) -> None:
        """Draw clips of a class and store a question about each of them. Raises ValueError if there are no frames."""
        if label in self._questions:
            return
        if context.frames is None:
            raise ValueError("captions_of_clips: needs the frames of the data set; pass --frames, its frames.json")
        if self._store is None:  # imported late, because check-config needs no frames
            from kinetext.data.checks import list_shards
            from kinetext.data.store import FrameStore

            self._store = FrameStore(list_shards(context.frames))
        known = sorted(clip_id for clip_id in context.train_clips.get(label, []) if clip_id in self._store)
        random.Random(f"{self.config.seed} {label}").shuffle(known)
        of_class: list[Question] = []
        self._questions[label] = of_class
        for clip_id in known[: self.config.clips]:
            question = clip_question(self._image_parts(clip_id)[0], self.config, context.max_words)
            if not any(question.key == other.key for other in of_class):
                of_class.append(question)
            self._clips.setdefault((label, question.key), []).append(clip_id)
            self._shown.setdefault(question.key, clip_id)

    def _image_parts(self, clip_id: str) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        """Return the frames of a clip that are shown as parts of a message, and their JPEG files by name."""
        from kinetext.texts.chat.images import image_parts
        from kinetext.video.sampling import uniform_indices

        assert self._store
        frames_TCHW = self._store.frames(clip_id)
        shown = uniform_indices(len(frames_TCHW), min(self.config.frames, len(frames_TCHW)))
        images: dict[str, bytes] = {}
        frames_THWC = frames_TCHW[shown].permute(0, 2, 3, 1).numpy()
        return image_parts(frames_THWC, self.config.jpeg_quality, self.config.detail, images), images


def pooled(texts: list[Text]) -> list[Text]:
    """Return the captions of a class without duplicates, ordered by clip and by position within each clip.

    Of equal sentences about the same part the first one is kept; its `clips` are those of all of them.
    """
    rows: dict[tuple[float | None, str], Text] = {}
    for number, text in enumerate(texts):
        plain = " ".join(text.sentence.casefold().split()).rstrip(".!; ") or f"failed {number}"
        key = text.position, plain
        if key in rows:
            clips = dict.fromkeys([*(rows[key].clips or "").split(" | "), *(text.clips or "").split(" | ")])
            rows[key] = replace(rows[key], clips=" | ".join(clips))
        else:
            rows[key] = text
    return list(rows.values())
