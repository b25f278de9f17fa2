"""The explanation path as a picture: the model's nodes in layers, colored by rule."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx
import onnx_ir as ir

from lrp_onnx.errors import OutputError, plain
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.lrp.report import NodeReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_format", "draw_path", "path_graph"]

FORMATS = (".svg", ".png", ".pdf")
COLUMN, ROW = 2.3, 0.62  # inches between nodes beside and below each other
POINTS, HALF_HEIGHT = 7, 12  # of the text and of a box of two lines
PALETTE = ("#cfe2f3", "#fde9c9", "#d9ead3", "#ead1dc", "#d9d2e9", "#fff2cc", "#d0e0e3", "#f4cccc")


def path_graph(nodes: Sequence[ir.Node], report: Sequence[NodeReport]) -> nx.DiGraph:
    """The nodes with a rule, and the tensors between them as edges.

    nodes: those of the canonized model, before anything is emitted.
    """
    on_path = {line.name: line for line in report if line.rule}
    graph = nx.DiGraph()
    for node in nodes:
        if node.name not in on_path:
            continue
        graph.add_node(node.name, line=on_path[node.name])
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and producer.name in on_path:
                graph.add_edge(producer.name, node.name)
    return graph


def draw_path(path: str | os.PathLike[str], graph: nx.DiGraph, title: str) -> None:
    """Draw it into an .svg, .png or .pdf file, from the input at the top to the output.

    Raises OutputError where the file cannot be written.
    """
    check_format(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = _places(graph)
    columns = [x for x, _ in places.values()]
    rows = 1 + max(y for _, y in places.values())
    width = max(COLUMN * (max(columns) - min(columns) + 1.4), 0.09 * len(title))
    figure = Figure(figsize=(width, ROW * (rows + 1)), facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, y=1 - 0.2 / figure.get_figheight())
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    middle = (max(columns) + min(columns)) / 2
    axes.set_xlim(middle - width / COLUMN / 2, middle + width / COLUMN / 2)
    axes.set_ylim(rows - 0.4, -1.4)
    _draw_nodes(axes, graph, places)
    for start, end in graph.edges:
        _draw_edge(axes, places[start], places[end], _half_width(graph, end))
    kind = Path(path).suffix[1:].lower()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # the same model, the same file
    with atomic(path) as temporary, rc_context({"svg.hashsalt": "lrp-onnx"}):
        figure.savefig(temporary, format=kind, metadata=dates.get(kind))


def _draw_nodes(axes: Axes, graph: nx.DiGraph, places: Mapping[str, tuple[float, float]]) -> None:
    """Draw the boxes, in one color a rule."""
    rules = dict.fromkeys(graph.nodes[name]["line"].rule for name in graph)
    colors = {rule: PALETTE[k % len(PALETTE)] for k, rule in enumerate(rules)}
    for name, (x, y) in places.items():
        color = colors[graph.nodes[name]["line"].rule]
        axes.text(
            x, y, "\n".join(_label(graph, name)), ha="center", va="center", fontsize=POINTS,
            parse_math=False, zorder=2,
            bbox={"boxstyle": "round", "facecolor": color, "edgecolor": "#888888"},
        )  # fmt: skip


def _label(graph: nx.DiGraph, name: str) -> tuple[str, str]:
    line = graph.nodes[name]["line"]
    name = plain(name)
    shown = name if len(name) <= 28 else f"…{name[-27:]}"
    return shown, f"{line.op_type}: {line.rule}"


def _half_width(graph: nx.DiGraph, name: str) -> float:
    """Of the node's box, in points."""
    return 0.28 * POINTS * max(map(len, _label(graph, name))) + 4


def _draw_edge(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], half_width: float
) -> None:
    """An arrow, bent around the nodes where it jumps over rows of its own column."""
    across, down = 72 * COLUMN * abs(end[0] - start[0]), 72 * ROW * (end[1] - start[1])
    jumps = end[1] - start[1] > 1 and not across
    # an arc goes aside by half of what it is bent by
    bend = min(1.0, 1.2 * 72 * COLUMN / down) if jumps else 0.0
    length = math.hypot(across, down)
    border = min(HALF_HEIGHT * length / down, half_width * length / across if across else math.inf)
    arrow = {
        "arrowstyle": "->", "color": "#888888", "linewidth": 0.8, "shrinkA": 5,
        "shrinkB": border + 1, "connectionstyle": f"arc3,rad={bend:.4f}",
    }  # fmt: skip
    axes.annotate("", end, start, arrowprops=arrow, zorder=1)


def check_format(path: str | os.PathLike[str]) -> None:
    """Raise OutputError where no picture is written under such a name."""
    if Path(path).suffix.lower() not in FORMATS:
        raise OutputError(
            f"output '{path}': the path is drawn as .svg, .png or .pdf. Choose one of these."
        )


def _places(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Column and row of each node: rows by the longest way from the input, few crossings."""
    places: dict[str, tuple[float, float]] = {}
    for row, names in enumerate(nx.topological_generations(graph)):
        wanted = {name: _mean([places[p][0] for p in graph.predecessors(name)]) for name in names}
        ordered = sorted(names, key=lambda name: wanted[name])
        center = _mean(list(wanted.values())) if row else 0.0
        for k, name in enumerate(ordered):
            places[name] = (center + k - (len(ordered) - 1) / 2, float(row))
    return places


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
