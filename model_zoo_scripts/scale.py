"""Any number of inputs: `lrp-onnx batch` killed and resumed, other engines, speed and memory.

    python model_zoo_scripts/scale.py              # the checks, about a minute on a quiet machine
    python model_zoo_scripts/scale.py --measure    # speed and memory of 100,000 digits

The checks need `pip install 'lrp-onnx[scale]' dask pyspark`; Spark needs Java.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pyarrow as pa
from pyarrow import parquet

import lrp_onnx
from lrp_onnx import Explainer, digits

SHARD = 256
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_digits(folder: Path, count: int) -> tuple[Path, Path]:
    """The bundled model, which names its classes, and so many different digits: the bundled ones,
    with noise.
    """
    model, images, _ = digits.load()
    named = onnx.load_from_string(model)
    onnx.helper.set_model_props(named, {"names": str(dict(enumerate(WORDS)))})
    onnx.save(named, folder / "digits.onnx")
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(
        folder / "digits.npy", mode="w+", dtype=np.float32, shape=(count, 1, 28, 28)
    )
    for start in range(0, count, 1000):
        chosen = images[rng.integers(0, len(images), min(1000, count - start))]
        noise = rng.uniform(0, 0.1, chosen.shape)
        x[start : start + 1000, 0] = np.minimum(chosen / 255 + noise, 1)
    x.flush()
    return folder / "digits.onnx", folder / "digits.npy"


def command(model: Path, inputs: Path, out: Path, *options: str) -> list[str]:
    """The command line of a run."""
    words = [sys.executable, "-m", "lrp_onnx", "batch", str(model), str(inputs), "-o", str(out)]
    return [*words, "--shard", str(SHARD), *options]


def run(words: list[str]) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def parts_of(out: Path) -> list[Path]:
    """The parts that are written."""
    return sorted((out / "parts").glob("part-*.parquet"))


def start_and_wait(words: list[str], out: Path, parts: int) -> subprocess.Popen[bytes]:
    """A run that has written so many parts, and goes on."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(parts_of(out)) < parts:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    return process


def worker_processes(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Ray's actors that explain."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "MapWorker" in " ".join(child.cmdline())]


def check_killed(folder: Path, count: int) -> None:
    """A worker is killed, then the whole run; what continues has every row once, as if it had not
    been stopped.
    """
    model, inputs = write_digits(folder, count)
    out, whole = folder / "killed", folder / "whole"
    options = ("--workers", "2", "--relevance", "float32")
    process = start_and_wait(command(model, inputs, out, *options), out, 2)
    victim = worker_processes(process)[0]
    victim.send_signal(signal.SIGKILL)
    before = len(parts_of(out))
    while len(parts_of(out)) < before + 2:
        assert process.poll() is None, "the run did not survive the death of a worker"
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=60)
    left = len(parts_of(out))
    total = -(-count // SHARD)
    assert left < total, "the run was over before it could be killed"
    times = {path: path.stat().st_mtime_ns for path in parts_of(out)}
    print(run(command(model, inputs, out, *options, "--resume")).strip())
    assert all(path.stat().st_mtime_ns == written for path, written in times.items())
    run(command(model, inputs, whole, *options))
    found, expected = (parquet.read_table(place / "parts") for place in (out, whole))
    assert found["row"].to_pylist() == list(range(count))
    assert found.equals(expected)
    check_rows(found, Explainer(out / "model.lrp.onnx"), np.load(inputs, mmap_mode="r"))
    print(f"killed with {left} of {total} parts and resumed: {count} rows, each once, all equal")


def check_rows(rows: pa.Table, explainer: Explainer, x: Any) -> None:
    """Some rows beside the explainer in this process; all have the names of their classes."""
    assert rows["logits.label"].to_pylist() == [WORDS[k] for k in rows["logits.class"].to_pylist()]
    for k in range(0, len(x), 501):
        expected = explainer(x[k : k + 1]).relevance["image"].reshape(-1)
        largest = np.abs(expected).max()
        assert (
            np.abs(np.array(rows["image_relevance"][k].as_py()) - expected).max() < 1e-5 * largest
        )


def check_engines(folder: Path) -> None:
    """An explainer is pickled into every engine that is installed, and explains there."""
    model, images, _ = digits.load()
    x = images[:, None].astype(np.float32) / 255
    lrp_onnx.compile(model).save(folder / "c.onnx")
    by_path = Explainer(folder / "c.onnx", threads=1)
    by_bytes = Explainer((folder / "c.onnx").read_bytes(), threads=1)
    expected = by_path(x).relevance["image"].sum((1, 2, 3))
    for k, (name, sums) in enumerate(ENGINES.items()):
        if sums is in_spark and importlib.util.find_spec("pyspark") is None:
            print(f"{name}: skipped, pyspark is not installed")
            continue
        form, explainer = (("path", by_path), ("bytes", by_bytes))[k % 2]
        began = time.monotonic()
        np.testing.assert_allclose(sums(explainer, x), expected, rtol=1e-4, atol=1e-4)
        print(f"{name}, by {form}: equal, {time.monotonic() - began:.1f} s", flush=True)


def sum_of(explainer: Explainer, x: Any) -> Any:
    """Relevance of each sample, summed."""
    return explainer(x).relevance["image"].sum((1, 2, 3))


def in_processes(explainer: Explainer, x: Any) -> Any:
    """In processes that are spawned."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return np.concatenate(pool.starmap(sum_of, [(explainer, x[:6]), (explainer, x[6:])]))


def in_ray(explainer: Explainer, x: Any) -> Any:
    """In tasks of Ray."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, object_store_memory=200 * 2**20, include_dashboard=False)
    try:
        task = ray.remote(sum_of)
        shared = ray.put(explainer)
        return np.concatenate(ray.get([task.remote(shared, part) for part in (x[:6], x[6:])]))
    finally:
        ray.shutdown()


def in_dask(explainer: Explainer, x: Any) -> Any:
    """In Dask's processes."""
    import dask

    explain = dask.delayed(sum_of)
    parts = [explain(explainer, part) for part in (x[:6], x[6:])]
    return np.concatenate(dask.compute(*parts, scheduler="processes", num_workers=2))


def in_spark(explainer: Explainer, x: Any) -> Any:
    """In mapInPandas of Spark."""
    import pandas as pd
    from pyspark.sql import SparkSession

    def explain(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            pixels = np.stack(frame["pixels"].to_list()).astype(np.float32)
            sums = explainer(pixels.reshape(-1, 1, 28, 28)).relevance["image"].sum((1, 2, 3))
            yield pd.DataFrame({"number": frame["number"], "sum": sums.astype(float)})

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    rows = pd.DataFrame({"number": range(len(x)), "pixels": [list(map(float, p.flat)) for p in x]})
    done = (
        spark.createDataFrame(rows).repartition(2).mapInPandas(explain, "number long, sum double")
    )
    return done.toPandas().sort_values("number")["sum"].to_numpy()


Engine = Callable[[Explainer, Any], Any]
ENGINES: dict[str, Engine] = {
    "multiprocessing, spawn": in_processes,
    "Ray": in_ray,
    "Dask": in_dask,
    "Spark, mapInPandas": in_spark,
}


def measure(folder: Path, count: int, repeats: int) -> None:
    """Inputs a second of `many` in one process and of one and two workers, in turn; then one run
    over all digits, with the memory of its workers.
    """
    model, inputs = write_digits(folder, count)
    few = folder / "few.npy"
    some = min(count, 10_000)
    np.save(few, np.load(inputs, mmap_mode="r")[:some])
    compiled = lrp_onnx.compile(model)
    speeds: dict[str, list[float]] = {"many": [], "1 worker": [], "2 workers": []}
    for _ in range(repeats):
        explainer, x = Explainer(compiled, threads=1), np.load(few)
        began = time.monotonic()
        for _ in explainer.many((sample[None] for sample in x), batch=8):
            pass
        speeds["many"].append(some / (time.monotonic() - began))
        for workers in (1, 2):
            name = f"{workers} worker{'s' * (workers > 1)}"
            speeds[name].append(speed_of(model, few, folder / "few", workers))
    for name, values in speeds.items():
        shown = ", ".join(f"{value:.0f}" for value in values)
        print(f"{name}: {np.median(values):.0f} inputs/s ({shown})")
    memory_of(command(model, inputs, folder / "all", "--workers", "2"), folder / "all")


def speed_of(model: Path, inputs: Path, out: Path, workers: int) -> float:
    """Inputs a second once the workers run, by the times of the parts."""
    shutil.rmtree(out, ignore_errors=True)
    run(command(model, inputs, out, "--workers", str(workers)))
    times = sorted(path.stat().st_mtime for path in parts_of(out))
    return SHARD * (len(times) - workers) / (times[-1] - times[workers - 1])


def memory_of(words: list[str], out: Path) -> None:
    """The resident memory of the workers at each quarter of a run."""
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    shown, total = 0, 0
    while process.poll() is None:
        time.sleep(0.5)
        if not total and (out / "manifest.json").exists():
            total = json.loads((out / "manifest.json").read_text())["shards"]
        done = len(parts_of(out)) if total else 0
        if total and done >= (shown + 1) * total // 10:
            shown += 1
            workers = [p.memory_info().rss / 2**20 for p in worker_processes(process)]
            print(f"{done} of {total} shards: {[round(mb) for mb in workers]} MB", flush=True)
    assert process.returncode == 0
    manifest = json.loads((out / "manifest.json").read_text())
    size = sum(path.stat().st_size for path in parts_of(out)) / 2**20
    took = time.monotonic() - began
    print(f"{manifest['written']} rows, {manifest['failed']} failed, {size:.0f} MB, {took:.0f} s")


def main() -> None:
    """The checks, or the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, prog="scale.py")
    parser.add_argument("--measure", action="store_true", help="measure speed and memory")
    parser.add_argument("--count", type=int, help="how many digits [checks 6000, else 100000]")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement [3]")
    parser.add_argument("--engines", action="store_true", help="check the engines alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lrp-onnx-scale-") as folder:
        if arguments.measure:
            measure(Path(folder), arguments.count or 100_000, arguments.repeats)
            return
        check_engines(Path(folder))
        if not arguments.engines:
            check_killed(Path(folder), arguments.count or 6000)


if __name__ == "__main__":
    main()
