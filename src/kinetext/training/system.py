"""How busy the machine was while a run trained: system.parquet in its run folder, whether anything tracks it or not.

A thread reads what MLflow's SystemMetricsMonitor reads, under its names, every ten seconds, and talks to nobody. Why not
that monitor itself: it sends what it reads to a server, and importing MLflow costs every training seconds. All but `process_*` is of the whole machine, other jobs and all its GPUs (in NVML's order)
included: on a shared node it says what the training had to live with, not what it used. `process_*` is the training
process alone, without its data loaders.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from kinetext.core.tables import read_metadata, read_rows, write_table

log = logging.getLogger(__name__)
EVERY_S = 10.0
# readings that are kept; when there are more, every other is dropped and half as many are taken from then on
MOST = 500

Reading = tuple[float, dict[str, float]]  # seconds since 1970, name -> value


@contextmanager
def sampled(folder: Path, fingerprint: str) -> Iterator[None]:
    """Read the machine while the block runs; write {folder}/system.parquet when it ends, however it ends.

    A training that goes on after it was stopped goes on with its readings: the run's fingerprint tells that they are its.
    """
    output = folder / "system.parquet"
    readings = _earlier(output, fingerprint)
    done, whole = threading.Event(), False
    thread = threading.Thread(target=_read_until, args=(done, readings), name="system", daemon=True)
    thread.start()
    try:
        yield
        whole = True
    finally:
        done.set()
        thread.join(timeout=1.0)  # a driver that hangs must not hold the training
        rows = [
            {"time_s": at_s, "metric": metric, "value": value}
            for at_s, reading in list(readings)
            for metric, value in reading.items()
        ]
        try:
            write_table("system", rows, output, {"fingerprint": fingerprint, "whole": whole})
        except OSError as error:  # a full disk: the training has worse to say of it
            log.warning("%s: was not written (%s)", output, error)


def _earlier(path: Path, fingerprint: str) -> list[Reading]:
    """The readings of the same training before it was stopped."""
    readings: dict[float, dict[str, float]] = {}
    try:
        if read_metadata(path) == {"fingerprint": fingerprint, "whole": False}:
            for row in read_rows("system", path):
                readings.setdefault(row["time_s"], {})[row["metric"]] = row["value"]
    except (OSError, ValueError):  # there is none, or half a one
        return []
    return sorted(readings.items())


def _read_until(done: threading.Event, readings: list[Reading]) -> None:
    read, every_s = reader(), EVERY_S
    while not done.wait(every_s):
        readings.append((time.time(), read()))
        if len(readings) > MOST:
            del readings[1::2]
            every_s *= 2


def reader() -> Callable[[], dict[str, float]]:
    """A function that reads the machine once: MLflow's names without their `system/`, in percent, megabytes (1e6 bytes)
    and watts. What cannot be read is left out. Percentages of CPU are since the reading before, traffic since the start.
    """
    process, gpus = psutil.Process(), _gpus()
    started = psutil.net_io_counters()

    def read() -> dict[str, float]:
        found = {"cpu_utilization_percentage": psutil.cpu_percent()}
        found["process_cpu_percentage"] = process.cpu_percent()  # of one core
        found["process_memory_megabytes"] = process.memory_info().rss / 1e6
        memory = psutil.virtual_memory()
        found["system_memory_usage_megabytes"] = memory.used / 1e6
        found["system_memory_usage_percentage"] = 100 * memory.used / memory.total
        disk = psutil.disk_usage(os.sep)
        found["disk_usage_percentage"] = disk.percent
        found["disk_usage_megabytes"], found["disk_available_megabytes"] = disk.used / 1e6, disk.free / 1e6
        now = psutil.net_io_counters()
        if now and started:
            found["network_receive_megabytes"] = (now.bytes_recv - started.bytes_recv) / 1e6
            found["network_transmit_megabytes"] = (now.bytes_sent - started.bytes_sent) / 1e6
        for i, gpu in enumerate(gpus):
            found |= {f"gpu_{i}_{name}": value for name, value in _read_gpu(gpu).items()}
        return found

    read()  # the first percentage of a CPU means nothing
    return read


def _gpus() -> list[Any]:
    """NVIDIA's GPUs in this machine; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _read_gpu(gpu: Any) -> dict[str, float]:
    import pynvml

    found = {}
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
        found["memory_usage_megabytes"] = memory.used / 1e6
        found["memory_usage_percentage"] = 100 * memory.used / memory.total
        found["utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        watts = pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3
        found["power_usage_watts"] = watts
        found["power_usage_percentage"] = 100 * watts * 1e3 / pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
    except pynvml.NVMLError:  # some cards do not tell all of it
        pass
    return found
