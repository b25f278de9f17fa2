"""How every command prints: tables, facts line by line, JSON, sizes and shapes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lrp_onnx.data.layout import describe_shape
from lrp_onnx.errors import cell, plain, plain_json
from lrp_onnx.graph.shapes import dimensions

__all__ = [
    "facts",
    "facts_json",
    "in_pipe",
    "show",
    "show_json",
    "signature",
    "size",
    "table_of",
    "width",
]

UNBOUNDED = 10_000


def show(*parts: Table | Text | str) -> None:
    """Print to stdout; in a pipe no line is wrapped or cut."""
    console = Console(width=width(), highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in parts:
            console.print(plain(part) if isinstance(part, str) else part)
    # rich fills lines with spaces, which nobody wants to copy or to parse
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def width() -> int:
    """The columns of the terminal; in a pipe as many as wanted."""
    return UNBOUNDED if in_pipe() else Console().width


def in_pipe() -> bool:
    """Whether a pipe or file is written, where a line is a row for other programs."""
    return not sys.stdout.isatty()


def show_json(value: Mapping[str, Any]) -> None:
    """Print as JSON; NaN and infinities, which JSON lacks, become null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda name: None)
    print(plain_json(json.dumps(finite, indent=2, ensure_ascii=False)))


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values in two columns."""
    columns = Column(no_wrap=True), Column(overflow="fold")
    table = Table(*columns, box=None, show_header=False, pad_edge=False)
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def facts_json(rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The same for JSON: a name that comes several times has a list of values."""
    values: dict[str, list[str]] = {}
    for name, value in rows:
        values.setdefault(name or "more", []).append(value)
    return {name: own[0] if len(own) == 1 else own for name, own in values.items()}


def table_of(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> Table:
    """A table whose last `numbers` columns are aligned as numbers."""
    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for k, column in enumerate(table.columns, numbers - len(headings)):
        column.overflow = "fold"
        if k >= 0:
            column.justify, column.no_wrap = "right", True
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def signature(value: ir.Value) -> str:
    """Name, type and shape of a tensor: `image float32 [N, 1, 28, 28]`."""
    known = None if value.dtype == ir.DataType.UNDEFINED else value.dtype
    dtype = "?" if known is None else str(known.numpy())
    if value.shape is None:
        return f"{value.name} {dtype}"
    shape = describe_shape(dimensions(value.shape))
    return f"{value.name} {dtype} {shape}"


def size(count: int) -> str:
    """Bytes as people read them."""
    power = min((len(str(count)) - 1) // 3, 3)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"
