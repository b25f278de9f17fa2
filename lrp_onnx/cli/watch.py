"""Watching a compilation: a progress bar on a terminal, stages printed and timed on request."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import onnx_ir as ir
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lrp_onnx.cli.options import Options
from lrp_onnx.compiler.stages import STAGES
from lrp_onnx.lrp.assignment import Assignment

__all__ = ["Watch", "graph_text", "stage_text"]


class Watch:
    """An observer of the stages, to be used in a `with` block.

    quiet: results of stages go to stderr, since stdout holds JSON.
    """

    def __init__(self, options: Options, quiet: bool = False) -> None:
        self.options = options
        self.out = sys.stderr if quiet else sys.stdout
        self.nodes: list[ir.Node] = []
        """Those of the canonized model: later stages append theirs."""
        console = Console(stderr=True)
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or bool(options.print_after),
        )
        self.task = self.bar.add_task(STAGES[0], total=len(STAGES))

    def __enter__(self) -> Watch:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, stage: str, model: ir.Model, seconds: float, result: object) -> None:
        """What the compiler calls after each stage."""
        following = STAGES[STAGES.index(stage) + 1 :]
        self.bar.update(self.task, advance=1, description=following[0] if following else "run")
        if stage == "canonize":
            self.nodes = list(model.graph)
        if self.options.time_stages:
            print(f"{stage:<10} {seconds:8.3f} s", file=sys.stderr)
        if stage in self.options.print_after:
            print(stage_text(model, result), file=self.out)

    def begin(self, description: str, total: int) -> None:
        """Start the bar anew for work that is no stage."""
        self.bar.reset(self.task, total=total, description=description)

    def tick(self) -> None:
        """One step of that work is done."""
        self.bar.advance(self.task)


def stage_text(model: ir.Model, result: object) -> str:
    """The result of a stage: the rules of `assign`, the signs of `analyze`, else the graph."""
    if isinstance(result, Assignment):
        report = result.report(model.graph)
        lines = [f"{r.name} ({r.op_type}): {r.rule or 'none'}, {r.reason}" for r in report]
        return "\n".join(lines)
    if isinstance(result, Mapping):
        words = {1: "never negative", -1: "never positive"}
        return "\n".join(f"{value.name}: {words[sign]}" for value, sign in result.items())
    return graph_text(model)


def graph_text(model: ir.Model) -> str:
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
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return f"{node.name}: {outputs} = {name}({inputs}){_attributes(node)}"


def _attributes(node: ir.Node) -> str:
    parts = []
    for name, attribute in node.attributes.items():
        plain = attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.TENSOR)
        parts.append(f"{name}={attribute.value if plain else '…'}")
    return f" <{', '.join(parts)}>" if parts else ""
