"""Scores of the clips of a run for classes or captions, in each order of the frames: the work of `predict_clips`.

B clips, T frames, K classes or captions, P captions of the query bank, V views.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinetext.backbones.text_table import read_texts
from kinetext.config.run import RunSpec
from kinetext.core import distributed
from kinetext.core.memory import peak_mib
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.data.loader import ClipLoader
from kinetext.data.splits import Split
from kinetext.data.store import FrameStore
from kinetext.data.views import ClipViews
from kinetext.evaluation.calibration import CAPTIONS, NO_CLIPS, Calibration, fit_odds, fit_temperature
from kinetext.evaluation.cost import gflops_per_clip
from kinetext.evaluation.predictions import label_matrix, prediction_row
from kinetext.evaluation.scores import frame_indices, score_clips
from kinetext.methods.base import Method, Tokens

BATCH_CLIPS = 32
BANK_CAPTIONS = 5000  # captions of training clips in the query bank of QB-Norm; its authors take all of them

Row = dict[str, Any]


@dataclass(frozen=True)
class EncodedTexts:
    """The labels of the texts that clips are scored for, and the encoded texts in chunks."""

    labels: list[str]
    chunks: list[Any]

    def targets(self) -> dict[str, int]:
        """Return the index of each class, or of the first caption of each clip, by label."""
        index: dict[str, int] = {}
        for k, label in enumerate(self.labels):
            index.setdefault(label, k)
        return index


class Predictor:
    """Scores the clips of the splits, and measures the speed and the cost."""

    def __init__(self, spec: RunSpec, method: Method, store: FrameStore, device: torch.device, threads: int) -> None:
        self.spec, self.method, self.store, self.device, self.threads = spec, method, store, device, threads
        self.seconds, self.num_clips = 0.0, 0
        self.gflops: float | None = None  # of one clip

    def encode_split(self, split: Split, texts: Path) -> EncodedTexts:
        """Encode the classes of a split, or the captions of its clips."""
        table = read_texts(texts, split.labels, self.method.backbone).to(self.device)
        if not split.captioned:
            return EncodedTexts(split.labels, [self.method.encode_texts(table)])
        labels = [table.labels[k] for k in table.owner_S.tolist()]
        return EncodedTexts(labels, [self.method.encode_texts(part) for part in table.captions()])

    def encode_bank(self, train: Split, texts: Path) -> EncodedTexts:
        """Encode up to BANK_CAPTIONS captions of training clips. The result is empty if clips have classes instead."""
        if not (train.captioned and train.rows):
            return EncodedTexts([], [])
        table = read_texts(texts, train.labels, self.method.backbone).to(self.device)
        chunks = [self.method.encode_texts(part) for part in table.captions(BANK_CAPTIONS)]
        return EncodedTexts([table.labels[k] for k in table.owner_S.tolist()[:BANK_CAPTIONS]], chunks)

    def rows_without_frames(self, clips: list[Row], texts: dict[str, EncodedTexts], bank: EncodedTexts) -> list[Row]:
        """Return rows of NaN scores for the clips that have no frames, for each split in `texts`."""
        nan_P = np.full(len(bank.labels), np.nan, np.float32) if bank.chunks else None
        return [
            prediction_row(
                clip, name, frame_order, encoded.targets(), np.full(len(encoded.labels), np.nan, np.float32), nan_P
            )
            for clip in clips
            if clip["clip_id"] not in self.store
            for name, encoded in texts.items()
            for frame_order in FRAME_ORDERS
        ]

    def calibrate(self, val: Split, texts: Path) -> Calibration:
        """Return the calibration of the scores, fitted on the validation clips."""
        if val.captioned:
            return CAPTIONS
        if not val.rows:
            return NO_CLIPS
        encoded = {"val": self.encode_split(val, texts)}
        rows = self.rows_with_frames(val.rows, encoded, EncodedTexts([], []), FRAME_ORDERS[:1])
        if not rows:
            return NO_CLIPS
        scores_BK = np.stack([row["score_K"] for row in rows])
        if val.multi_label:
            return fit_odds(scores_BK, label_matrix([row["targets"] for row in rows], scores_BK.shape[1]))
        return fit_temperature(scores_BK, np.array([row["target"] for row in rows]))

    def rows_with_frames(
        self,
        clips: list[Row],
        texts: dict[str, EncodedTexts],
        bank: EncodedTexts,
        frame_orders: tuple[str, ...] = FRAME_ORDERS,
    ) -> list[Row]:
        """Return the scores of the clips that have frames, for each split in `texts`, in every process."""
        views, targets = self.spec.testing.views, {name: encoded.targets() for name, encoded in texts.items()}
        clips = [clip for clip in clips if clip["clip_id"] in self.store]
        clip_views = ClipViews(self.store, [clip["clip_id"] for clip in clips], self.spec)
        loader = ClipLoader(clip_views, self.device, self.threads - 1, self.spec.training.decode)
        batch_clips = max(1, BATCH_CLIPS // views)
        batches = [indices.tolist() for indices in torch.arange(len(clips)).split(batch_clips)] if clips else []
        local_batches = list(distributed.local_items(batches))
        rows: list[list[Row]] = []  # of each batch of this process
        start = time.perf_counter()
        description = f"predict {self.spec.run} {', '.join(texts)}"
        bar = tqdm(loader.batches(local_batches), description, len(local_batches), disable=distributed.hide_progress())
        for indices, frames_BTCHW in zip(local_batches, bar, strict=True):
            batch = [clips[index] for index in indices]
            frames_BTCHW = frames_BTCHW.unflatten(1, (views, -1)).flatten(0, 1)  # B: views of clips
            # tokens that depend on other frames are computed again for each order
            tokens = None if self.method.mixes_frames else self.method.image_tokens(frames_BTCHW)
            rows.append([])
            for frame_order in frame_orders:
                index_BT = self._order(frame_order, frames_BTCHW.shape[1], [clip["clip_id"] for clip in batch])
                video = self._encode_reordered(frames_BTCHW, tokens, index_BT)
                scores = {
                    name: score_clips(self.method, video, encoded.chunks, views, self.spec.testing.average)
                    for name, encoded in texts.items()
                }
                bank_BP: Any = [None] * len(batch)
                if frame_order == "ordered":
                    self.seconds += time.perf_counter() - start
                    self.num_clips += len(batch)
                    if bank.chunks:
                        bank_BP = score_clips(self.method, video, bank.chunks, views)
                rows[-1] += [
                    prediction_row(clip, name, frame_order, targets[name], score_K, bank_P)
                    for name, scores_BK in scores.items()
                    for clip, score_K, bank_P in zip(batch, scores_BK, bank_BP, strict=True)
                ]
            start = time.perf_counter()
        return [row for batch_rows in distributed.gather(rows) for row in batch_rows]

    def _order(self, frame_order: str, num_frames: int, clip_ids: list[str]) -> Tensor:
        """Return the indices [B, T] of the frames of all views in the order `frame_order`."""
        index_BT = torch.stack([frame_indices(frame_order, num_frames, clip_id) for clip_id in clip_ids])
        return index_BT.repeat_interleave(self.spec.testing.views, 0).to(self.device)

    def _encode_reordered(self, frames_BTCHW: Tensor, tokens: Tokens | None, index_BT: Tensor) -> Any:
        """Encode videos with their frames in the order `index_BT`, from tokens if they are known."""
        row_B1 = torch.arange(len(index_BT), device=self.device)[:, None]
        if tokens is None:
            return self.method.encode_video(frames_BTCHW[row_B1, index_BT])
        return self.method.encode_tokens({level: token[row_B1, index_BT] for level, token in tokens.items()})

    def count_gflops(self, clips: list[Row], text: list[Any]) -> None:
        """Count the floating-point operations of the first clip that has frames, unless they are known already."""
        clip_ids = [clip["clip_id"] for clip in clips if clip["clip_id"] in self.store][:1]
        if self.gflops is None and clip_ids:
            loader = ClipLoader(ClipViews(self.store, clip_ids, self.spec), self.device, 0, self.spec.training.decode)
            (frames_1TCHW,) = loader.batches([[0]])
            frames_VTCHW = frames_1TCHW[0].unflatten(0, (self.spec.testing.views, -1))
            self.gflops = gflops_per_clip(self.method, frames_VTCHW, text)

    def cost(self, checkpoint: Path | None) -> dict[str, float | None]:
        """Return the cost of testing. Every process calls this.

        Without a checkpoint, add the cost of training, which is 0, and the number of new parameters.
        """
        none = {"trained_parameters": 0, "train_seconds": 0.0, "train_clips_seen": 0}
        none |= {"new_parameters": sum(p.numel() for p in self.method.new_parameters().values())}
        peak = distributed.maximum(round(peak_mib(self.device)))
        return {"gflops_per_clip": self.gflops, "predict_peak_mib": peak, **({} if checkpoint else none)}

    def clips_per_s(self) -> float | None:
        """Return the clips scored per second with frames in order; None without clips. Every process calls this."""
        measured = distributed.gather([(self.num_clips, self.seconds)])
        num_clips, seconds = sum(clips for clips, _ in measured), max(seconds for _, seconds in measured)
        return num_clips / seconds if seconds else None
