"""Whether a run of a model is known to be short: every size is known or has a name, and few
products are formed.  What is not known to be short, or may break a kernel down, is run under a
limit, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Container
from math import prod

import onnx_ir as ir

from lrp_onnx.graph.subgraphs import bodies_of

__all__ = ["endless_loop", "is_short"]

BATCH, NAMED = 2, 64
"""What the first size and another one count as if they have a name alone: about as much as made-up
input has.
"""
PAIRING = {"MatMul", "Einsum", "Add", "Sub", "Mul", "Div", "Where", "Expand"}
MOST_ELEMENTS = 1 << 28
MOST_TRIPS = 10**10
"""Of a loop; each takes more than a tenth of a microsecond."""
MOST_PRODUCTS = 10**11
"""A few seconds."""
ANY = 16
"""Operations for an element of whatever is no product of matrices."""


def is_short(graph: ir.Graph) -> bool:
    """Whether no tensor of the graph, with its shapes inferred, is large, and all of them together
    take a few seconds to compute.
    """
    known = {str(size) for v in graph.inputs if v.shape is not None for size in v.shape}
    if any(_pairs_sizes(node, known) for node in graph):
        return False
    total = _products(graph)
    return total is not None and total <= MOST_PRODUCTS


def endless_loop(graph: ir.Graph) -> ir.Node | None:
    """The first Loop whose trips, a constant, take longer than any budget, and whose body does not
    decide that it ends.
    """
    for node in graph:
        trips = node.inputs[0] if node.op_type == "Loop" and not node.domain else None
        tensor = None if trips is None else ir.convenience.get_const_tensor(trips)
        if tensor is None or tensor.size != 1 or int(tensor.numpy().reshape(())) < MOST_TRIPS:
            continue
        (body,) = bodies_of(node)
        maker = body.outputs[0].producer()
        if maker is None or (maker.op_type == "Identity" and maker.inputs[0] in body.inputs):
            return node
    return None


def _pairs_sizes(node: ir.Node, known: Container[str]) -> bool:
    """Whether sizes that only the run knows meet in the node's output and in none of its inputs, as
    in the products of all places with all others: their number may be the square of the input's.
    """
    if node.op_type not in PAIRING:
        return False
    counts = [
        sum(str(size) not in known for size in v.shape if not isinstance(size, int))
        for v in (*node.inputs, *node.outputs)
        if v is not None and v.shape is not None
    ]
    return len(counts) > 1 and counts[-1] > max(1, *counts[:-1])


def _products(graph: ir.Graph) -> int | None:
    """How many operations a run is at most; None where that is not known."""
    total = 0
    for node in graph:
        for body in bodies_of(node):
            inside = _products(body)
            if inside is None or node.op_type != "If":  # how often others run is the run's to tell
                return None
            total += inside
        sizes = [_elements(v) for v in node.outputs if v.uses() or v.is_graph_output()]
        if any(size is None or size > MOST_ELEMENTS for size in sizes):
            return None
        if any(0 in _sizes(v) for v in (*node.inputs, *node.outputs)) or _may_overflow(node):
            return None  # kernels divide by sizes, which ends the process
        each = _each(node)
        if each is None:
            return None
        total += each * sum(size for size in sizes if size is not None)
    return total


def _may_overflow(node: ir.Node) -> bool:
    """Whether the smallest of whole numbers may be divided by -1, which ends the process."""
    x = node.inputs[0] if node.op_type in ("Div", "Mod") and not node.domain else None
    if x is None or x.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        return False
    by = node.inputs[1]
    divisor = None if by is None else ir.convenience.get_const_tensor(by)
    return divisor is None or bool((divisor.numpy() == -1).any())


def _each(node: ir.Node) -> int | None:
    """How many operations an element of the output is."""
    x, w = ([*node.inputs, None, None])[:2]
    if node.op_type in ("MatMul", "Gemm"):
        return max(_sizes(x), default=1) if x is not None and x.shape is not None else None
    if node.op_type in ("Conv", "ConvTranspose", "Einsum", "DeformConv"):
        held = _elements(x if node.op_type == "Einsum" else w)
        first = _sizes(w)[:1] if node.op_type == "Conv" and held is not None else []
        return None if held is None else held // max(1, *first, 1)
    kernel = node.attributes.get_ints("kernel_shape", [])
    reach = _elements(x)
    return ANY if not kernel else None if reach is None else min(abs(prod(kernel)), reach)


def _elements(value: ir.Value | None) -> int | None:
    if value is None:
        return 1
    return None if value.shape is None else prod(_sizes(value))


def _sizes(value: ir.Value | None) -> list[int]:
    """The sizes, those with a name counted as BATCH or NAMED."""
    shape = () if value is None or value.shape is None else value.shape
    named = (BATCH if axis == 0 else NAMED for axis in range(len(shape)))
    return [n if isinstance(n, int) else other for n, other in zip(shape, named, strict=True)]
