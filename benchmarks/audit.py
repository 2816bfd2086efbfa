"""Audit the motions of `shapes`: how well text-free probes distinguish the classes of each pair.

    python benchmarks/audit.py [--kinds loop count | --pairs orbit] [--level 0] [--decoded] [--output audit.md]
        [--output-data src/kinetext/report/audit.json]

The probes read frozen frame features of kinetext-tiny, of 8 frames per clip: logistic regression on the mean of all
frames, on [first; last frame], on [mean of the first third; mean of the last third] and on all frames in order, and a
GRU (64 units). A cell is the accuracy on test clips with its 95 % interval; chance is one half.

All kinds must be at chance for the mean, all but reversal for the first and last frame, and count and the orbit from
anywhere for every linear probe: otherwise something other than the motion distinguishes the classes. The GRU must be
above 0.9 everywhere: otherwise the motion cannot be seen. Cells that break this are marked with `!`. At chance means
that one half is within an interval whose level is corrected for the number of such cells. With --decoded the frames are
those of the H.264 files, as in a run; without it, those that were drawn. The report shows the file of --output-data.

N clips, T frames, D features. A pair of three classes (count) is audited for each two of them.
"""

import argparse
import hashlib
import math
import os
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from kinetext.report.audit import PROBES, AuditRow, faults, interval, must_be_at_chance, write_audit

__all__ = ["faults", "interval", "must_be_at_chance"]  # for its tests
os.environ.setdefault("OMP_NUM_THREADS", "1")
NUM_SAMPLED, SEED = 8, 0
EPOCHS, UNITS, BATCH, LR = 40, 64, 32, 3e-3  # of the GRU


def audit_pair(pair: str, features: dict[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[AuditRow]:
    """Yield one row for each two classes of a pair. `features` are the training and test clips [N, T, D] of a class."""
    from kinetext.data.motion.kinds import CLASSES, KIND_OF_PAIR

    for classes in combinations(CLASSES[pair], 2):
        train, test = (np.concatenate([features[label][part] for label in classes]) for part in (0, 1))
        train_N, test_N = (np.repeat([0, 1], len(x) // 2) for x in (train, test))
        centre, scale = train.mean((0, 1)), train.std((0, 1)) + 1e-6
        train, test = (train - centre) / scale, (test - centre) / scale
        accuracy = {name: _linear(view(train), train_N, view(test), test_N) for name, view in VIEWS.items()}
        accuracy["gru"] = _gru(train, train_N, test, test_N)
        yield AuditRow(KIND_OF_PAIR[pair], pair, (classes[0], classes[1]), accuracy, len(test_N))


def _thirds(x_NTD: np.ndarray) -> np.ndarray:
    third = -(-x_NTD.shape[1] // 3)
    return np.concatenate([x_NTD[:, :third].mean(1), x_NTD[:, -third:].mean(1)], 1)


VIEWS = {
    "mean": lambda x_NTD: x_NTD.mean(1),
    "first_last": lambda x_NTD: np.concatenate([x_NTD[:, 0], x_NTD[:, -1]], 1),
    "thirds": _thirds,
    "all": lambda x_NTD: x_NTD.reshape(len(x_NTD), -1),
}


def _linear(train_NF: np.ndarray, train_N: np.ndarray, test_NF: np.ndarray, test_N: np.ndarray) -> float:
    """Return the test accuracy of a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, max_iter=1000).fit(train_NF, train_N)
    return float((model.predict(test_NF) == test_N).mean())


def _gru(train_NTD: np.ndarray, train_N: np.ndarray, test_NTD: np.ndarray, test_N: np.ndarray) -> float:
    """Return the test accuracy of a GRU with a linear layer on its last state."""
    import torch

    torch.manual_seed(SEED)
    x_NTD, y_N = torch.from_numpy(train_NTD).float(), torch.from_numpy(train_N)
    gru = torch.nn.GRU(x_NTD.shape[2], UNITS, batch_first=True)
    head = torch.nn.Linear(UNITS, 2)
    optimizer = torch.optim.AdamW([*gru.parameters(), *head.parameters()], lr=LR, weight_decay=0.01)
    steps = EPOCHS * math.ceil(len(y_N) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(y_N)).split(BATCH):
            loss = torch.nn.functional.cross_entropy(head(gru(x_NTD[rows])[0][:, -1]), y_N[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.inference_mode():
        predicted_N = head(gru(torch.from_numpy(test_NTD).float())[0][:, -1]).argmax(1).numpy()
    return float((predicted_N == test_N).mean())


def embed_class(label: str, split: str, clips: int, level: int, decoded: bool) -> np.ndarray:
    """Return the frame features [N, T, D] of the clips of a class."""
    import torch

    from kinetext.api import load_backbone

    torch.set_num_threads(1)
    backbone = load_backbone("kinetext-tiny")
    parts = []
    with torch.inference_mode():
        for start in range(0, clips, 25):
            numbers = range(start, min(clips, start + 25))
            frames = np.stack([_frames(label, split, number, level, decoded) for number in numbers])
            parts.append(backbone.encode_frames(torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous()).numpy())
    return np.concatenate(parts)


def _frames(label: str, split: str, number: int, level: int, decoded: bool) -> np.ndarray:
    """Return the sampled frames of a clip of the data set, uint8 [T, H, W, 3]."""
    from kinetext.data.datasets.base import Clip
    from kinetext.data.datasets.shapes import clip_random, render_clip
    from kinetext.data.motion.kinds import draw_clip
    from kinetext.video.decode import decode_clip
    from kinetext.video.sampling import uniform_indices

    clip_id = f"{split}/{label.replace(' ', '_')}/{number:04d}"
    if not decoded:
        frames_THWC = draw_clip(label, clip_random(clip_id, SEED), level=level)
        return frames_THWC[uniform_indices(len(frames_THWC), NUM_SAMPLED)]
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        path = Path(folder) / "clip.mp4"
        render_clip(Clip(clip_id, path, split, label), SEED, level)
        return np.stack(decode_clip(path, lambda times_s: uniform_indices(len(times_s), NUM_SAMPLED)).frames_HWC)


def cached_features(label: str, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and test features of a class, from the cache if the code that draws did not change."""
    import kinetext.data.motion as motion
    from kinetext.data import scenes

    code = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(motion.__path__[0]).glob("*.py"))))
    code.update(Path(scenes.__file__).read_bytes())
    code.update(f"{label} {options.train} {options.test} {options.level} {options.decoded}".encode())
    path = options.cache / f"{code.hexdigest()[:20]}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [
            embed_class(label, split, clips, options.level, options.decoded)
            for split, clips in (("train", options.train), ("test", options.test))
        ]
        np.savez(path, train=parts[0], test=parts[1])
    with np.load(path) as file:
        return file["train"], file["test"]


def markdown(rows: list[AuditRow]) -> str:
    """Return the table of the audit, with marks at the cells that break its rules."""
    broken = set(faults(rows))
    lines = [
        "| kind | pair | classes | mean | first, last | thirds | all, linear | GRU |",
        "|---|---|---|" + "---|" * 5,
    ]
    for number, row in enumerate(rows):
        cells = []
        for probe in PROBES:
            low, high = interval(row, probe)
            mark = " !" if (number, probe) in broken else ""
            cells.append(f"{row.accuracy[probe]:.2f} [{low:.2f}, {high:.2f}]{mark}")
        lines.append(f"| {row.kind} | {row.pair} | {' / '.join(row.classes)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    from kinetext.data.drawing import drawing_version
    from kinetext.data.motion.kinds import CLASSES, KINDS, choose_pairs

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--pairs", nargs="+", default=[])
    parser.add_argument("--train", type=int, default=150, help="training clips per class")
    parser.add_argument("--test", type=int, default=100, help="test clips per class")
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--decoded", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "kinetext_audit")
    parser.add_argument("--output", type=Path, help="Markdown file of the table")
    parser.add_argument("--output-data", type=Path, help="JSON file; other audits in it are kept")
    options = parser.parse_args()
    rows: list[AuditRow] = []
    for pair in choose_pairs(options.kinds, options.pairs):
        features = {label: cached_features(label, options) for label in CLASSES[pair]}
        for row in audit_pair(pair, features):
            rows.append(row)
            print(row.pair, *row.classes, *(f"{name} {value:.2f}" for name, value in row.accuracy.items()), flush=True)
    table = markdown(rows)
    print(f"\n{table}\n\n{len(faults(rows))} of {len(rows)} rows x {len(PROBES)} probes break the rules")
    if options.output:
        options.output.write_text(table + "\n")
    if options.output_data:
        frames = "decoded" if options.decoded else "drawn"
        key = {"level": options.level, "frames": frames, "version": drawing_version(), "train_clips": options.train}
        write_audit(options.output_data, key, rows)


if __name__ == "__main__":
    main()
