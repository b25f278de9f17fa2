"""What `verify` found, as a table, facts line by line and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lrp_onnx.compiler.fitting import by_rules
from lrp_onnx.errors import cell
from lrp_onnx.validate.verdict import Verdict

__all__ = ["LEGEND", "verdict_facts", "verdict_json", "verdict_table"]

NARROW = 100
"""Columns of a terminal below which `verdict_table` puts two of its columns together."""
LEGEND = """R out comes from above, R in is passed on; the rest is taken by the bias,
the stabilizer or the rule (dropped), the last two in short: lost.
sum: whether these add up but for rounding (-: the rule conserves nothing)."""


def verdict_table(verdict: Verdict, width: int) -> Table:
    """One line a node, from the output to the input, for a console of 80 columns or more."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("node")
    table.add_column("rule", no_wrap=True)
    losses = ("lost",) if width < NARROW else ("stabilizer", "dropped")
    for heading in ("R out", "R in", "bias", *losses, "sum"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in verdict.lines:
        lost = [line.stabilizer, line.dropped]
        sums = [line.out, line.received, line.bias, *(lost if width >= NARROW else [sum(lost)])]
        adds_up = ("ok" if line.conserves else "-") if line.closes else "OFF"
        table.add_row(_Tail(cell(line.name)), line.rule, *(f"{v:.3g}" for v in sums), adds_up)
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


def verdict_facts(verdict: Verdict, random: bool) -> list[tuple[str, str]]:
    """Forward, conservation and the sentence that sums them up.

    random: whether the input was made up.
    """
    rows = [
        ("forward", f"{name}: differs by {d:.2g} of its largest value, allowed {allowed:.0e}")
        for name, (d, allowed) in verdict.differences.items()
    ]
    rows += _conservation(verdict) if by_rules(verdict.method) else _completeness(verdict)
    rows += [
        ("simplified", f"{name}: differs from the rules as they stand by {d:.2g} of its largest")
        for name, d in (verdict.simplified or {}).items()
    ]
    rows += [
        ("float16", f"{name}: differs from float32 by {d:.2g} of its largest")
        for name, d in (verdict.half or {}).items()
    ]
    rows.append(("rounding", str(verdict.sensitivity)))
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in verdict.feeds.items())
    origin = "random numbers" if random else "the given files"
    rows.append(("input", f"{shapes}, {origin}; the sums run over all samples"))
    holds = "holds: the forward is unchanged"
    if any(line.conserves for line in verdict.lines):
        holds += ", every account adds up"
    if not by_rules(verdict.method):
        holds += ", everything is finite"
    but = ["the result is ill-conditioned"] if verdict.ill_conditioned else []
    if verdict.unrecognized:
        names = ", ".join(verdict.unrecognized)
        but.append(f"what looks like a softmax or a norm was not recognized as one: {names}")
    holds += f", but {', and '.join(but)}" if but else ""
    return [*rows, ("verdict", "does not hold" if verdict.problems else holds)]


def _conservation(verdict: Verdict) -> list[tuple[str, str]]:
    """How much relevance arrived, and what took the rest."""
    rows = []
    for part in verdict.parts:
        for name, total in part.relevance.items():
            share = f" ({total / part.explained:z.2%})" if part.explained else ""
            fact = f"{name}: {total:.6g} of {part.explained:.6g} explained{share}"
            rows.append(("relevance", fact))
    losses = {"bias": "bias", "stabilizer": "stabilizer", "dropped": "the rules' own loss"}
    for key, what in losses.items():
        total = sum(getattr(line, key) for line in verdict.lines if line.conserves)
        rows.append(("", f"{what} took {total or 0:.4g}"))
    return rows


def _completeness(verdict: Verdict) -> list[tuple[str, str]]:
    """What there is to say where no relevance is handed on; completeness where it is defined."""
    sums = verdict.relevance.items()
    rows = [(verdict.method, f"{name}: sums to {total:.6g}") for name, total in sums]
    for part in verdict.parts:
        if (completeness := part.completeness) is None:
            continue
        whole, steps = completeness.explained, completeness.steps
        front = f"{part.output}: " if len(verdict.parts) > 1 else ""
        fact = f"f(x) - f(baseline) is {whole:.6g}, off by {completeness.error:.2%}"
        alone = f"{completeness.of_steps:.6g}, off by {completeness.error_of_steps:.2%}"
        rows.append(("completeness", f"{front}{completeness.total:.6g}, {fact}"))
        rows.append(("", f"the gradients at {steps} steps alone: {alone}"))
    return rows


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The same for machines."""
    completeness = verdict.completeness
    return {
        "method": verdict.method,
        "forward": {
            name: {"difference": difference, "allowed": allowed}
            for name, (difference, allowed) in verdict.differences.items()
        },
        "simplified": verdict.simplified,
        "float16": verdict.half,
        "explained": verdict.explained,
        "relevance": verdict.relevance,
        "outputs": {
            part.output: {"explained": part.explained, "relevance": part.relevance}
            for part in verdict.parts
        },
        "completeness": completeness
        and {
            **asdict(completeness),
            "error": completeness.error,
            "error_of_steps": completeness.error_of_steps,
        },
        "nodes": [
            {**asdict(line), "residual": line.residual, "closes": line.closes}
            for line in verdict.lines
        ],
        "warnings": verdict.warnings,
        "problems": verdict.problems,
        "sensitivity": asdict(verdict.sensitivity),
        "ill_conditioned": verdict.ill_conditioned,
        "unrecognized": verdict.unrecognized,
    }
