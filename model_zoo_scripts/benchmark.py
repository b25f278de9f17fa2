"""What an explanation costs beside a prediction, and beside other ways to explain.

    python model_zoo_scripts/benchmark.py [--only PART,…] [--models NAME,…] [--composites NAME,…]
                                          [--batch N,…] [--runs N] [--visits N] [--threads N]
                                          [--runtime cpu|cuda] [--against CHECKOUT] [--readme]

Parts: `forward` (beside ONNX Runtime's prediction of the original model), `zennit` (Zennit 1.0 in
torch, BatchNorm folded, registered once), `autograd` (torch's own forward and backward pass, which
is a gradient and no relevance), `captum` (its LRP, VGG-16), `rise` (DIANNA, 1,000 masks on the same
ONNX model) and `transformer` (BERT-base sized, beside its prediction and LXT); all by default. With
`--runtime cuda` the parts `forward`, `zennit`, `autograd` and `transformer` run on the GPU, in
float32 without TF32; inputs lie there before and results stay there, as in a service. Whole calls
are timed, input and threads alike for all; the contestants of a row run in turn, A B A B …, after
warming up; the whole table is gone through several times (`--visits`), so that a slow spell of the
machine meets only a part of a row's rounds. Shown are medians: of the times, and of the ratio that
each round has by itself, its quartiles in brackets. Nothing is compared across rows. On a machine
with other work `--clock cpu --threads 1` counts the processor's time, which repeats within a few
percent. `--against` lets another checkout of lrp-onnx compile each network too and run in the same
rounds: its times are shown as multiples of ours.

The networks are made once, which needs torch, torchvision, transformers and onnxscript; parts that
need a package that is not installed are left out, with a word.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import benchmark_contestants as contestants
import benchmark_cuda as cuda
import benchmark_networks as networks
import numpy as np
from benchmark_rows import Row, forward_table, others_table
from numpy.typing import NDArray
from obtain import Unavailable
from rich.console import Console

import lrp_onnx
from lrp_onnx.graph.session import Runtime, import_runtime
from lrp_onnx.validate.timing import PAUSE, interleaved

__all__ = ["main"]

COMPOSITES = ("epsilon", "epsilon-plus-flat", "epsilon-alpha2-beta1", "epsilon-gamma-box")
BOX = {"zbox.low": networks.LOW, "zbox.high": networks.HIGH}
PARTS = ("forward", "zennit", "autograd", "captum", "rise", "transformer")
ON_CUDA = ("forward", "zennit", "autograd", "transformer")
AUTOGRAD = "PyTorch's backward"
"""The contestant that computes something else than relevance."""
ALIKE = 0.99
"""Least cosine of a contestant's relevance and ours, where both apply the same rules."""
CPU = ["CPUExecutionProvider"]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
README = Path(__file__).with_name("README.md")
MARK = "benchmark"
"""Of the comments around the README's tables; behind it stands the batch, unless it is 1."""

Call = Callable[[], Any]
Prepare = Callable[[str, str, int], contextlib.AbstractContextManager[contestants.Explain]]


@dataclass(frozen=True)
class Bench:
    """How everything is measured."""

    runs: int
    batches: Sequence[int]
    threads: int
    longest: float
    clock: Callable[[], float]
    runtime: str
    """cpu or cuda."""
    on_cpu: dict[str, str] = field(default_factory=dict)
    """With runtime cuda, of each explanation: the nodes that ran on the CPU all the same."""

    def sessions(self, name: str, composite: str) -> tuple[Runtime, Runtime]:
        """ONNX Runtime with the original model and with the compiled one."""
        models = (str(networks.onnx_file(name)), compiled(name, composite, self.runtime))
        providers = None if self.runtime == "cuda" else CPU
        forward, explaining = (Runtime(model, providers, threads=self.threads) for model in models)
        if not explaining.provider.lower().startswith(self.runtime):
            raise SystemExit(f"--runtime {self.runtime}: ONNX Runtime took {explaining.provider}.")
        return forward, explaining

    def call(self, session: Runtime, feeds: dict[str, NDArray[Any]], output: str) -> Call:
        """Run the session once; on a GPU the input lies there already and the result stays."""
        if self.runtime == "cpu":
            return lambda: session.run(feeds)[output]
        on_device = import_runtime().OrtValue.ortvalue_from_numpy
        there = {name: on_device(array, "cuda", 0) for name, array in feeds.items()}
        return lambda: session.run_on_device(there)[output]

    def row(self, name: str, composite: str, others: dict[str, Prepare], batch: int = 1) -> Row:
        """A network's explanation beside its prediction and the other contestants."""
        feeds = networks.feeds(name, batch)
        forward, explaining = self.sessions(name, composite)
        about = f"{name}, {composite}"
        if self.runtime == "cuda" and about not in self.on_cpu:
            counts = cuda.on_cpu(compiled(name, composite, self.runtime), feeds)
            listing = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
            self.on_cpu[about] = listing or "none"
        relevance = f"{next(iter(feeds))}_relevance"
        calls = [
            self.call(forward, feeds, "logits"),
            self.call(explaining, feeds, relevance),
        ]
        with contextlib.ExitStack() as stack:
            for title, prepare in others.items():
                calls.append(stack.enter_context(prepare(name, composite, batch)))
                if title != AUTOGRAD:
                    check_alike(title, name, composite, calls[1](), calls[-1]())
            pause = PAUSE if self.runtime == "cpu" else 0.0
            seconds = interleaved(
                calls, self.runs, longest=self.longest, clock=self.clock, pause=pause
            )
        return Row(name, composite, batch, seconds, tuple(others), self.runtime)

    def rise(self, name: str) -> Row:
        """A network's explanation beside one by RISE, which is run once."""
        feeds = networks.feeds(name, 1)
        forward, explaining = self.sessions(name, "epsilon-plus-flat")
        calls = (
            lambda: forward.run(feeds),
            lambda: explaining.run(feeds),
            contestants.rise(forward, feeds),
        )
        contestants.rise(forward, feeds, masks=1)()  # what it imports when it is first called
        seconds = interleaved(calls[:2], self.runs, longest=self.longest, clock=self.clock)
        once = interleaved(calls[2:], 1, warm_up=0, clock=self.clock)
        both = np.hstack([seconds, np.broadcast_to(once, (len(seconds), 1))])
        return Row(name, "epsilon-plus-flat", 1, both, ("DIANNA's RISE",))


@functools.lru_cache(maxsize=1)
def compiled(name: str, composite: str, runtime: str) -> bytes:
    """The explanation graph, made for the device."""
    made = lrp_onnx.compile(
        networks.onnx_file(name),
        composite,
        parameters=BOX if composite == "epsilon-gamma-box" else {},
        check=False,
        runtime="cuda" if runtime == "cuda" else "portable",
    )
    return bytes(made.model.SerializeToString())


def check_alike(title: str, name: str, composite: str, ours: Any, theirs: Any) -> None:
    """Raise ValueError where a contestant computes something else: times would say nothing."""
    a, b = (np.asarray(contestants.on_host(r), np.float64).ravel() for r in (ours, theirs))
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    if not cosine >= ALIKE:
        raise ValueError(f"{title}, {name}, {composite}: cosine to our relevance {cosine:.4f}")


def measured(bench: Bench, options: argparse.Namespace) -> Iterator[Row]:
    """Row by row, a row once for each visit; once alone RISE, which takes minutes, and LXT, whose
    patches cannot be taken back. Raises nothing for a part whose package is missing: it is named on
    stderr.
    """
    for _ in range(options.visits):
        yield from visited(bench, options)
    if "transformer" in options.only:
        name = networks.TRANSFORMER
        for batch in bench.batches if bench.runtime == "cuda" else [1]:
            others = (
                {AUTOGRAD: on(bench, contestants.autograd)}
                if bench.runtime == "cuda"
                else {"LXT": contestants.lxt}
            )
            yield from available(bench.row, name, "attnlrp", others, batch)
    if "rise" in options.only:
        for name in set(options.models) & set(networks.PICTURES):
            yield from available(bench.rise, name)


def visited(bench: Bench, options: argparse.Namespace) -> Iterator[Row]:
    """Every row once that can be prepared again."""
    wanted = set(options.only)
    ours: dict[str, Prepare] = {}
    if options.against is not None:
        prepare = functools.partial(contestants.other_checkout, options.against, bench.threads)
        ours["lrp-onnx before"] = prepare
    if wanted & {"forward", "zennit", "autograd"}:
        every = itertools.product(options.models, options.composites, bench.batches)
        for name, composite, batch in every:
            zennit = "zennit" in wanted and name not in networks.SMOOTH
            others = dict(ours)
            if "autograd" in wanted:  # before Zennit puts its hooks on the network
                others[AUTOGRAD] = on(bench, contestants.autograd)
            if zennit:
                others["Zennit"] = on(bench, contestants.zennit)
            yield from available(bench.row, name, composite, others, batch)
    if "captum" in wanted:
        yield from available(bench.row, "vgg16", "epsilon", {"Captum's LRP": contestants.captum})


def on(bench: Bench, prepare: Callable[..., Any]) -> Prepare:
    """A contestant on the device of the benchmark."""
    return functools.partial(prepare, device=bench.runtime)


def available(measure: Callable[..., Row], *about: Any) -> Iterator[Row]:
    """The row, or a word on what is not installed."""
    try:
        yield measure(*about)
    except Unavailable as error:
        print(f"{' '.join(map(str, about[:2]))}: left out: {error}", file=sys.stderr)


def machine(bench: Bench) -> str:
    """The date, the machine and the versions."""
    found = []
    for package in ("onnxruntime-gpu", "onnxruntime", "torch", "zennit", "captum", "lxt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    clock = "" if bench.clock is CLOCKS["wall"] else "processor time, "
    threads = f"{bench.threads} thread{'s' * (bench.threads > 1)}"
    gpu = f"{cuda.device_name()}, no TF32, " if bench.runtime == "cuda" else ""
    return (
        f"{date.today()}, {gpu}{processor}, {os.cpu_count()} cores, {threads}, {clock}float32, "
        f"Python {platform.python_version()}, {', '.join(found)}"
    )


def write_readme(text: str, batches: Sequence[int], runtime: str) -> None:
    """Put the tables between the README's marks for these batches; ValueError where it has none."""
    behind = "" if batches == [1] else f" {','.join(map(str, batches))}"
    behind = f" {runtime}{behind}" if runtime != "cpu" else behind
    begin, end = f"<!-- {MARK}{behind} -->", f"<!-- /{MARK}{behind} -->"
    before, *rest = README.read_text(encoding="utf-8").split(begin)
    if not rest:
        raise ValueError(f"{README} has no place for these tables: {begin} … {end}")
    after = rest[0].split(end)[1]
    README.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Measure what was asked, print the tables and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])

    def names(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(number) for number in names(text)]

    parser.add_argument("--only", type=names, default=PARTS, help=f"of {', '.join(PARTS)}")
    every = (*networks.PICTURES, *networks.SMOOTH)
    parser.add_argument("--models", type=names, default=every)
    parser.add_argument("--composites", type=names, default=COMPOSITES)
    parser.add_argument("--batch", type=numbers, default=[1], help="of the parts forward, zennit")
    parser.add_argument("--runs", type=int, default=24, help="rounds of a row, in all visits")
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of a row's rounds")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: see above")
    parser.add_argument("--runtime", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--against", type=Path, help="another checkout of lrp-onnx")
    parser.add_argument("--readme", action="store_true", help="write the tables into the README")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if options.runtime == "cuda":
        options.only = [part for part in options.only if part in ON_CUDA]
    clock = CLOCKS[options.clock]
    runs, longest = -(-options.runs // options.visits), options.longest / options.visits
    bench = Bench(runs, options.batch, options.threads, longest, clock, options.runtime)
    with contextlib.suppress(Unavailable):
        contestants.use_threads(options.threads)
    console, found = Console(), dict[tuple[str, ...], Row]()
    console.width = max(console.width, 150)
    with console.status("measuring") as status:
        for row in measured(bench, options):
            key = (row.network, row.composite, str(row.batch), *row.others)
            found[key] = row = found[key].joined(row) if key in found else row
            status.update(f"measured {row.network}, {row.composite}")
            if not console.is_terminal:
                print(*row.cells(), *row.other_cells(), sep="  ", flush=True)
    rows = list(found.values())
    tables = [table for table in (forward_table(rows), others_table(rows)) if table.rows]
    for table in tables:
        console.print(table.rich())
    parts = [f"{machine(bench)}.", *(table.markdown() for table in tables)]
    if options.runtime == "cuda":
        lines = [f"{title}: {nodes}" for title, nodes in bench.on_cpu.items()]
        console.print("Nodes on the CPU", *lines, sep="\n")
        parts.append("\n".join(["Nodes that ran on the CPU:", "", *(f"- {x}" for x in lines)]))
    if options.readme:
        write_readme("\n\n".join(parts), options.batch, options.runtime)
    return 0


if __name__ == "__main__":
    sys.exit(main())
