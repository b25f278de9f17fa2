"""What an explanation costs beside a prediction, and beside other ways to explain.

    python model_zoo_scripts/benchmark.py [--only PART] [--models NAME,…] [--composites NAME,…]
                                          [--batch N] [--runs N] [--threads N] [--readme]

Parts: `forward` (beside ONNX Runtime's prediction of the original model), `zennit` (Zennit 1.0 in
torch, prepared once), `captum` (its LRP, VGG-16), `rise` (1,000 masks on the same ONNX model) and
`transformer` (BERT-base sized, beside its prediction and LXT); all by default. Whole calls are
timed, batch and threads alike for all; the contestants of a row run in turn, A B A B …, after
warming up. Shown are medians; in brackets the quartiles of the rounds' own ratios. Nothing is
compared across rows. On a machine with other work `--clock cpu --threads 1` counts the
processor's time, which repeats within a few percent.

The networks are made once, which needs torch, torchvision, transformers and onnxscript; parts but
`forward` and `rise` need torch and the named package and are left out, with a word, without them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import benchmark_networks as networks
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import lrp_onnx
from lrp_onnx.runtime import Runtime
from lrp_onnx.timing import interleaved, ratio

__all__ = ["main"]

BOUNDS = {
    "epsilon": 2.8,
    "epsilon-plus-flat": 3.8,
    "epsilon-alpha2-beta1": 5.0,
    "epsilon-gamma-box": 4.0,
}
"""Forward passes that an explanation may cost, geometric mean over the networks."""
TRANSFORMER_BOUND = 3.5
SINGLE = 1.5
"""How far one network may be above the bound of the mean."""
BOX = {"zbox.low": networks.LOW, "zbox.high": networks.HIGH}
PARTS = ("forward", "zennit", "captum", "rise", "transformer")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CPU = ["CPUExecutionProvider"]
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
HEADINGS = ("network", "composite", "batch", "forward ms", "explanation ms", "× forward", "at most")


@dataclass(frozen=True)
class Row:
    """One network under one composite: milliseconds of each contestant, and ratios."""

    network: str
    composite: str
    batch: int
    seconds: NDArray[Any]
    """[rounds, contestants]: forward, explanation, then the others."""
    bound: float | None = None
    others: tuple[str, ...] = ()

    @property
    def times_forward(self) -> float:
        """How many predictions an explanation costs."""
        return ratio(self.seconds, 1, 0).median

    def cells(self) -> list[str]:
        """The row of the table without contestants."""
        medians = [ratio_ms(self.seconds, k) for k in (0, 1)]
        limit = "" if self.bound is None else f"{self.bound * SINGLE:.1f}"
        name = (self.network, self.composite, str(self.batch))
        return [*name, *medians, shown(self.seconds, 1, 0), limit]


@dataclass
class Bench:
    """What was asked."""

    runs: int
    batch: int
    threads: int
    longest: float
    clock: Callable[[], float]
    tick: Callable[[], None] = field(default=lambda: None)

    def row(self, name: str, composite: str) -> Row:
        """A network's explanation beside its prediction."""
        feeds, file = networks.feeds(name, self.batch), networks.onnx_file(name)
        parameters = BOX if composite == "epsilon-gamma-box" else {}
        compiled = lrp_onnx.compile(file, composite, parameters=parameters, check=False)
        forward = Runtime(str(file), CPU, threads=self.threads)
        explainer = Runtime(compiled.model.SerializeToString(), CPU, threads=self.threads)
        calls = (lambda: forward.run(feeds), lambda: explainer.run(feeds))
        seconds = interleaved(calls, self.runs, self.tick, self.longest, clock=self.clock)
        return Row(name, composite, self.batch, seconds, BOUNDS.get(composite, TRANSFORMER_BOUND))


def ratio_ms(seconds: NDArray[Any], call: int) -> str:
    """The median of a call in milliseconds."""
    return f"{1000 * float(sorted(seconds[:, call])[len(seconds) // 2]):.1f}"


def shown(seconds: NDArray[Any], of_call: int, to_call: int) -> str:
    """A ratio with its quartiles."""
    found = ratio(seconds, of_call, to_call)
    low, high = found.quartiles
    return f"{found.median:.2f} ({low:.2f} to {high:.2f})"


def geometric_mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def means(rows: list[Row]) -> Iterator[list[str]]:
    """A line for each composite: the geometric mean over the networks, beside its bound."""
    for composite in dict.fromkeys(row.composite for row in rows):
        found = [row.times_forward for row in rows if row.composite == composite]
        if len(found) > 1:
            cells = ("geometric mean", composite, str(rows[0].batch), "", "")
            yield [*cells, f"{geometric_mean(found):.2f}", f"{BOUNDS[composite]:.1f}"]


def measured(bench: Bench, names: list[str], composites: list[str], console: Console) -> list[Row]:
    """Every network under every composite; a progress bar on a terminal."""
    rows = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name in names:
            for composite in composites:
                task = progress.add_task(f"{name} {composite}", total=bench.runs)
                bench.tick = lambda task=task: progress.advance(task)  # type: ignore[misc]
                rows.append(bench.row(name, composite))
                progress.remove_task(task)
                if not console.is_terminal:
                    console.print(*rows[-1].cells(), sep="  ")
    return rows


def main() -> int:
    """Measure what was asked, print the tables and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--models", default=",".join(networks.PICTURES))
    parser.add_argument("--composites", default=",".join(BOUNDS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of one row's rounds")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: the processor's time, with --threads 1, where the machine has other work",
    )
    options = parser.parse_args()
    console = Console()
    console.width = max(console.width, 150)
    clock = CLOCKS[options.clock]
    bench = Bench(options.runs, options.batch, options.threads, options.longest, clock)
    rows = measured(bench, options.models.split(","), options.composites.split(","), console)
    table = Table(*HEADINGS)
    for cells in (*(row.cells() for row in rows), *means(rows)):
        table.add_row(*cells)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
