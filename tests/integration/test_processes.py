"""Training with several processes (gloo, on the CPU) equals training with one, and a batch in pieces equals the whole batch.
Tests that stop a training start its processes like a user, with `kinetext train-method --gpus N`.
Runs that several processes collect give the same tables as with one.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
import yaml

from forked import kinetext
from kinetext.backbones.checkpoint import load_backbone
from kinetext.config.training import TrainingOptions
from kinetext.core import launch, tables
from kinetext.core.collected import COLLECTED
from kinetext.data.motion.files import render
from kinetext.data.splits import read_splits
from kinetext.data.store import FrameStore
from kinetext.evaluation.measure import measure_run
from kinetext.methods.base import build_method
from kinetext.report import read_runs
from kinetext.report.collect import collect_metrics
from kinetext.training import step as steps
from kinetext.training import train
from kinetext.training.batches import Batches
from kinetext.training.distributed_step import DistributedStep
from kinetext.training.objectives import Recognition, Retrieval, total
from kinetext.training.setup import choose_trained, make_objective
from kinetext.training.step import PiecewiseStep, largest_piece, seed_from
from kinetext.training.train import train_method
from left import curve, equal, weights
from reported import make_report

METHODS = {"recognition": "moted", "retrieval": "mean_pool"}
# no stochastic depth: what is dropped depends on the process and the piece
OPTIONS = {"moted": {"visual_options": {"layers": 2, "drop_path": 0.0}}, "mean_pool": {}}


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(params=METHODS)
def task(request, world, captioned):
    """Return data with classes or with captions, and a method."""
    return {"recognition": world, "retrieval": captioned}[request.param], METHODS[request.param]


def write_run(data, folder, method, **options):
    file = data.write_run(folder, method, **options)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"method_options": OPTIONS[method]}))


def command(data, folder, name, processes, **options):
    inputs = {"splits": data.splits(), "texts": data.texts, "backbone": data.backbone, "frames": data.shards, **options}
    named = [part for key, value in inputs.items() for part in (f"--{key}", str(value))]
    program = [sys.executable, "-m", "kinetext", name, "--run", str(folder / "run.yaml"), *named]
    return [*program, "--gpus", str(processes)]


def training(data, folder, processes):
    return command(
        data, folder, "train-method", processes,
        confusables=data.confusables, cache=folder / "cache", output=folder / "checkpoint.safetensors",
    )  # fmt: skip


def arguments(words):
    """Return the arguments after the program."""
    return words[words.index("kinetext") + 1 :]


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_two_processes_have_the_losses_of_one(task, tmp_path):
    """20 steps, one an epoch, so that each has a row; to 1e-6 of the loss, which float32 gives to 1e-7. The rates are low:
    Adam moves a parameter whose gradient is all rounding by as much as any other, at high rates by more than that.
    """
    data, method = task
    clips = sum(row["split"] == "train" for row in tables.read_rows("clips", data.clips))
    options = {
        "epochs": 20,
        "batch_size": clips,
        "image_encoder": "trained",
        "text_encoder": "trained",
        "lr": 1e-5,
        "lr_new": 1e-4,
    }
    losses = {}
    for processes, micro_batch in ((1, None), (2, None), (2, 2)):
        folder = tmp_path / f"{processes}{micro_batch}"
        write_run(data, folder, method, micro_batch=micro_batch, **options)
        kinetext(*arguments(training(data, folder, processes)), processes=processes)
        losses[processes, micro_batch] = curve(folder, "train_loss")
        assert json.loads((folder / "cost.json").read_text())["processes"] == processes
    assert len(losses[1, None]) == 20
    assert losses[2, None] == pytest.approx(losses[1, None], rel=1e-6)
    assert losses[2, 2] == pytest.approx(losses[1, None], rel=1e-6)
    assert losses[1, None][-1] < losses[1, None][0]


def test_any_number_of_processes_predicts_the_same(task, tmp_path):
    data, method = task
    data.write_run(tmp_path, method)
    tables_by_count = {}
    for processes in (1, 2, 4):
        output = tmp_path / f"{processes}.parquet"
        words = arguments(command(data, tmp_path, "predict-clips", processes, output=output))
        # batches of 3 clips, so that there are some for every process and the last is smaller
        kinetext(*words, processes=processes, variables={"kinetext.evaluation.predictor.BATCH_CLIPS": 3})
        tables_by_count[processes] = contents("predictions", output)
        measure_run(tmp_path, output, data.confusables, tmp_path / f"{processes}.metrics.parquet")
    assert "ordered" in tables_by_count[1]
    assert tables_by_count[2] == tables_by_count[1]
    assert tables_by_count[4] == tables_by_count[1]
    one, two, four = (contents("metrics", tmp_path / f"{n}.metrics.parquet") for n in (1, 2, 4))
    assert two == one
    assert four == one


def contents(table, path):
    """Return a table as text, to the last bit; NaN equals NaN."""
    return repr(tables.read_rows(table, path))


def prepared(data, method, **options):
    """The objective of a fresh method, its parameters that train, and the first batch."""
    options = TrainingOptions(image_encoder="trained", text_encoder="trained", batch_size=6, **options)
    torch.manual_seed(0)
    built = build_method(load_backbone(data.backbone), method, OPTIONS[method])
    if built.needs_threshold(options.loss, multi_label=False):
        built.add_label_threshold()
    choose_trained(built, options)
    splits = read_splits(data.splits())
    inputs = data.inputs()
    cpu = torch.device("cpu")
    task, texts_K = make_objective(built, splits, inputs, options, cpu, "declared")
    batches = Batches(built, FrameStore([data.frames]), splits["train"], options, 0, cpu, texts_K.get("train"))
    built.train()
    return task, [p for p in built.parameters() if p.requires_grad], next(batches.epoch(0))


def test_a_parameter_without_a_gradient_is_known_also_where_processes_share_pieces(task, tmp_path):
    """The reduction over processes gives it zeros."""
    unreached = {}
    for size in (None, 2):
        objective, parameters, batch = prepared(*task)
        unused = torch.nn.Parameter(torch.zeros(3))
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet{size}", rank=0, world_size=1)
        try:
            step = DistributedStep(objective, [*parameters, unused], size)
            assert step.unreached is None
            step(batch, (0, 0, 0))
        finally:
            dist.destroy_process_group()
        assert torch.equal(unused.grad, torch.zeros(3))
        names = {id(p): name for name, p in objective.method.named_parameters()} | {id(unused): "unused"}
        unreached[size] = {names[key] for key in step.unreached}
    assert unreached[2] == unreached[None]
    assert "unused" in unreached[2]
    assert not unreached[2] & set(objective.method.new_parameters())


@pytest.mark.parametrize(("most", "loss"), [(1, "softmax"), (4, "softmax"), (5, "softmax"), (4, "sigmoid")])
def test_pieces_have_the_gradient_of_the_whole(task, most, loss):
    results = []
    for size in (None, most):
        data, method = task
        objective, parameters, batch = prepared(data, "mean_pool" if loss == "sigmoid" else method, loss=loss)
        if size is None:
            seed_from(0, 0, 0, 0, 0)
            losses = objective.losses(batch)
            total(losses).backward()
        else:
            losses = PiecewiseStep(objective, parameters, size)(batch, (0, 0, 0))
        results.append([total(losses).detach(), *(p.grad for p in parameters if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 10
    for whole, in_pieces in zip(*results, strict=True):
        torch.testing.assert_close(in_pieces, whole, rtol=1e-3, atol=1e-5)  # of gradients up to 1: rounding alone


def test_a_batch_that_does_not_fit_is_halved_until_it_does(task, monkeypatch, caplog):
    """Memory for two clips, which says of more what CUDA would."""
    objective, parameters, batch = prepared(*task)
    encode, asked = Recognition.losses if isinstance(objective, Recognition) else Retrieval.encode, []

    def short_of_memory(self, batch, piece, *rest):
        clips = piece.stop - piece.start
        asked.append(clips)
        if clips > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 is small. And more.")
        return encode(self, batch, piece, *rest)

    monkeypatch.setattr(type(objective), encode.__name__, short_of_memory)
    assert largest_piece(objective, parameters, batch) == 2
    assert asked[:3] == [6, 3, 2]
    assert (
        "a batch of 6 clips does not fit into memory (CUDA out of memory. Tried to allocate 20.00 MiB)" in caplog.text
    )
    assert "3 pieces of 2, with the same gradient" in caplog.text
    assert all(p.grad is None for p in parameters)


def test_one_clip_that_does_not_fit_is_one_sentence(task, monkeypatch):
    objective, parameters, batch = prepared(*task)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. And more.")

    monkeypatch.setattr(steps, "accumulate_gradients", full)
    monkeypatch.setattr(steps, "cache_gradients", full)
    with pytest.raises(
        ValueError, match=r"not even one clip fits into memory .*set training.gradient_checkpointing: true"
    ):
        largest_piece(objective, parameters, batch)


FULL = {
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. And more."),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: 1 bytes"),
    "Python": MemoryError(),
}


@pytest.mark.parametrize("where", FULL)
def test_memory_that_runs_out_later_is_one_sentence(world, tmp_path, monkeypatch, where):
    def full(*_):
        raise FULL[where]

    monkeypatch.setattr(train, "update", full)
    run_yaml = world.write_run(tmp_path, "mean_pool", image_encoder="frozen")
    inputs = world.inputs()
    with pytest.raises(
        ValueError, match=r"out of memory at step 1 of epoch 1 with 6 clips .* training.micro_batch: 3 "
    ):
        train_method(run_yaml, inputs, tmp_path / "cache", tmp_path / "checkpoint.safetensors")


TWELVE = {"epochs": 12, "image_encoder": "trained", "text_encoder": "trained"}


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    """Return the folder of a training with two processes that nothing stops."""
    folder = tmp_path_factory.mktemp("undisturbed")
    world.write_run(folder, "mean_pool", **TWELVE)
    run(*training(world, folder, 2))
    return folder


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_two_interrupted_processes_resume_and_end_with_the_same_weights(world, undisturbed, tmp_path, signal_number):
    stopped = tmp_path / "stopped"
    world.write_run(stopped, "mean_pool", **TWELVE)
    process = subprocess.Popen(training(world, stopped, 2), stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 300  # a busy machine takes a minute for the imports of both
    while not list(stopped.glob("cache/train/*.before.pt")) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(random.Random(int(signal_number)).uniform(0, 0.3))
    assert process.poll() is None
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=300)
    assert not (stopped / "checkpoint.safetensors").exists()
    if signal_number == signal.SIGTERM:
        assert process.returncode == 143, errors
        assert "the same command resumes from it" in errors
    resumed = run(*training(world, stopped, 2))
    assert "resuming after epoch" in resumed.stderr
    assert equal(weights(stopped), weights(undisturbed))
    assert curve(stopped, "train_loss") == curve(undisturbed, "train_loss")


def test_no_process_listens_where_another_machine_could_connect(world, tmp_path):
    """The launcher and its two processes, from their start to their end. The environment gives gloo an interface
    that others reach, which gloo itself takes where the host name has such an address. Temporary files have an odd place.
    """
    world.write_run(tmp_path, "mean_pool", epochs=6, image_encoder="trained")
    (tmp_path / "my %20 tmp").mkdir()
    addresses = {
        name: [a.address for a in part if a.family == socket.AF_INET] for name, part in psutil.net_if_addrs().items()
    }
    open_to_others = [name for name, part in addresses.items() if any(not ip_address(a).is_loopback for a in part)]
    variables = {**os.environ, "TMPDIR": str(tmp_path / "my %20 tmp")}
    variables |= {"GLOO_SOCKET_IFNAME": open_to_others[0]} if open_to_others else {}
    launcher = subprocess.Popen(training(world, tmp_path, 2), stderr=subprocess.PIPE, text=True, env=variables)
    listening, processes = set(), {launcher.pid}
    while launcher.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for process in [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True)]:
                processes.add(process.pid)
                listening |= {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
        time.sleep(0.02)
    assert launcher.returncode == 0, launcher.stderr.read()
    assert len(processes) >= 3
    assert listening  # gloo's own sockets were seen
    assert all(ip_address(address).is_loopback for address in listening), listening


def test_nodes_meet_at_the_address_of_the_first_one(world, tmp_path):
    """Two launchers on this machine take the parts of two nodes, with one process each."""
    world.write_run(tmp_path, "mean_pool", epochs=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"localhost:{free.getsockname()[1]}"
    words = [*training(world, tmp_path, 1), "--nodes", "2"]
    nodes = [
        subprocess.Popen(
            words,
            env={**os.environ, "KINETEXT_RENDEZVOUS": meet, "SLURM_NODEID": str(node), "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(2)
    ]
    listening = set()
    while nodes[0].poll() is None:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(nodes[0].pid).children(recursive=True):
                listening |= {c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
        time.sleep(0.02)
    errors = [node.communicate()[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    assert json.loads((tmp_path / "cost.json").read_text())["processes"] == 2
    assert int(meet.split(":")[1]) in {port for _, port, *_ in listening}
    assert all(ip_address(where[0]).is_loopback for where in listening), listening


def test_the_others_end_when_one_process_is_killed(tmp_path):
    """The first process is killed by a signal, the second would go on for a minute."""
    program = (
        "import os, signal, sys, time\n"
        "if os.environ['RANK'] == '0': os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(60)\n"
    )
    code = (
        "import sys; from kinetext.core.processes import start_processes\n"
        f"start_processes([sys.executable, '-c', {program!r}], 2)"
    )
    began_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGKILL
    assert done.stderr == "kinetext: process 0 of 2 was ended by SIGKILL\n"
    assert time.monotonic() - began_s < 50


def test_a_gpu_is_reserved_by_one_job_at_a_time(tmp_path):
    gpus = ["GPU-a", "GPU-b", "GPU-c"]
    first = launch.lock_gpus(gpus, 1, tmp_path)
    second = launch.lock_gpus(gpus, 2, tmp_path)
    assert (list(first), list(second)) == (["GPU-a"], ["GPU-b", "GPU-c"])
    assert launch.lock_gpus(gpus, 1, tmp_path) == {}
    first["GPU-a"].release()
    assert launch.lock_gpus(gpus, 2, tmp_path) == {}  # and keeps no lock
    assert list(launch.lock_gpus(gpus, 1, tmp_path)) == ["GPU-a"]


def test_a_job_uses_no_gpu_outside_cuda_visible_devices(monkeypatch):
    monkeypatch.setattr(launch, "installed_gpus", lambda: ["GPU-a", "GPU-b", "GPU-c"])
    monkeypatch.setattr(launch, "_gpu_locks", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-c")
    with pytest.raises(ValueError, match=r"--gpus 3: this machine has 2 \(CUDA_VISIBLE_DEVICES is 1,GPU-c\)"):
        launch.reserve_gpus(3)
    launch.reserve_gpus(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    launch.reserve_gpus(0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


class FakeNvml:
    """NVML with two GPUs; as the module pynvml."""

    class NVMLError(Exception):
        pass

    def __init__(self, driver=True):
        self.driver, self.open = driver, 0

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}"


def test_installed_gpus_are_named_by_their_uuids(monkeypatch):
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert launch.installed_gpus() == ["GPU-0", "GPU-1"]
    assert nvml.open == 0


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(driver=False))
    assert launch.installed_gpus() == []


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return four measured runs, which two processes read as three and one."""
    monkeypatch.setattr(read_runs, "CHUNK", 3)
    return make_report(tmp_path, ["stan", "zero_shot"], ["names"], 2, ["supervised"])


def test_two_processes_collect_the_same_tables_as_one(study, tmp_path):
    collect_metrics(study.runs, tmp_path, tmp_path / "by_two", processes=2)
    for name in COLLECTED:
        one, two = (pq.read_table(tmp_path / folder / f"{name}.parquet") for folder in ("tables", "by_two"))
        assert one.equals(two), name
        assert len(one) or name in ("tuning", "seen_unseen", "texts"), name


def test_a_damaged_file_is_named_whichever_process_reads_it(study, tmp_path):
    damaged = study.runs[-1] / "predictions.parquet"
    damaged.write_bytes(b"no table")
    with pytest.raises(ValueError, match=f"{damaged}: cannot be read as the table predictions"):
        collect_metrics(study.runs, tmp_path, tmp_path / "by_two", processes=2)


def test_two_processes_write_the_clips_of_one_and_raise_its_error(tmp_path):
    clips = [tmp_path / f"{number}.mp4" for number in range(20)]  # a process writes 16 at a time
    render(Path.touch, clips, workers=2)
    assert all(path.is_file() for path in clips)
    with pytest.raises(FileNotFoundError, match="no_such_folder"):
        render(Path.touch, [*clips, tmp_path / "no_such_folder/20.mp4"], workers=2)
