"""Cases in processes that may die: a server for each worker, which judges in forks of itself.

A fork has 4 GiB and 20 s of computing for a case, and judges the next ones too as long as it lives.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import onnx.shape_inference  # noqa: F401  # here, so that forks need not import them
import onnxruntime
from fuzzing.bases import bases
from fuzzing.judge import FAILED, judged
from fuzzing.mutate import mutated

__all__ = ["run", "serve"]

MEMORY = 4 * 2**30
SECONDS = 20
WALL = 120
"""Seconds after which a case hangs that does not compute."""
Models = list[tuple[str, bytes]]
"""By name."""
BATCH = 25
"""Cases that a server is given at once."""


def case(seed: int, number: int, files: Models) -> tuple[random.Random, str, bytes]:
    """The draws for a case, the name of its base and its model."""
    rng = random.Random(seed * 10**9 + number)
    return rng, *mutated(rng, files)


def serve(seed: int) -> None:
    """Judge the cases whose numbers come in, one batch a line, and print the verdicts."""
    onnxruntime.set_default_logger_severity(4)
    files = bases()
    print("ready", flush=True)
    for line in sys.stdin:
        numbers = [int(n) for n in line.split()]
        while numbers:
            numbers = numbers[_run_fork(seed, files, numbers) :]
        print("done", flush=True)


def _run_fork(seed: int, files: Models, numbers: list[int]) -> int:
    """Judge cases in one fork until it dies; returns how many have their verdict."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _in_fork(seed, files, numbers, os.fdopen(writing, "w", buffering=1))
        os._exit(0)
    os.close(writing)
    verdicts = _Verdicts(reading)
    for line in verdicts:
        print(line, flush=True)
        if verdicts.count == len(numbers):
            break
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if verdicts.count == len(numbers):
        return verdicts.count
    sign = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    hangs = verdicts.late or sign in (signal.SIGPROF, signal.SIGXCPU)
    died = [numbers[verdicts.count], "", "hang" if hangs else "crash", f"signal {sign}"]
    print(json.dumps(died), flush=True)
    return verdicts.count + 1


class _Verdicts:
    """The lines that come out of a pipe, until it closes or the next one is late."""

    def __init__(self, pipe: int) -> None:
        self.pipe, self.count, self.late = pipe, 0, False

    def __iter__(self) -> Iterator[str]:
        text = b""
        while True:
            ready, _, _ = select.select([self.pipe], [], [], WALL)
            self.late = not ready
            chunk = os.read(self.pipe, 1 << 16) if ready else b""
            if not chunk:
                return
            *lines, text = (text + chunk).split(b"\n")
            for line in lines:
                self.count += 1
                yield line.decode()


def _in_fork(seed: int, files: Models, numbers: list[int], out: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print
    os.dup2(1, 2)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        rng, base, data = case(seed, number, files)
        kind, more = judged(rng, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps([number, base, kind, more]) + "\n")
    from lrp_onnx.graph.limits import end_all

    end_all()


def run(script: Path, cases: int, seed: int, workers: int, first: int, keep: Path | None) -> int:
    """Judge all cases and print what came of them; 1 if one ended as none should.

    script: what a server is started with.  keep: a folder for the models that fail.
    """
    began, counts = time.monotonic(), Counter[str]()
    numbers, lock = iter(range(first, first + cases)), Lock()
    files = bases() if keep is not None else []

    def attend(server: subprocess.Popen[str]) -> None:
        """Give a server cases as long as there are any, and count what it says of them."""
        assert server.stdin is not None
        assert server.stdout is not None
        for line in map(str.strip, server.stdout):
            if line in ("ready", "done"):
                with lock:
                    batch = [n for _, n in zip(range(BATCH), numbers, strict=False)]
                if not batch:
                    break
                server.stdin.write(" ".join(map(str, batch)) + "\n")
                server.stdin.flush()
            elif line.startswith("["):
                with lock:
                    count(*json.loads(line))
        server.stdin.close()

    def count(number: int, base: str, kind: str, more: str) -> None:
        counts[kind] += 1
        if kind not in FAILED:
            return
        print(f"{kind}: case {number} ({base}): {more[:600]}", flush=True)
        if keep is not None:
            (keep / f"{kind}_{seed}_{number}.onnx").write_bytes(case(seed, number, files)[2])

    servers = [_server(script, seed) for _ in range(workers)]
    threads = [Thread(target=attend, args=[server]) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listing = ", ".join(f"{number} {kind}" for kind, number in counts.most_common())
    failures = sum(counts[kind] for kind in FAILED)
    print(
        f"{counts.total()} mutated models, seed {seed}: {listing}; "
        f"{failures} ended otherwise ({time.monotonic() - began:.0f} s)"
    )
    return int(failures > 0 or counts.total() < cases)


def _server(script: Path, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), "--serve", "--seed", str(seed)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
