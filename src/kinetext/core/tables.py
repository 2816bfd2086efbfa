"""The tables between the commands: for each column its name, type and meaning. Every arrow file and Parquet file of
kinetext is written here, whole or not at all (disk.py), so a killed job leaves no half table.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinetext.core.files import written_whole

Column = tuple[str, pa.DataType, str]

CLIPS: tuple[Column, ...] = (
    ("clip_id", pa.string(), "name of the clip, unique in its data set"),
    ("path", pa.string(), "video file, absolute"),
    ("split", pa.string(), "train, val or test"),
    ("label", pa.string(), "class name; null where the data set has captions"),
    ("captions", pa.list_(pa.string()), "captions of the clip; empty where it has a label"),
    ("start_s", pa.float64(), "where the clip starts in the file, seconds; null: at its beginning"),
    ("end_s", pa.float64(), "where it ends, seconds; null: at the end of the file"),
    ("error", pa.string(), "why the file must not be read: its row of frames fails; null otherwise"),
    ("shard", pa.string(), "the frame shard that holds the clip"),
    ("group", pa.string(), "what the clip was cut from, as a film: mining keeps a group whole; null: the clip itself"),
)
SPLITS: tuple[Column, ...] = (
    ("clip_id", pa.string(), "as in clips"),
    (
        "split",
        pa.string(),
        "train | val | test | novel (classes without training clips) | novel_among_all (the same clips, scored among all "
        "classes) | unseen (names not trained on)",
    ),
    ("label", pa.string(), "as in clips; the file's metadata has each split's classes in order"),
)
FRAMES: tuple[Column, ...] = (
    ("clip_id", pa.string(), "as in clips"),
    ("status", pa.string(), "ok | short (fewer frames than asked, repeated) | truncated | damaged | failed"),
    ("error", pa.string(), "why the status is not ok; null otherwise"),
    ("frame_indices", pa.list_(pa.int32()), "index of each frame in presentation order"),
    ("timestamps_s", pa.list_(pa.float64()), "presentation time of each frame, seconds"),
    ("images", pa.list_(pa.binary()), "T encoded images, JPEG or raw RGB bytes; empty if failed"),
    ("width_px", pa.int32(), "width of the video"),
    ("height_px", pa.int32(), "height of the video"),
    ("num_packets", pa.int32(), "video packets counted in the file"),
    ("num_substituted", pa.int32(), "frames replaced by their nearest undamaged neighbour"),
    ("rotation_deg", pa.int32(), "display rotation that was applied, degrees anticlockwise"),
    ("vfr", pa.bool_(), "variable frame rate: the steps between frames differ by more than half"),
    ("codec", pa.string(), "video codec"),
    ("content_hash", pa.string(), "hash of the images: equal for equal pictures, whatever the file is called"),
    ("source", pa.string(), "hash of the file's path, size and time of change, the window and the options"),
)
FEATURES: tuple[Column, ...] = (
    ("clip_id", pa.string(), "as in clips; only clips that have frames"),
    ("frame_TD", pa.list_(pa.list_(pa.float16())), "one CLIP feature per frame, not normalised"),
)
CONFUSABLES: tuple[Column, ...] = (
    ("label", pa.string(), "a class"),
    ("rival", pa.string(), "a class that it is taken for"),
    ("score", pa.float64(), "how easily, larger is easier; comparable within a rule only"),
    (
        "rule",
        pa.string(),
        "features (cross-fitted confusion) | text (cosine of names) | given (by the data set) | file",
    ),
    ("rank", pa.int32(), "1 is the label's first rival under the rule"),
)
# kinds of texts that take the place of a description; only `motion` says how a class moves, the others are controls
DESCRIPTIONS = ("motion", "appearance", "random")
TEXTS: tuple[Column, ...] = (
    ("label", pa.string(), "the class described; the clip_id where clips have captions"),
    ("rival", pa.string(), "the class it is contrasted with; null if none"),
    ("kind", pa.string(), "name | motion | caption; of controls also appearance | random (DESCRIPTIONS)"),
    ("phase", pa.string(), "whole | start | end: the part of the clip that the sentence is about"),
    ("sentence", pa.string(), "the text itself"),
    ("source", pa.string(), "who wrote it"),
    ("prompt_version", pa.string(), "version of the wording sent to the model; null without a model"),
    ("model", pa.string(), "language model as the server named it; null without one"),
    ("date", pa.string(), "when it was written, ISO 8601; null if unknown"),
    ("request_hash", pa.string(), "key of the raw reply in the cache; null without a model"),
    ("status", pa.string(), "ok, or the reason why the sentence is not used"),
)
PREDICTIONS: tuple[Column, ...] = (
    ("clip_id", pa.string(), "as in clips"),
    ("split", pa.string(), "as in splits"),
    ("view", pa.string(), "ordered | reversed | shuffled | repeated: what was done to the order of the frames"),
    ("target", pa.int32(), "index of the clip's class, or of its first caption, among the split's labels"),
    (
        "score_K",
        pa.list_(pa.float32()),
        "score for each of the split's labels (file metadata: labels; of captions, the clip of each)",
    ),
    (
        "bank_P",
        pa.list_(pa.float32()),
        "score for each of some captions of training clips, for QB-Norm; null under other views, and for classes",
    ),
)
METRICS: tuple[Column, ...] = (
    ("dataset", pa.string(), "data set"),
    ("split", pa.string(), "as in predictions"),
    ("protocol", pa.string(), "which clips and classes train and test"),
    ("method", pa.string(), "method, as named in config.yaml"),
    ("texts", pa.string(), "texts, as named in config.yaml"),
    ("backbone", pa.string(), "image-text model, as named in config.yaml"),
    ("seed", pa.int32(), "seed of the run"),
    (
        "metric",
        pa.string(),
        "name of the metric (evaluation/metrics/), with the rule of confusables after a colon; for captions after a "
        "direction, with what was done to the scores after a colon",
    ),
    ("view", pa.string(), "as in predictions"),
    ("value", pa.float64(), "the metric, in its unit"),
    ("low", pa.float64(), "lower end of the 95 % bootstrap interval over clips"),
    ("high", pa.float64(), "upper end of it"),
    ("clips", pa.int32(), "how many clips it is over"),
    ("fingerprint", pa.string(), "hash of everything that defines the run"),
    ("commit", pa.string(), "git commit of the code that measured"),
    ("unit", pa.string(), "unit of the value: share (0 to 1) | rank (from 1) | number; null: share"),
    ("higher_is_better", pa.bool_(), "whether a higher value is better; null: yes"),
)
SYSTEM: tuple[Column, ...] = (
    ("time_s", pa.float64(), "when it was read, seconds since 1970"),
    ("metric", pa.string(), "what was read, by MLflow's names (training/system.py)"),
    ("value", pa.float64(), "in the unit that ends the name"),
)
_RUN: tuple[Column, ...] = (
    ("run", pa.string(), "{dataset}/{protocol}/{method}/{texts}/seed{n}"),
    *METRICS[:1],
    *METRICS[2:7],
)
RUNS: tuple[Column, ...] = (
    *_RUN,
    ("fingerprint", pa.string(), "hash of everything that defines the run"),
    ("commit", pa.string(), "git commit of the code that trained; null where nothing was trained"),
    ("method_module", pa.string(), "module of methods"),
    ("method_options", pa.string(), "its options, as JSON"),
    ("training", pa.string(), "how it is trained, as JSON"),
    ("test_clips", pa.int32(), "choices of frames of a test clip whose scores are averaged"),
    ("test_crops", pa.int32(), "crops of each"),
    ("test_average", pa.string(), "what was averaged: logits | probabilities"),
)
COSTS: tuple[Column, ...] = (
    *_RUN,
    ("new_parameters", pa.int64(), "parameters that the method adds to the backbone; null where nothing was trained"),
    ("trained_parameters", pa.int64(), "parameters that were trained"),
    ("train_seconds", pa.float64(), "wall time of training, seconds, without imports and reading"),
    ("train_clips_seen", pa.int64(), "clips times epochs"),
    ("predict_clips_per_s", pa.float64(), "clips a second at prediction, cached features included"),
    ("processes", pa.int32(), "processes that trained together, one a GPU"),
    ("threads", pa.int32(), "CPU threads of the training"),
    ("device", pa.string(), "cpu or the GPU's name, of the training"),
    ("train_method_s", pa.float64(), "wall time of the whole job of that rule, seconds (Snakemake's benchmark)"),
    ("train_method_mib", pa.float64(), "most resident memory of that job, MiB"),
    ("predict_clips_s", pa.float64(), "the same of the rule predict_clips"),
    ("predict_clips_mib", pa.float64(), "the same"),
    ("measure_run_s", pa.float64(), "the same of the rule measure_run"),
    ("measure_run_mib", pa.float64(), "the same"),
)
COLLECTED_CURVES: tuple[Column, ...] = (
    *_RUN,
    ("epoch", pa.int64(), "passes over the training clips, from 1"),
    ("metric", pa.string(), "train_loss, lr, and where there are validation clips val_loss, val_top1 or val_t2v_r1"),
    ("value", pa.float64(), "of that epoch"),
)
COLLECTED_TEXTS: tuple[Column, ...] = (
    *METRICS[:1],
    METRICS[2],
    METRICS[5],
    ("texts", pa.string(), "the table's name in config.yaml"),
    *TEXTS,
)
CONFUSIONS: tuple[Column, ...] = (
    *METRICS[:5],
    METRICS[6],
    ("label", pa.string(), "class of the clips"),
    (
        "predicted",
        pa.string(),
        "the class that scores highest, frames in order; of a tie with their own class the other one, as top1 counts it; "
        "null for clips without frames",
    ),
    ("clips", pa.int32(), "how many"),
)
DIFFERENCES: tuple[Column, ...] = (
    ("dataset", pa.string(), 'data set; "mean of N" where N of them are averaged (column pooled)'),
    *METRICS[1:3],
    ("metric", pa.string(), "top1 (classes) or t2v_r1 (captions)"),
    ("method", pa.string(), "method, as named in config.yaml"),
    ("texts", pa.string(), "texts, as named in config.yaml"),
    ("than_method", pa.string(), "the method it is compared with"),
    ("than_texts", pa.string(), "the texts of that method"),
    ("value", pa.float64(), "mean over clips of (method - than_method), each averaged over its seeds, -1 to 1"),
    ("low", pa.float64(), "lower end of the 95 % paired bootstrap interval over clips"),
    ("high", pa.float64(), "upper end of it"),
    ("clips", pa.int32(), "clips that both have scored"),
    ("seeds", pa.int32(), "the smaller of the two numbers of seeds"),
    ("p", pa.float64(), "two-sided p of the paired permutation test (report/paired.py), not corrected for other rows"),
    ("pooled", pa.list_(pa.string()), "the data sets averaged, each weighing the same; null for a single one"),
    ("least", pa.float64(), "lowest value of a data set among them; null for a single one"),
    ("most", pa.float64(), "highest value of a data set among them"),
)
TABLES = {
    "clips": CLIPS,
    "splits": SPLITS,
    "frames": FRAMES,
    "features": FEATURES,
    "confusables": CONFUSABLES,
    "texts": TEXTS,
    "predictions": PREDICTIONS,
    "metrics": METRICS,
    "system": SYSTEM,
    "runs": RUNS,
    "costs": COSTS,
    "collected_curves": COLLECTED_CURVES,  # tables/curves.parquet: those of all runs
    "collected_texts": COLLECTED_TEXTS,  # tables/texts.parquet: all tables of texts
    "confusions": CONFUSIONS,
    "differences": DIFFERENCES,
}
SCHEMA_VERSION = 3  # one more whenever a column is added (name it in ADDED), renamed or removed
ADDED = {  # columns that files of an earlier version lack: read as null
    "clips": ("group",),
    "predictions": ("bank_P",),
    "runs": ("method_module", "method_options", "training", "test_clips", "test_crops", "test_average"),
    "costs": ("processes",),
    "metrics": ("unit", "higher_is_better"),
    "differences": ("p", "pooled", "least", "most"),
}
BROKEN = (pa.ArrowException, OSError, ValueError)  # what reading a file raises that is not whole, or none of ours


def schema(name: str) -> pa.Schema:
    """The Arrow schema of a table, with each column's meaning as its field metadata."""
    fields = [pa.field(column, kind, metadata={"meaning": meaning}) for column, kind, meaning in TABLES[name]]
    return pa.schema(fields, metadata={"kinetext_table": name, "schema_version": str(SCHEMA_VERSION)})


def write_table(
    name: str, rows: Iterable[dict[str, Any]] | pa.Table, path: Path, metadata: dict[str, Any] | None = None
) -> None:
    """Write rows, or an Arrow table of them, as Parquet. A column that a row lacks is null; a column that the table does
    not declare is an error.
    """
    kind = schema(name)
    if metadata:
        kind = kind.with_metadata({**(kind.metadata or {}), **{k: json.dumps(v) for k, v in metadata.items()}})
    if isinstance(rows, pa.Table):
        table = rows.cast(kind)
    else:
        rows = list(rows)
        unknown = {key for row in rows for key in row} - set(kind.names)
        if unknown:
            raise ValueError(f"table {name} declares no column {sorted(unknown)}; see tables.py")
        table = pa.Table.from_pylist(rows, schema=kind)
    with written_whole(path) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def read_table(name: str, path: Path) -> pa.Table:
    """Read a Parquet table, its declared columns in their order. A file of an earlier version is read too: what it lacks
    is null (ADDED), what is no longer declared is left out.

    Raises ValueError with the path if it is no table of this name, is not whole, or was written by a later version.
    """
    try:
        # pq.read_table imports pyarrow.dataset and pandas, half a second
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        version = int((table.schema.metadata or {}).get(b"schema_version", SCHEMA_VERSION))
    except BROKEN as error:
        raise ValueError(f"{path}: cannot be read as the table {name} ({error}); delete it and run again") from error
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path}: was written by a later kinetext (schema {version}, this one reads up to {SCHEMA_VERSION}); update it"
        )
    for column in ADDED.get(name, ()):
        if column not in table.column_names:
            field = schema(name).field(column)
            table = table.append_column(field, pa.nulls(len(table), field.type))
    missing = [column for column in schema(name).names if column not in table.column_names]
    if missing:
        raise ValueError(f"{path}: is no table {name}: column {missing[0]} is missing")
    return table.select(schema(name).names)


def read_rows(name: str, path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet table as dictionaries."""
    return read_table(name, path).to_pylist()


def read_metadata(path: Path) -> dict[str, Any]:
    """What `write_table` was given as metadata. Raises ValueError with the path if it is no table, or not whole."""
    try:
        return metadata_of(pq.read_schema(path))
    except BROKEN as error:
        raise ValueError(f"{path}: cannot be read as a table ({error}); delete it and run again") from error


def metadata_of(read: pa.Schema) -> dict[str, Any]:
    """The same, of a table that was read."""
    raw = read.metadata or {}
    own = {"kinetext_table", "schema_version", "ARROW:schema"}
    return {k.decode(): json.loads(v) for k, v in raw.items() if k.decode() not in own}


def write_shard(name: str, batches: Iterable[list[dict[str, Any]]], path: Path) -> None:
    """Write an uncompressed Arrow IPC file, one record batch per list of rows: memory-mapped, random access by row."""
    kind = schema(name)
    with written_whole(path) as part, pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, kind) as writer:
        for rows in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=kind))


def open_shard(name: str, path: Path) -> pa.Table:
    """Memory-map an Arrow IPC file; ValueError with the path if it is not whole."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
    except BROKEN as error:
        raise ValueError(f"{path}: cannot be read as a shard of {name} ({error}); delete it and run again") from error


def code_commit() -> str | None:
    """The git commit of the code, short, for the columns `commit`; None where the package lies in no git checkout of its
    own.
    """

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    here = Path(__file__)
    try:
        # an installed copy may lie inside someone else's repository, whose commit says nothing about us
        return git("rev-parse", "--short", "HEAD") if git("ls-files", "--error-unmatch", here.name) else None
    except OSError:  # no git here
        return None
