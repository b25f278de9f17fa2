"""Moves in a row that only exchange axes are one Transpose.

An exporter may flatten a batch and its heads, exchange the last two axes and part the batch again:
[N, h, T, d] -> [N·h, T, d] -> [N·h, d, T] -> [N, h, d, T].  What such a row does is read off by
moving numbers, at sizes that stand for those which only the run knows.  Where the relevance of a
tensor between them is asked for, the row up to it stays, is undone behind it, and the Transpose
follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.graph.annotations import ASKED, asked_for
from lrp_onnx.graph.constants import sole_reader
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build

__all__ = ["single_transposes"]

LAST = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")
"""One of these is the last of them."""
REORDERS = ("Transpose", *LAST)
LONGEST, MOST_AXES, MOST = 6, 5, 1 << 20
"""As many moves, axes and elements are looked at."""
PRIMES = ((7, 11, 13, 17, 19, 23), (29, 5, 3, 31, 2, 37))
"""What unknown sizes are taken to be, in turn."""


def single_transposes(model: ir.Model) -> bool:
    """Put one Transpose in the place of such moves, the last of which is a Reshape or the like."""
    graph, changed = model.graph, False
    for last in list(graph):
        if last.graph is not graph or last.domain or last.op_type not in LAST:
            continue
        nodes = _in_a_row(last)
        for count in range(len(nodes), 1, -1):
            perm = _permutation(nodes[-count:])
            if perm is not None:
                asked = _up_to_asked(model, nodes[-count:-1])
                build = Build(graph, last)
                x, y = _undone(build, asked) or nodes[-count].inputs[0], last.outputs[0]
                build.replace(build.op("Transpose", x, perm=perm, like=y))
                graph.remove(nodes[-count:-1][len(asked) :][::-1], safe=True)
                changed = True
                break
    return changed


def _up_to_asked(model: ir.Model, nodes: list[ir.Node]) -> list[ir.Node]:
    """The moves up to the last tensor whose relevance is asked for."""
    names = asked_for(model)
    asked = [k for k, node in enumerate(nodes) if node.outputs[0].name in names]
    return nodes[: asked[-1] + 1] if asked else []


def _undone(build: Build, nodes: list[ir.Node]) -> ir.Value | None:
    """What the first of the moves reads, from what the last of them gives."""
    value = nodes[-1].outputs[0] if nodes else None
    if value is not None:
        value.meta[ASKED] = True
    for node in reversed(nodes):
        x = node.inputs[0]
        if node.op_type == "Transpose":
            rank = len((x.shape if x is not None else None) or ())
            perm = node.attributes.get_ints("perm", range(rank)[::-1])
            value = build.op("Transpose", value, perm=np.argsort(perm).tolist(), like=x)
        else:
            value = build.op("Reshape", value, build.op("Shape", x), like=x)
    return value


def _in_a_row(last: ir.Node) -> list[ir.Node]:
    """The moves that lead to it alone, in order, and it."""
    nodes = [last]
    while len(nodes) < LONGEST and (x := nodes[0].inputs[0]) is not None:
        node = made_by(x, *REORDERS)
        if node is None or sole_reader(x) is None or ASKED in x.meta:
            break
        nodes.insert(0, node)
    return nodes


def _permutation(nodes: list[ir.Node]) -> tuple[int, ...] | None:
    """That of the axes which the moves are; None where they are more, or none at all."""
    values = [nodes[0].inputs[0], *(node.outputs[0] for node in nodes)]
    shapes = [None if v is None or v.shape is None else [*v.shape] for v in values]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or not 1 < len(known[0]) == len(known[-1]) <= MOST_AXES:
        return None
    if all(node.op_type != "Transpose" for node in nodes):
        return None
    names = dict.fromkeys(d.value for d in known[0] if not isinstance(d, int))
    if None in names or len(names) > len(PRIMES[0]):
        return None
    perms = {_read_off(nodes, known, dict(zip(names, primes, strict=False))) for primes in PRIMES}
    return perms.pop() if len(perms) == 1 else None


def _read_off(
    nodes: list[ir.Node],
    shapes: list[list[int | ir.SymbolicDim]],
    sizes: Mapping[str | None, int],
) -> tuple[int, ...] | None:
    """The permutation at these sizes."""
    numbers = [[d if isinstance(d, int) else sizes.get(d.value, -1) for d in shape]
               for shape in shapes]  # fmt: skip
    if not 0 < prod(numbers[0]) <= MOST or any(shape.count(-1) > 1 for shape in numbers):
        return None
    x = np.arange(prod(numbers[0])).reshape(numbers[0])
    y: NDArray[np.int64] = x
    for node, shape in zip(nodes, numbers[1:], strict=True):
        if node.op_type == "Transpose":
            y = y.transpose(node.attributes.get_ints("perm", range(y.ndim)[::-1]))
        rest = prod(n for n in shape if n > 0)
        if not rest or (y.size % rest if -1 in shape else y.size != rest):
            return None
        y = y.reshape(shape)
    perms = (p for p in permutations(range(x.ndim)) if list(p) != sorted(p))
    return next((p for p in perms if x.transpose(p).shape == y.shape
                 and np.array_equal(x.transpose(p), y)), None)  # fmt: skip
