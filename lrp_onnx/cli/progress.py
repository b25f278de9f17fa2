"""A compilation or a batch while it runs: a bar on a terminal, stages printed and timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Self

import onnx_ir as ir
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lrp_onnx.cli.options import Options
from lrp_onnx.compiler.stages import STAGES
from lrp_onnx.errors import plain
from lrp_onnx.lrp.assignment import Assignment

__all__ = ["BatchProgress", "StageProgress", "duration"]

SECONDS = 20
"""Between two lines of a batch off a terminal."""


class StageProgress(Progress):
    """A bar over the stages, to be used in a `with` block; the compiler calls it after each.

    quiet: results of stages go to stderr, since stdout holds JSON.
    """

    def __init__(self, options: Options, quiet: bool = False) -> None:
        console = Console(stderr=True)
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or bool(options.print_after),
        )
        self.options = options
        self.out = sys.stderr if quiet else sys.stdout
        self.nodes: list[ir.Node] = []
        """Those of the canonized model: later stages append theirs."""
        self.bar = self.add_task(STAGES[0], total=len(STAGES))

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __call__(self, stage: str, model: ir.Model, seconds: float, result: object) -> None:
        """What the compiler calls after each stage."""
        following = [*STAGES, "run"][STAGES.index(stage) + 1]
        self.update(self.bar, advance=1, description=following)
        if stage == "canonize":
            self.nodes = list(model.graph)
        if self.options.time_stages:
            print(f"{stage:<10} {seconds:8.3f} s", file=sys.stderr)
        if stage in self.options.print_after:
            print(plain(_stage_text(model, result)), file=self.out)

    def begin(self, description: str, total: int) -> None:
        """Start the bar anew for work that is no stage."""
        self.reset(self.bar, total=total, description=description)

    def tick(self) -> None:
        """One step of that work is done."""
        self.advance(self.bar)


def _stage_text(model: ir.Model, result: object) -> str:
    """The result of a stage: the rules of `assign`, the signs of `analyze`, else the graph; behind
    that of `rewrite` which nodes got no cheaper form than their rules say.
    """
    if isinstance(result, Assignment):
        report = result.report(model.graph)
        return "\n".join(f"{r.name} ({r.op_type}): {r.rule or 'none'}, {r.reason}" for r in report)
    if isinstance(result, Mapping):
        words = {1: "never negative", -1: "never positive"}
        return "\n".join(f"{value.name}: {words[sign]}" for value, sign in result.items())
    notes = result if isinstance(result, list) else []
    return "\n".join([_graph_text(model), *(f"plain  {note}" for note in notes)])


def _graph_text(model: ir.Model) -> str:
    """The graph, one line for each input, weight, node and output."""
    graph = model.graph
    return "\n".join(
        [
            f"opset {graph.opset_imports.get('', 0)}, IR {model.ir_version}, {len(graph)} nodes",
            *(f"input  {_typed(value)}" for value in graph.inputs),
            *(f"weight {_typed(value)}" for value in graph.initializers.values()),
            *(f"node   {_node(node)}" for node in graph),
            *(f"output {_typed(value)}" for value in graph.outputs),
        ]
    )


def _typed(value: ir.Value) -> str:
    shape = "?" if value.shape is None else ",".join(str(d) for d in value.shape)
    return f"{value.name} {value.dtype or '?'}[{shape}]"


def _node(node: ir.Node) -> str:
    outputs = ", ".join(_typed(value) for value in node.outputs)
    inputs = ", ".join("" if value is None else str(value.name) for value in node.inputs)
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    attributes = ", ".join(
        f"{name}={'…' if a.type in (ir.AttributeType.GRAPH, ir.AttributeType.TENSOR) else a.value}"
        for name, a in node.attributes.items()
    )
    return f"{node.name}: {outputs} = {operator}({inputs}){f' <{attributes}>' * bool(attributes)}"


class BatchProgress:
    """How far a run is: a bar on a terminal, else a line now and then."""

    def __init__(self, progress: StageProgress, total: int, earlier: int) -> None:
        self.progress, self.total, self.earlier = progress, total, earlier
        self.rows = self.failed = self.first = 0
        self.began = self.told = time.monotonic()
        progress.begin("explain", total)
        progress.advance(progress.bar, earlier)

    @property
    def speed(self) -> float:
        """Inputs a second since the first shard was done: workers take a while to start."""
        return (self.rows - self.first) / max(time.monotonic() - self.began, 1e-9)

    @property
    def told_speed(self) -> str:
        """The speed in words; nothing where nothing ran."""
        return f"{self.speed:,.0f} inputs/s once they ran, " * bool(self.speed)

    def add(self, rows: int, failed: int) -> None:
        """So many more are done."""
        if not self.rows:
            self.first, self.began = rows, time.monotonic()
        self.rows, self.failed = self.rows + rows, self.failed + failed
        done = self.earlier + self.rows
        text = f"{done:,} of {self.total:,}"
        if self.speed:
            text += f": {self.speed:,.0f}/s, {duration((self.total - done) / self.speed)} left"
        text += f", {self.failed:,} failed" * bool(self.failed)
        self.progress.advance(self.progress.bar, rows)
        self.progress.update(self.progress.bar, description=text)
        now = time.monotonic()
        if self.progress.disable and now - self.told > SECONDS:
            print(text, file=sys.stderr)
            self.told = now


def duration(seconds: float) -> str:
    """In seconds, minutes or hours, whichever is read best."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
