"""The determinant of small matrices, as sums of products of their elements.

The forward keeps Det; relevance goes through Laplace's decomposition along the first rows, in which
each product shares half and half.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

LARGEST = 4
"""Rows up to which the determinant is written out: n! products."""


@decomposes("Det")
def determinant(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Σ_j ± x_0j · det(x without row 0 and column j).  Spec: ONNX Det-11."""
    x = node.inputs[0]
    sizes = [] if x is None or x.shape is None else [n for n in x.shape[-2:] if isinstance(n, int)]
    if x is None or not sizes:
        raise UnsupportedError("the size of its matrices is unknown. Export the model with it")
    if not 0 < sizes[0] <= LARGEST:
        raise UnsupportedError(f"its matrices have {sizes[0]} rows, and at most {LARGEST} can be "
                               "explained")  # fmt: skip
    places = [build.constant(k) for k in range(sizes[0])]
    rows = [build.op("Gather", x, k, axis=-2) for k in places]
    elements = [[build.op("Gather", row, k, axis=-1) for k in places] for row in rows]
    return [build.explained(node.outputs[0], _expanded(build, elements))]


def _expanded(build: Build, elements: Sequence[Sequence[ir.Value]]) -> ir.Value:
    first, *below = elements
    total = first[0] if not below else build.op("Mul", first[0], _minor(build, below, 0))
    for j in range(1, len(first)):
        part = build.op("Mul", first[j], _minor(build, below, j))
        total = build.op("Sub" if j % 2 else "Add", total, part)
    return total


def _minor(build: Build, below: Sequence[Sequence[ir.Value]], j: int) -> ir.Value:
    return _expanded(build, [[*row[:j], *row[j + 1 :]] for row in below])
