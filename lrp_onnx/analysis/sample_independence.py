"""Whether a network's samples are independent as far as shapes and operators show.

They are if the batch is axis 0, of a size that only the run knows or of a fixed one, and every node
that the explained value depends on leaves it there: what it makes has that size along axis 0 and
along no other, and the operator does not mix entries along axis 0, as its record says.  A fixed
batch of N may also be flattened with other axes: where axis 0 has k·N entries, k of each sample,
row by row operators keep the samples apart.  Any other, and any body, counts as mixing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from lrp_onnx.graph.clone import reads
from lrp_onnx.graph.shapes import dimension_of
from lrp_onnx.ops.registry import find

__all__ = ["batch_size", "batched_inputs", "fixed_batch_size", "independent"]

BY_ROWS = ("Gemm", "MatMul", "MatMulAdd", "Softmax", "LayerNormalization")
"""What keeps rows along axis 0 apart, besides what is elementwise."""


def batch_size(sources: Sequence[ir.Value]) -> str | None:
    """The name of the batch's size, along axis 0 of every tensor; None if there is none."""
    size = _common(sources)
    return size if isinstance(size, str) else None


def fixed_batch_size(sources: Sequence[ir.Value]) -> int | None:
    """The batch's size where it is fixed, along axis 0 of every tensor; None if there is none."""
    size = _common(sources)
    return size if isinstance(size, int) else None


def _common(values: Sequence[ir.Value]) -> str | int | None:
    sizes = {_first(value) for value in values}
    return sizes.pop() if len(sizes) == 1 else None


def batched_inputs(graph: ir.Graph, batch: str) -> list[ir.Value]:
    """The graph's inputs that hold the batch along axis 0."""
    return [v for v in graph.inputs if _first(v) == batch]


def independent(nodes: Sequence[ir.Node], roots: Collection[ir.Value], batch: str | int) -> bool:
    """Whether no node mixes samples; `nodes` are all that depend on the `roots`, in order."""
    samples, sizes, blocks = set(roots), set[ir.Value](), set[ir.Value]()
    if not all(_is_batched(value, batch) for value in roots):
        return False
    for node in nodes:
        of_samples = [v for v in reads(node) if v in samples]
        if node.op_type == "Shape" or (
            not of_samples and all(_is_integer(v) and _first(v) != batch for v in node.outputs)
        ):
            sizes.update(node.outputs)
            continue
        if not of_samples and not _fills(node):
            return False  # a number made of the batch's size
        batched = all(_is_batched(v, batch) for v in node.outputs if v.uses())
        if not batched or not blocks.isdisjoint(of_samples):
            if not _keeps_blocks(node, samples, batch):
                return False
            blocks.update(() if batched else node.outputs)
        if of_samples and not _keeps_apart(node, samples):
            return False
        samples.update(node.outputs)
    return True


def _keeps_blocks(node: ir.Node, samples: Collection[ir.Value], batch: str | int) -> bool:
    """Whether rows along axis 0, as many of each sample, stay in their order."""
    operator, inputs = find(node), [v for v in node.inputs if v is not None and v in samples]
    rows = [_first(v) for v in (*inputs, node.outputs[0])]
    if operator is None or not inputs or not isinstance(batch, int):
        return False
    if any(not isinstance(n, int) or n % batch for n in rows):
        return False
    if node.op_type in ("Reshape", "Flatten"):
        return True
    alike = operator.elementwise or node.op_type in BY_ROWS
    return alike and len({*rows}) == 1 and not node.attributes.get_int("transA", 0)


def _keeps_apart(node: ir.Node, samples: Collection[ir.Value]) -> bool:
    """Whether the operator leaves entries of axis 0 apart, its output being batched."""
    inputs = [i for i, v in enumerate(node.inputs) if v in samples]
    if not inputs or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        return False
    operator = find(node)
    return operator is not None and operator.samples_apart(node, inputs)


def _fills(node: ir.Node) -> bool:
    """Whether its output is one constant again and again."""
    operator = find(node)
    return operator is not None and operator.fills


def _is_batched(value: ir.Value, batch: str | int) -> bool:
    if value.shape is None or not len(value.shape) or _first(value) != batch:
        return False
    return all(dimension_of(d) != batch for d in list(value.shape)[1:])


def _first(value: ir.Value) -> str | int | None:
    """The size along axis 0, or its name, if it has one."""
    return None if value.shape is None or not len(value.shape) else dimension_of(value.shape[0])


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and not value.dtype.is_floating_point()
