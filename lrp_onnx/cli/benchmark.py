"""What `bench` measured, as a table and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from lrp_onnx.cli.tables import facts, size, table_of
from lrp_onnx.errors import InputError
from lrp_onnx.validate.bench import Cost, Costs

__all__ = ["batches_of", "costs_json", "costs_tables"]

HEADINGS = (
    *("", "samples", "median ms", "quartiles ms", "ratio", "samples per s", "load ms"),
    "peak memory",
)


def batches_of(text: str) -> list[int]:
    """The batch sizes of `--batch`, such as 1,8,64. Raises InputError."""
    sizes = [int(size) if size.strip().isdigit() else 0 for size in text.split(",")]
    if min(sizes) < 1:
        raise InputError(f"--batch {text}: not a number of samples. Give one, or several: 1,8,64.")
    return sizes


def costs_tables(costs: Sequence[Costs], explained: str) -> tuple[Table, Table]:
    """Time and memory of forward and explanation for each batch, and what was run.

    explained: what of the model, by what.
    """
    rows = [
        row
        for cost in costs
        for row in (
            _row("forward", cost.forward, 1.0, cost.samples),
            _row("forward and relevance", cost.explanation, cost.ratio, cost.samples),
        )
    ]
    shapes = "; ".join(
        ", ".join(f"{name} {list(shape)}" for name, shape in cost.shapes.items()) for cost in costs
    )
    about = [
        ("explains", explained),
        ("input", shapes),
        ("ran on", f"{costs[0].provider}, {costs[0].runs} runs each, in turn"),
    ]
    return table_of(HEADINGS, rows, numbers=7), facts(about)


def _row(name: str, cost: Cost, ratio: float, samples: int) -> list[str]:
    low, high = (f"{1e3 * value:.2f}" for value in cost.quartiles)
    if cost.peak_memory is None:
        memory = "not known"
    else:
        memory = "under 1 MB" if cost.peak_memory < 1_000_000 else size(cost.peak_memory)
    speed = f"{samples / cost.median:.4g}"
    median, load = f"{1e3 * cost.median:.2f}", f"{1e3 * cost.load:.0f}"
    return [name, str(samples), median, f"{low} to {high}", f"{ratio:.2f}", speed, load, memory]


def costs_json(costs: Sequence[Costs]) -> dict[str, Any]:
    """The same for machines; of several batches a list."""
    each = [_json(cost) for cost in costs]
    return each[0] if len(each) == 1 else {"batches": each}


def _json(costs: Costs) -> dict[str, Any]:
    return {
        **asdict(costs),
        "ratio": costs.ratio,
        "forward_samples_per_second": costs.samples / costs.forward.median,
        "explanation_samples_per_second": costs.samples / costs.explanation.median,
    }
