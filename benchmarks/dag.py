"""What Snakemake itself costs on a large study: the graph of 10 000 runs, and the jobs of such a graph one after the other.

    python benchmarks/dag.py [--runs 10000] [--shards 260] [--work-s 60]
    python benchmarks/dag.py --runs 36 --texts 1 --seeds 3 --shards 10000  # ten million clips

Every command but index_clips is a stub that makes its outputs and nothing else, so what is measured is Snakemake, the
Snakefile and the rules. The study is one data set after another of `shards` shards (Kinetics-400 has 260), each under 12
methods, 7 `texts` and 30 `seeds`. Printed are the seconds of a dry run until it knows all jobs, which is the graph; the seconds
that it goes on for, in which it formats each job's message; its peak memory; and then how many stub jobs a second a real
call gets done within `work-s` seconds and what CPU time Snakemake takes for each.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
METHODS = 12
STUB = r"""#!/bin/sh
# replaces kinetext: makes the files that the command should write
case $1 in index-clips) exec {kinetext} "$@" ;; esac
command=$1
while [ $# -gt 0 ]; do
    case $1 in
        --output) output=$2 ;;
        --figures) mkdir -p "$2" ;;
    esac
    shift
done
case $command in
    prepare-backbone) mkdir -p "$output"; touch "$output/weights.safetensors" "$output/backbone.yaml" ;;
    collect-metrics)
        mkdir -p "$output"
        for name in metrics runs texts confusions costs curves differences risk_coverage; do touch "$output/$name.parquet"; done ;;
    train-method) touch "$output" "${output%/*}/curves.parquet" "${output%/*}/cost.json" ;;
    *) touch "$output" ;;
esac
"""


def write_study(folder: Path, runs: int, shards: int, texts: int, most_seeds: int) -> Path:
    """Write a configuration of at least this many runs, with the lists of its data sets and the stub in `folder`/bin."""
    (folder / "bin").mkdir()
    stub = folder / "bin/kinetext"
    stub.write_text(STUB.replace("{kinetext}", str(Path(sys.executable).parent / "kinetext")))
    stub.chmod(0o755)
    clips = "path,split,label\n" + "".join(
        f"{n}.mp4,{('train', 'train', 'val', 'test')[n % 4]},class {n // 4 % 2}\n" for n in range(max(8, shards))
    )
    (folder / "videos").mkdir()
    (folder / "clips.csv").write_text(clips)
    of_a_dataset = METHODS * texts * most_seeds
    datasets = [f"set{n}" for n in range(-(-runs // of_a_dataset))]
    seeds = -(-runs // (len(datasets) * METHODS * texts))
    values: dict[str, Any] = {
        "results": "results",
        "backbones": {"tiny": {}},
        "datasets": {
            name: {
                "module": "csv",
                "options": {"root": str(folder / "videos"), "list": str(folder / "clips.csv")},
                "frames": {"size_px": 64},
                "shard_clips": -(-max(8, shards) // shards),
            }
            for name in datasets
        },
        "confusables": {"rule": "text"},
        "texts": {f"texts{n}": {"module": "names"} for n in range(texts)},
        "methods": {f"method{n:02d}": {"module": "mean_pool"} for n in range(METHODS)},
        "experiments": {
            "all": {
                "datasets": datasets,
                "backbone": "tiny",
                "methods": [f"method{n:02d}" for n in range(METHODS)],
                "texts": [f"texts{n}" for n in range(texts)],
                "seeds": list(range(seeds)),
            }
        },
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    return config


def command(config: Path, *arguments: str) -> list[str]:
    """Return the words of a call of Snakemake on the study."""
    return [
        *(sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(config.parent)),
        *("--configfile", str(config), "--cores", "2", *arguments),
    ]


def environment(config: Path) -> dict[str, str]:
    """Put the stub first on the PATH."""
    return {**os.environ, "PATH": f"{config.parent}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}


def call(config: Path, *arguments: str) -> tuple[str, float, float, float]:
    """Return Snakemake's output, the seconds until it knew its jobs, all its seconds, and its peak memory in MiB."""
    started, known_s = time.perf_counter(), float("nan")
    output = ""
    process = subprocess.Popen(
        command(config, *arguments),
        env=environment(config),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("Job stats:") and "Job stats:" not in output:
            known_s = time.perf_counter() - started
        output += line
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"Snakemake failed; it said\n{output[-3000:]}")
    return output, known_s, time.perf_counter() - started, used.ru_maxrss / 1024


def list_clips(config: Path) -> None:
    """Run the checkpoints, after which the whole graph is known."""
    call(config, "--until", "index_clips")


def jobs(output: str) -> int:
    """How many jobs a call has planned."""
    (total,) = re.findall(r"^total +(\d+)$", output, flags=re.MULTILINE)[:1]
    return int(total)


def work(config: Path, seconds: float) -> tuple[int, float, float]:
    """Let Snakemake do stub jobs for so long: how many were finished, in how many seconds from the first on, and what CPU
    seconds Snakemake's own process took meanwhile.
    """
    log = config.with_name("work.txt")
    with log.open("w") as file:
        process = subprocess.Popen(command(config), env=environment(config), stdout=file, stderr=subprocess.STDOUT)
        while "steps" not in log.read_text() and process.poll() is None:
            time.sleep(0.2)
        before, started = _cpu_s(process.pid), time.perf_counter()
        first = done(log)
        while time.perf_counter() - started < seconds and process.poll() is None:
            time.sleep(0.2)
        finished, wall_s = done(log) - first, time.perf_counter() - started
        used_s = _cpu_s(process.pid) - before if process.poll() is None else float("nan")
        process.kill()  # its folder is thrown away
        process.wait()
    return finished, wall_s, used_s


def done(log_path: Path) -> int:
    """Return the number of finished jobs in a log of Snakemake."""
    return int((re.findall(r"^(\d+) of \d+ steps", log_path.read_text(), flags=re.MULTILINE) or [0])[-1])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=260)
    parser.add_argument("--texts", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=30, help="at most, of a data set")
    parser.add_argument("--work-s", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dag-") as folder:
        config = write_study(Path(folder), options.runs, options.shards, options.texts, options.seeds)
        list_clips(config)
        output, known_s, wall_s, mib = call(config, "-n", "--quiet", "rules")
        print(f"{options.runs} runs, {options.shards} shards a data set: {jobs(output)} jobs")
        print(f"graph: {known_s:.1f} s; the dry run's printing {wall_s - known_s:.1f} s; at most {mib:.0f} MiB")
        if options.work_s:
            finished, wall_s, cpu_s = work(config, options.work_s)
            each_ms = 1000 * cpu_s / max(1, finished)
            print(f"work: {finished} jobs in {wall_s:.0f} s; Snakemake took {each_ms:.0f} ms of CPU for each")


if __name__ == "__main__":
    main()
