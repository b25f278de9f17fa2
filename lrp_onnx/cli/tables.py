"""What the command line shows: tables for people, dictionaries for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lrp_onnx.data.layout import describe_shape
from lrp_onnx.lrp.assignment import NodeReport
from lrp_onnx.validate.bench import Cost, Costs
from lrp_onnx.validate.verify import Line, Verdict

__all__ = [
    "LEGEND",
    "bench_table",
    "facts",
    "in_pipe",
    "nodes_table",
    "room",
    "show",
    "show_json",
    "signature",
    "size",
    "table_of",
    "tensors_table",
    "verdict_facts",
    "verdict_json",
    "verify_table",
]

UNBOUNDED = 10_000
NARROW = 100
"""Columns of a terminal below which `verify_table` puts two of its columns together."""


def show(*parts: Table | str) -> None:
    """Print to stdout; in a pipe no line is wrapped or cut."""
    console = Console(width=room(), highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(Text(part) if isinstance(part, str) else part)
    # rich fills lines with spaces, which nobody wants to copy or to parse
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def room() -> int:
    """The columns of the terminal; in a pipe as many as wanted."""
    return UNBOUNDED if in_pipe() else Console().width


def in_pipe() -> bool:
    """Whether a pipe or file is written, where a line is a row for other programs."""
    return not sys.stdout.isatty()


def show_json(value: Mapping[str, Any]) -> None:
    """Print as JSON; NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values in two columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def table_of(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> Table:
    """A table whose last `numbers` columns are aligned as numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, heading in enumerate(headings):
        number = k >= len(headings) - numbers
        table.add_column(
            heading, justify="right" if number else "left", overflow="fold", no_wrap=number
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def signature(value: ir.Value) -> str:
    """Name, type and shape of a tensor: `image float32 [N, 1, 28, 28]`."""
    dtype = "?" if value.dtype is None else str(value.dtype.numpy())
    if value.shape is None:
        return f"{value.name} {dtype}"
    shape = describe_shape([d if isinstance(d, int) else d.value for d in value.shape])
    return f"{value.name} {dtype} {shape}"


def nodes_table(report: Sequence[NodeReport]) -> Table:
    """Every node: kind, rule and why."""
    rows = ((r.name, r.op_type, r.kind or "-", r.rule or "-", r.reason) for r in report)
    return table_of(["node", "operator", "kind", "rule", "why"], rows)


def tensors_table(report: Sequence[NodeReport]) -> Table:
    """Every node and the tensors that it computes."""
    rows = ((r.name, r.op_type, ", ".join(r.outputs)) for r in report)
    return table_of(["node", "operator", "computes the tensors"], rows)


LEGEND = """R out comes from above, R in is passed on; the rest is taken by the bias,
the stabilizer or the rule (dropped), the last two in short: lost.
sum: whether these add up but for rounding (-: the rule conserves nothing)."""


def verify_table(verdict: Verdict, width: int) -> Table:
    """One line a node, from the output to the input, for a console of 80 columns or more."""
    losses = ("lost",) if width < NARROW else ("stabilizer", "dropped")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("node")
    table.add_column("rule", no_wrap=True)
    for heading in ("R out", "R in", "bias", *losses, "sum"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in verdict.lines:
        lost = [line.stabilizer, line.dropped]
        sums = [line.out, line.received, line.bias, *(lost if width >= NARROW else [sum(lost)])]
        texts = [line.rule, *(f"{v:.3g}" for v in sums), _account(line)]
        table.add_row(_Tail(line.name), *map(Text, texts))
    return table


@dataclass(frozen=True)
class _Tail:
    """A name that loses its beginning where room is short: nodes of a block differ at the end."""

    name: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        over = len(self.name) - options.max_width
        yield Text(self.name if over <= 0 else f"…{self.name[over + 1 :]}", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = min(len(self.name), options.max_width)
        return Measurement(min(8, width), width)


def _account(line: Line) -> str:
    if not line.conserves:
        return "-" if line.finite else "OFF"
    return "ok" if line.closes else "OFF"


def verdict_facts(verdict: Verdict, random: bool) -> list[tuple[str, str]]:
    """Forward, conservation and the sentence that sums them up.

    random: whether the input was made up.
    """
    rows = [
        (
            "forward",
            f"{name}: differs by {difference:.2g} of its largest value, allowed {allowed:.0e}",
        )
        for name, (difference, allowed) in verdict.differences.items()
    ]
    rows += _sums(verdict) if verdict.method == "lrp" else _of_gradients(verdict)
    rows += [
        ("simplified", f"{name}: differs from the rules as they stand by {d:.2g} of its largest")
        for name, d in (verdict.simplified or {}).items()
    ]
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in verdict.feeds.items())
    origin = "random numbers" if random else "the given files"
    rows.append(("input", f"{shapes}, {origin}; the sums run over all samples"))
    holds = "holds: the forward is unchanged"
    if any(line.conserves for line in verdict.lines):
        holds += ", every account adds up"
    if verdict.method != "lrp":
        holds += ", everything is finite"
    rows.append(("verdict", "does not hold" if verdict.problems else holds))
    return rows


def _of_gradients(verdict: Verdict) -> list[tuple[str, str]]:
    """What there is to say where no relevance is handed on; completeness where it is defined."""
    rows = [
        (verdict.method, f"{name}: sums to {total:.6g}")
        for name, total in verdict.relevance.items()
    ]
    if (found := verdict.completeness) is not None:
        fact = f"f(x) - f(baseline) is {found.explained:.6g}, off by {found.error:.2%}"
        rows.append(("completeness", f"{found.total:.6g}, {fact}"))
        alone = f"{found.of_steps:.6g}, off by {found.error_of_steps:.2%}"
        rows.append(("", f"the gradients at {found.steps} steps alone: {alone}"))
    return rows


def _sums(verdict: Verdict) -> list[tuple[str, str]]:
    """How much relevance arrived, and what took the rest."""
    rows = []
    for name, total in verdict.relevance.items():
        part = f" ({total / verdict.explained:.2%})" if verdict.explained else ""
        rows.append(
            ("relevance", f"{name}: {total:.6g} of {verdict.explained:.6g} explained{part}")
        )
    booked = (("bias", "bias"), ("stabilizer", "stabilizer"), ("dropped", "the rules' own loss"))
    for key, what in booked:
        total = sum(getattr(line, key) for line in verdict.lines if line.conserves)
        rows.append(("", f"{what} took {_number(total)}"))
    return rows


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The same for machines."""
    differences = {
        name: {"difference": difference, "allowed": allowed}
        for name, (difference, allowed) in verdict.differences.items()
    }
    lines = [
        {**asdict(line), "residual": line.residual, "closes": line.closes} for line in verdict.lines
    ]
    return {
        "method": verdict.method,
        "forward": differences,
        "simplified": verdict.simplified,
        "explained": verdict.explained,
        "relevance": verdict.relevance,
        "completeness": _completeness_json(verdict),
        "nodes": lines,
        "warnings": verdict.warnings,
        "problems": verdict.problems,
    }


def _completeness_json(verdict: Verdict) -> dict[str, Any] | None:
    found = verdict.completeness
    return (
        None
        if found is None
        else {
            **asdict(found),
            "error": found.error,
            "error_of_steps": found.error_of_steps,
        }
    )


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.4g}"


def bench_table(costs: Costs) -> Table:
    """Time and memory of forward and explanation."""
    rows = [
        _cost_row("forward", costs.forward, 1.0, costs.samples),
        _cost_row("forward and relevance", costs.explanation, costs.ratio, costs.samples),
    ]
    headings = ["", "median ms", "quartiles ms", "ratio", "samples per s", "peak memory"]
    return table_of(headings, rows, numbers=5)


def _cost_row(name: str, cost: Cost, ratio: float, samples: int) -> list[str]:
    low, high = (f"{1e3 * value:.2f}" for value in cost.quartiles)
    memory = "not known" if cost.peak_memory is None else size(cost.peak_memory)
    if cost.peak_memory is not None and cost.peak_memory < 1_000_000:
        memory = "under 1 MB"
    speed = f"{samples / cost.median:.4g}"
    return [name, f"{1e3 * cost.median:.2f}", f"{low} to {high}", f"{ratio:.2f}", speed, memory]


def size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
