"""Make small synthetic runs and a report over them, for the tests of the report."""

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import yaml

from few_draws import measure_quickly
from kinetext.config.report import ReportOptions
from kinetext.core.tables import write_shard, write_table
from kinetext.evaluation.calibration import NO_CLIPS, Calibration
from kinetext.report.collect import collect_metrics
from kinetext.report.render import render_report

BASE = ["moves left", "moves right", "grows", "shrinks"]
NOVEL = ["rises", "falls"]
SKILL = {
    "zero_shot": (0.4, 0.0),
    "stan": (2.0, 1.5),
    "moted": (2.2, 2.0),
    "mean_pool": (2.0, 0.0),
    "ordered": (1.0, 1.2),
}
FRAME_ORDER_EFFECT = {"ordered": 1.0, "reversed": -1.0, "shuffled": 0.1, "repeated": 0.0}


def make_data(root: Path, clips_per_class: int, dataset: str = "shapes") -> None:
    """Write the clips, frames (a moving square; the first clip failed), confusables and texts of a data set."""
    data, clips, frames, mined = root / dataset, [], [], []
    for k, label in enumerate(BASE + NOVEL):
        for split in ("train", "test"):
            for i in range(clips_per_class if split == "test" else 2):
                clip_id, images = f"{split}-{label}-{i}", []
                for t in range(8):
                    frame = np.full((48, 48, 3), 232, np.uint8)
                    x = 4 + 4 * t if k % 2 else 32 - 4 * t
                    frame[10 + 4 * (k // 2) : 22 + 4 * (k // 2), x : x + 12] = (20, 90, 160)
                    images.append(simplejpeg.encode_jpeg(frame, quality=90))
                failed = clip_id == "test-moves left-0"
                clips.append({"clip_id": clip_id, "path": "x", "split": split, "label": label, "shard": "0000"})
                status = {"status": "failed", "error": "no video stream"} if failed else {"status": "ok"}
                frames.append({"clip_id": clip_id, "images": [] if failed else images, **status})
    for pair in (BASE[:2], BASE[2:], NOVEL):
        for (label, rival), rule in (((pair[0], pair[1]), "declared"), ((pair[1], pair[0]), "declared")):
            mined.append({"label": label, "rival": rival, "score": 1.0, "rule": rule, "rank": 1})
    odd = {"sizes": {"test": [12, 20], "classes": [6, 6]}, "absent": {"count": 2}, "unlisted": {"count": 0}}
    write_table("clips", clips, data / "clips.parquet", odd)
    write_shard("frames", [frames], data / "frames" / "0000.arrow")
    write_table("confusables", mined, data / "confusables.parquet")
    for provider, kind in (("names", "name"), ("motion", "motion"), ("shuffled", "motion")):
        about = {"source": provider, "kind": kind}
        texts = [{**about, "label": c, "sentence": f"the thing {c} <slowly>", "status": "ok"} for c in BASE]
        texts.append({**about, "label": BASE[0], "sentence": "moves", "status": "short: 1 word"})
        texts[1]["status"] = "cut: 90 tokens, the backbone takes 77"  # used all the same
        if provider == "motion":
            texts[3]["status"] = "short: 4 words"
        control = {"control": "shuffled" if provider == "shuffled" else None}
        write_table("texts", texts, data / "texts" / f"{provider}.parquet", control)


def make_run(
    root: Path,
    method: str,
    texts: str,
    seed: int,
    protocol: str,
    clips_per_class: int,
    confusables: Path,
    dataset: str = "shapes",
    metrics: dict | None = None,
) -> Path:
    """Write a run folder with synthetic predictions, measure it, and write a learning curve if it trained."""
    run = f"{dataset}/{protocol}/tiny/{method}/{texts}/seed{seed}"
    folder, random = root / "runs" / run, np.random.default_rng([seed, *map(ord, method + texts + dataset)])
    keys = {"run": run, "dataset": dataset, "protocol": protocol, "method": method, "texts": texts}
    spec = {"backbone": "tiny", "seed": seed, "method_module": method, "method_options": {}, "training": {}}
    empty = {"dataset_options": {}, "backbone_options": {}, "text_options": {}, "fingerprint": run}
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({**keys, **spec, **empty}))
    if method != "zero_shot":
        cost = {"new_parameters": 1200, "trained_parameters": 34567, "train_seconds": 20.0 + seed, "threads": 2}
        (folder / "cost.json").write_text(json.dumps({**cost, "device": "cpu", "commit": "abc1234"}))
        losses = {"epoch": [1, 2, 3], "metric": ["train_loss"] * 3, "value": [2.0, 1.0 + 0.1 * seed, 0.5]}
        pq.write_table(pa.table(losses), folder / "curves.parquet")
    class_skill, order_skill = SKILL[method]
    order_skill += 0.4 * (texts == "motion") * (order_skill > 0)
    splits, rows = {"test": BASE}, []
    if protocol == "base_to_novel":
        splits |= {"novel": NOVEL, "novel_among_all": NOVEL + BASE, "test_among_all": BASE + NOVEL}
    for split, labels in splits.items():
        classes = NOVEL if split.startswith("novel") else BASE
        noise = random.normal(size=(len(classes) * clips_per_class, len(labels)))
        for frame_order, effect in FRAME_ORDER_EFFECT.items():
            for b, score in enumerate(noise):
                target = b // clips_per_class
                label, score = labels[target], score.copy()
                score[[target, target ^ 1]] += class_skill
                score[target] += effect * order_skill * (0.4 if split.startswith("novel") else 1.0)
                if (split, b) == ("test", 0):
                    score[:] = np.nan
                row = {"clip_id": f"test-{label}-{b % clips_per_class}", "split": split, "frame_order": frame_order}
                row["kind"] = "moving" if label in (*BASE[:2], *NOVEL) else "resizing"
                rows.append({**row, "target": target, "score_K": score.tolist()})
    metadata = {"labels": splits, "predict_clips_per_s": 50.0, "failed": {"test": ["test-moves left-0"]}}
    fitted = Calibration(temperature=2.0, clips=8)
    metadata["calibration"] = (NO_CLIPS if method == "zero_shot" else fitted).document()
    metadata["train_clips"] = dict(zip(BASE, (200, 50, 10, 5), strict=True))
    untrained = {"new_parameters": 0, "trained_parameters": 0, "train_seconds": 0.0}
    metadata["cost"] = {"gflops_per_clip": 12.5, **(untrained if method == "zero_shot" else {})}
    write_table("predictions", rows, folder / "predictions.parquet", metadata)
    measure_quickly(folder, folder / "predictions.parquet", confusables, folder / "metrics.parquet", metrics)
    return folder


def blank_figures(patch) -> None:
    """Have pages without drawn figures, which take most of a page's time, for tests that read texts and tables."""

    def save(figure, name: str, folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").touch()
        return "<svg></svg>"

    patch.setattr("kinetext.report.figures.canvas.save", save)


def make_report(
    root,
    methods,
    texts,
    seeds,
    protocols,
    clips_per_class=6,
    confusables=None,
    datasets=("shapes",),
    metrics=None,
    **options,
):
    """Write data, runs, tables and the page under `root`."""
    keys = [(m, t, s, p) for m in methods for t in texts for s in range(seeds) for p in protocols]
    page, runs, sources = root / "report.html", [], ([], [], [])
    for name in datasets:
        make_data(root, clips_per_class, name)
        data = root / name
        mined = confusables or data / "confusables.parquet"
        runs += [make_run(root, *key, clips_per_class, mined, name, metrics) for key in keys]
        sources[0].append((name, data / "clips.parquet", [data / "frames" / "0000.arrow"]))
        sources[1].extend((name, protocol, "tiny", mined) for protocol in protocols)
        sources[2].extend(data / "texts" / f"{provider}.parquet" for provider in ("names", "motion", "shuffled"))
    collect_metrics(runs, root, root / "tables")
    render_report(root / "tables", ReportOptions(**options), *sources, page, root / "figures")
    return SimpleNamespace(root=root, runs=runs, html=page.read_text(), tables=root / "tables", sources=sources)


class Page(HTMLParser):
    """The ids of sections, all links and image sources, and the text of each section."""

    def __init__(self, html):
        super().__init__()
        self.sections, self.links, self.open_tags, self.text, self.scripts = [], [], [], {}, 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "section":
            self.sections.append(attributes["id"])
        self.scripts += tag == "script"
        self.links += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href", "srcset", "data")]
        self.open_tags.append(tag)

    def handle_endtag(self, tag):
        while self.open_tags and self.open_tags.pop() != tag:
            pass

    def handle_data(self, data):
        here = self.sections[-1] if self.sections else "top"
        if "svg" not in self.open_tags:
            self.text[here] = " ".join([*self.text.get(here, "").split(), *data.split()])
