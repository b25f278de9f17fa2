"""Rows and tables of benchmark.py, for the terminal and the README."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from benchmark_networks import SMOOTH
from numpy.typing import NDArray
from rich.table import Table as RichTable

from lrp_onnx.validate.timing import ratio

__all__ = ["BOUNDS", "Row", "Table", "forward_table", "others_table"]

BOUND_BATCH = 1
"""The batch that the bounds below are meant for, on the CPU; how much faster we must be holds for
each.
"""
BOUNDS = {
    "epsilon": 2.8,
    "epsilon-plus-flat": 3.8,
    "epsilon-alpha2-beta1": 5.0,
    "epsilon-gamma-box": 4.0,
}
"""Forward passes that an explanation may cost, geometric mean over the networks with ReLU."""
SMOOTH_BOUNDS = {"epsilon": 3.0, "epsilon-plus-flat": 5.0, "epsilon-gamma-box": 5.5}
"""The same for each network without ReLU."""
TRANSFORMER_BOUND = 3.5
SINGLE = 1.5
"""How far one network may be above the bound of the mean."""
LEAST = {"Zennit": (2.0, 4.0), "Captum's LRP": (2.0, 2.0)}
"""How many times faster we must be than a contestant: each time, and as geometric mean."""
FORWARD = (
    *("network", "composite", "batch", "forward ms", "explanation ms", "× forward (quartiles)"),
    "at most",
)
OTHERS = (
    *("contestant", "network", "composite", "batch", "ms", "ours, ms"),
    *("times ours (quartiles)", "at least"),
)


@dataclass(frozen=True)
class Row:
    """One network under one composite."""

    network: str
    composite: str
    batch: int
    seconds: NDArray[Any]
    """[rounds, contestants]: forward, explanation, then the others."""
    others: tuple[str, ...] = ()
    runtime: str = "cpu"

    def joined(self, other: Row) -> Row:
        """This row with the rounds of another visit."""
        return replace(self, seconds=np.vstack([self.seconds, other.seconds]))

    @property
    def times_forward(self) -> float:
        """How many predictions an explanation costs."""
        return ratio(self.seconds, 1, 0).median

    def times_ours(self, other: str) -> float:
        """How many times as long as ours another's explanation takes."""
        return ratio(self.seconds, 2 + self.others.index(other), 1).median

    def cells(self) -> list[str]:
        """The row of the table of forward passes."""
        single = {c: bound * SINGLE for c, bound in BOUNDS.items()} | {"attnlrp": TRANSFORMER_BOUND}
        if self.network in SMOOTH:
            single = SMOOTH_BOUNDS
        bound = _bound(single.get(self.composite), self.batch, self.runtime)
        name = (self.network, self.composite, str(self.batch))
        return [
            *name,
            _ms(self.seconds, 0),
            _ms(self.seconds, 1),
            _ratio(self.seconds, 1, 0),
            bound,
        ]

    def other_cells(self) -> list[list[str]]:
        """The rows of the table of other contestants."""
        return [
            [other, self.network, self.composite, str(self.batch), _ms(self.seconds, 2 + k),
             _ms(self.seconds, 1), _ratio(self.seconds, 2 + k, 1),
             f"{LEAST[other][0]:.1f}" if other in LEAST else ""]
            for k, other in enumerate(self.others)
        ]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Headings and rows of text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> RichTable:
        """For the terminal."""
        table = RichTable(*self.headings)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For the README."""
        lines = (self.headings, ["---"] * len(self.headings), *self.rows)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def forward_table(rows: Sequence[Row]) -> Table:
    """Explanations beside predictions, and a line for the mean of each composite."""
    known = [row for row in rows if "DIANNA's RISE" not in row.others]
    known = [row for row in known if "Captum's LRP" not in row.others]
    return Table(FORWARD, [*(row.cells() for row in known), *_means(known)])


def others_table(rows: Sequence[Row]) -> Table:
    """Other contestants beside ours, and a line for the mean of each that has several rows."""
    cells = [line for row in rows for line in row.other_cells()]
    for other, batch in dict.fromkeys((other, row.batch) for row in rows for other in row.others):
        alike = [row for row in rows if other in row.others and row.batch == batch]
        found = [row.times_ours(other) for row in alike]
        if len(found) > 1:
            bound = f"{LEAST[other][1]:.1f}" if other in LEAST else ""
            mean = f"{_geometric_mean(found):.2f}"
            cells.append([other, "geometric mean", "", str(batch), "", "", mean, bound])
    return Table(OTHERS, cells)


def _means(rows: Sequence[Row]) -> Iterator[list[str]]:
    rows = [row for row in rows if row.network not in SMOOTH]
    runtime = rows[0].runtime if rows else "cpu"
    for batch, composite in dict.fromkeys((row.batch, row.composite) for row in rows):
        found = [row for row in rows if (row.batch, row.composite) == (batch, composite)]
        if len(found) > 1:
            mean = _geometric_mean([row.times_forward for row in found])
            cells = ("geometric mean", composite, str(batch), "", "")
            yield [*cells, f"{mean:.2f}", _bound(BOUNDS[composite], batch, runtime)]


def _bound(bound: float | None, batch: int, runtime: str) -> str:
    meant = batch == BOUND_BATCH and runtime == "cpu"
    return "" if bound is None or not meant else f"{bound:.1f}"


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _ms(seconds: NDArray[Any], call: int) -> str:
    return f"{1000 * float(np.median(seconds[:, call])):.1f}"


def _ratio(seconds: NDArray[Any], of_call: int, to_call: int) -> str:
    found = ratio(seconds, of_call, to_call)
    low, high = found.quartiles
    return f"{found.median:.2f} ({low:.2f} to {high:.2f})"
