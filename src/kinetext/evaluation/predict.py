"""predict_clips: a trained method's scores for every test clip, with its frames in order and in three wrong orders.

The wrong orders tell how much a method relies on motion: reversed, shuffled (one fixed shuffle per clip), and the middle
frame repeated. The trunk sees each frame alone, so it runs once and its tokens are put in order.

B clips, T frames, K classes or captions.
"""

import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from kinetext.config import RunSpec, read_run
from kinetext.data.loader import ClipDataset, FrameStore
from kinetext.data.protocols import read_splits
from kinetext.models.checkpoint import load_backbone, load_trained
from kinetext.models.methods import Method, build_method
from kinetext.models.texts import read_texts
from kinetext.tables import write_table

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
    """
    torch.set_num_threads(threads)
    spec = read_run(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method = load_method(spec, backbone_folder, checkpoint, device)
    backbone = method.backbone
    store = FrameStore(frames)
    found = read_splits(splits)
    tested = {name: split for name, split in found.items() if name not in ("train", "val") and split.rows}

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
            loader = DataLoader(ClipDataset(store, clip_ids, [0] * len(have)), BATCH_CLIPS, num_workers=threads - 1)
            began = time.perf_counter()
            for number, (frames_BTCHW, _) in enumerate(tqdm(loader, f"predict {spec.run} {name}", disable=None)):
                batch = have[number * BATCH_CLIPS :][: len(frames_BTCHW)]
                tokens = method.trunk(frames_BTCHW.to(device))
                T = next(iter(tokens.values())).shape[1]
                for view in VIEWS:
                    order_BT = torch.stack([frame_order(view, T, row["clip_id"]) for row in batch]).to(device)
                    at = torch.arange(len(batch), device=device)[:, None]
                    video = method.encode_tokens({level: t[at, order_BT] for level, t in tokens.items()})
                    scores_BK = _scores(method, video, text)
                    if view == "ordered":
                        seconds, counted = seconds + time.perf_counter() - began, counted + len(batch)
                    bank_BP = _scores(method, video, bank) if bank and view == "ordered" else [None] * len(batch)
                    rows += [
                        _row(row, name, view, place, s, b) for row, s, b in zip(batch, scores_BK, bank_BP, strict=True)
                    ]
                began = time.perf_counter()
    metadata = {
        "labels": labels,
        "captioned": any(split.captioned for split in tested.values()),
        "failed": {
            name: [r["clip_id"] for r in split.rows if r["clip_id"] not in store] for name, split in tested.items()
        },
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


def _scores(method: Method, video: Any, text: list[Any]) -> np.ndarray:
    """Scores of some clips for texts that were encoded some at a time."""
    return torch.cat([method.score(video, part) for part in text], 1).float().cpu().numpy()


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
