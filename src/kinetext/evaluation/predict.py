"""predict_clips: a trained method's scores for every test clip, with its frames in order and in three wrong orders.

The wrong orders tell how much a method relies on motion: reversed, shuffled (one fixed shuffle per clip), and the middle
frame repeated. The trunk sees each frame alone, so it runs once and its tokens are put in order.

Several processes take whole batches in turn: no clip is left out or seen twice, and each has the scores that one process
gives it, to the bit.

B clips, T frames, K classes or captions.
"""

import math
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinetext.backbones.checkpoint import load_backbone, load_trained
from kinetext.backbones.text_table import read_texts
from kinetext.config.run import RunSpec, read_run
from kinetext.core import distributed
from kinetext.core.tables import write_table
from kinetext.data.feed import Feed
from kinetext.data.loader import ClipViews, FrameStore
from kinetext.data.splits import read_splits
from kinetext.methods import Method, build_method

VIEWS = ("ordered", "reversed", "shuffled", "repeated")
BATCH_CLIPS = 32
BANK_CAPTIONS = 5000  # captions of training clips that are scored, too, for QB-Norm; its authors take all of them


def predict_clips(
    run: Path,
    splits: Path,
    frames: list[Path],
    texts: Path,
    backbone_folder: Path,
    checkpoint: Path | None,
    output: Path,
    threads: int = 1,
) -> None:
    """Write the table `predictions` for all splits but train and val. A clip without frames has NaN scores: it is counted
    as wrong, the same for every method. Clips with captions are scored for captions of training clips, too (`bank_P`).
    Among several processes each calls it, and the first one writes.
    """
    threads_each = max(1, threads // distributed.local_world_size())
    torch.set_num_threads(threads_each)
    spec = read_run(run)
    device = distributed.device()
    method = load_method(spec, backbone_folder, checkpoint, device)
    backbone = method.backbone
    store = FrameStore(frames)
    found = read_splits(splits)
    tested = {name: split for name, split in found.items() if name not in ("train", "val") and split.rows}

    views = spec.testing.views
    rows: list[dict[str, Any]] = []
    labels: dict[str, list[str]] = {}
    seconds, counted = 0.0, 0
    with torch.inference_mode():
        bank, bank_size = [], 0
        if found["train"].captioned and found["train"].rows:
            trained = read_texts(texts, found["train"].labels, backbone).to(device)
            bank = [method.encode_texts(part) for part in trained.captions(BANK_CAPTIONS)]
            bank_size = min(len(trained.owner_S), BANK_CAPTIONS)
        for name, split in tested.items():
            table = read_texts(texts, split.labels, backbone).to(device)
            labels[name] = split.labels
            if split.captioned:
                text = [method.encode_texts(part) for part in table.captions()]
                labels[name] = [table.labels[k] for k in table.owner_S.tolist()]
            else:
                text = [method.encode_texts(table)]
            place: dict[str, int] = {}
            for k, label in enumerate(labels[name]):
                place.setdefault(label, k)  # a clip's first caption
            have = [row for row in split.rows if row["clip_id"] in store]
            for row in (row for row in split.rows if row["clip_id"] not in store):
                nothing = np.full(len(labels[name]), np.nan, np.float32)
                nothing_P = np.full(bank_size, np.nan, np.float32)
                rows += [_row(row, name, view, place, nothing, nothing_P if bank else None) for view in VIEWS]
            clip_ids = [row["clip_id"] for row in have]
            feed = Feed(ClipViews(store, clip_ids, spec), device, threads_each - 1, spec.training.decode)
            at_once = max(1, BATCH_CLIPS // views)
            order = [places.tolist() for places in torch.arange(len(have)).split(at_once)] if have else []
            mine = list(distributed.local_items(order))
            found_rows: list[list[dict[str, Any]]] = []  # of each batch here
            began = time.perf_counter()
            bar = tqdm(feed.batches(mine), f"predict {spec.run} {name}", len(mine), disable=distributed.hide_progress())
            for places, sent in zip(mine, bar, strict=True):
                batch = [have[place] for place in places]
                frames_BTCHW = feed.send(sent, places).unflatten(1, (views, -1)).flatten(0, 1)  # B: views of clips
                tokens = method.image_tokens(frames_BTCHW)
                found_rows.append([])
                T = next(iter(tokens.values())).shape[1]
                for view in VIEWS:
                    order_BT = torch.stack([frame_order(view, T, row["clip_id"]) for row in batch])
                    order_BT = order_BT.repeat_interleave(views, 0).to(device)
                    at = torch.arange(len(order_BT), device=device)[:, None]
                    video = method.encode_tokens({level: t[at, order_BT] for level, t in tokens.items()})
                    scores_BK = score_clips(method, video, text, views, spec.testing.average)
                    if view == "ordered":
                        seconds, counted = seconds + time.perf_counter() - began, counted + len(batch)
                    bank_BP = (
                        score_clips(method, video, bank, views) if bank and view == "ordered" else [None] * len(batch)
                    )
                    found_rows[-1] += [
                        _row(row, name, view, place, s, b) for row, s, b in zip(batch, scores_BK, bank_BP, strict=True)
                    ]
                began = time.perf_counter()
            rows += [row for of_batch in distributed.gather(found_rows) for row in of_batch]
    seen = distributed.gather([(counted, seconds)])
    counted, seconds = sum(count for count, _ in seen), max(took for _, took in seen)  # they work at the same time
    if distributed.rank() > 0:
        return
    metadata = {
        "labels": labels,
        "captioned": any(split.captioned for split in tested.values()),
        "failed": {
            name: [r["clip_id"] for r in split.rows if r["clip_id"] not in store] for name, split in tested.items()
        },
        "testing": spec.testing.model_dump(),
        "predict_clips_per_s": counted / seconds if seconds else None,
    }
    write_table("predictions", rows, output, metadata)


def load_method(spec: RunSpec, backbone_folder: Path, checkpoint: Path | None, device: torch.device) -> Method:
    """The method of a run as it is tested, with its checkpoint's parameters if it has one."""
    method = build_method(load_backbone(backbone_folder), spec.method_module, spec.method_options)
    if checkpoint is not None:
        if spec.training.temperature is not None:
            method.set_temperature(spec.training.temperature)
        load_trained(method, checkpoint)
    return method.to(device).eval()


def frame_order(view: str, num_frames: int, clip_id: str) -> Tensor:
    """The indices [T] of a clip's frames under a view. The shuffle depends on the clip's name alone."""
    order = torch.arange(num_frames)
    if view == "reversed":
        return order.flip(0)
    if view == "shuffled":
        generator = torch.Generator().manual_seed(zlib.crc32(clip_id.encode()))
        return torch.randperm(num_frames, generator=generator)
    if view == "repeated":
        return torch.full_like(order, num_frames // 2)
    return order


def score_clips(method: Method, video: Any, text: list[Any], views: int, average: str = "logits") -> np.ndarray:
    """Scores [B, K] of clips, each with so many views one after the other, for texts that were encoded some at a time."""
    scores_NK = torch.cat([method.score(video, part) for part in text], 1).float()
    return average_views(scores_NK, views, average).cpu().numpy()


def average_views(scores_NK: Tensor, views: int, average: str) -> Tensor:
    """The scores [B, K] of clips whose views stand one after the other: the mean of their logits, or the logarithm of the
    mean of their probabilities.
    """
    if views == 1:
        return scores_NK
    if average == "logits":
        return scores_NK.unflatten(0, (-1, views)).mean(1)
    return scores_NK.log_softmax(1).unflatten(0, (-1, views)).logsumexp(1) - math.log(views)


def _row(
    clip: dict[str, Any],
    split: str,
    view: str,
    place: dict[str, int],
    score_K: np.ndarray,
    bank_P: np.ndarray | None,
) -> dict[str, Any]:
    return {
        "clip_id": clip["clip_id"],
        "split": split,
        "view": view,
        "target": place[clip["label"]],
        "score_K": score_K,
        "bank_P": bank_P if view == "ordered" else None,
    }
