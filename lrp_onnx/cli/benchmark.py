"""What `bench` measured, as a table and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from lrp_onnx.cli.tables import facts, size, table_of
from lrp_onnx.validate.bench import Cost, Costs

__all__ = ["costs_json", "costs_tables"]

HEADINGS = ("", "median ms", "quartiles ms", "ratio", "samples per s", "load ms", "peak memory")


def costs_tables(costs: Costs, explained: str) -> tuple[Table, Table]:
    """Time and memory of forward and explanation, and what was run.

    explained: what of the model, by what.
    """
    rows = [
        _row("forward", costs.forward, 1.0, costs.samples),
        _row("forward and relevance", costs.explanation, costs.ratio, costs.samples),
    ]
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in costs.shapes.items())
    about = [
        ("explains", explained),
        ("input", shapes),
        ("ran on", f"{costs.provider}, {costs.runs} runs each, in turn"),
    ]
    return table_of(HEADINGS, rows, numbers=6), facts(about)


def _row(name: str, cost: Cost, ratio: float, samples: int) -> list[str]:
    low, high = (f"{1e3 * value:.2f}" for value in cost.quartiles)
    if cost.peak_memory is None:
        memory = "not known"
    else:
        memory = "under 1 MB" if cost.peak_memory < 1_000_000 else size(cost.peak_memory)
    speed = f"{samples / cost.median:.4g}"
    median, load = f"{1e3 * cost.median:.2f}", f"{1e3 * cost.load:.0f}"
    return [name, median, f"{low} to {high}", f"{ratio:.2f}", speed, load, memory]


def costs_json(costs: Costs) -> dict[str, Any]:
    """The same for machines."""
    return {
        **asdict(costs),
        "ratio": costs.ratio,
        "forward_samples_per_second": costs.samples / costs.forward.median,
        "explanation_samples_per_second": costs.samples / costs.explanation.median,
    }
