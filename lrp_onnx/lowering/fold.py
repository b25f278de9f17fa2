"""What depends on weights alone is computed once, when the model is compiled.

Runtimes that fold no constants compute such nodes in every run; OpenCV 5 crashes on some, and
OpenVINO 2026.4 reads x·Wᵀ as x·W where W is square and its Transpose is a node.  The file grows by
the results; where it would grow too much the largest stay nodes, and all do where ONNX Runtime
lacks a kernel (convolutions in float64) or fails, as it would for the model itself too.  A number
that is only repeated stays an Expand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import InputError, ModelError
from lrp_onnx.graph.annotations import RULE
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.makers import upstream
from lrp_onnx.graph.model_file import LARGEST_FILE
from lrp_onnx.graph.session import CPU, Runtime, runtime_form
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.graph.subgraphs import bodies_of
from lrp_onnx.ops.registry import find

__all__ = ["fold_constants"]

TIMES = 3
"""So many times the model the file may be in size,"""
AT_LEAST = 200 << 20
"""or so many bytes, whichever is more."""
AT_ONCE = 64 << 20
"""Bytes of results that are computed in one go, so that memory is bounded."""


def fold_constants(model: ir.Model, fold: str) -> None:
    """Put a weight in the place of each emitted value that weights alone decide and that others
    read.

    fold: `auto` keeps the file within TIMES and AT_LEAST, and below what one file can hold;
    `always` knows no bound.
    """
    graph = model.graph
    constant = _constant_nodes(graph)
    values = [v for node in constant for v in node.outputs if _is_worth_it(v, constant)]
    sizes = {v: size for v in values if (size := _size(v)) is not None}
    held = sum(v.const_value.nbytes for v in graph.initializers.values() if v.const_value)
    within = min(max(TIMES * held, AT_LEAST), LARGEST_FILE)
    room = float("inf") if fold == "always" else within - held
    chosen = set()
    for value in sorted(sizes, key=lambda v: sizes[v]):
        room -= sizes[value]
        if room >= 0:
            chosen.add(value)
    taken = {v.name for node in graph for v in node.outputs}
    for part in _parts([v for v in values if v in chosen], sizes):
        for value, array in _computed(model, part):
            _replace(graph, value, array, taken)


def _constant_nodes(graph: ir.Graph) -> dict[ir.Node, None]:
    """The emitted nodes that depend on weights alone, in order."""
    known = set(graph.initializers.values())
    nodes: dict[ir.Node, None] = {}
    for node in graph:
        emitted = RULE in node.metadata_props and not any(True for _ in bodies_of(node))
        reads = [v for v in node.inputs if v is not None]
        if emitted and reads and all(v in known for v in reads):
            nodes[node] = None
            known.update(node.outputs)
    return nodes


def _is_worth_it(value: ir.Value, constant: Collection[ir.Node]) -> bool:
    """Whether a node reads it that is not constant itself, and it is no number repeated."""
    read = any(user not in constant for user, _ in value.uses())
    return read and not _is_repeated(value)


def _is_repeated(value: ir.Value) -> bool:
    """Whether it is one number, copied to a shape and perhaps moved about."""
    node = value.producer()
    x = None if node is None else node.inputs[0]
    if node is None or x is None:
        return False
    operator = find(node)
    if node.op_type == "Expand":
        return static_shape(x) in ((), (1,)) or _is_repeated(x)
    moves = operator is not None and operator.moves in ("reorders", "selects", "repeats")
    return moves and _is_repeated(x)


def _size(value: ir.Value) -> int | None:
    """In bytes; None where the builder could not tell."""
    shape = static_shape(value)
    return None if shape is None or value.dtype is None else int(prod(shape) * value.dtype.itemsize)


def _parts(values: Sequence[ir.Value], sizes: Mapping[ir.Value, int]) -> Iterator[list[ir.Value]]:
    """The values in groups of at most AT_ONCE bytes, or of one."""
    part: list[ir.Value] = []
    total = 0
    for value in values:
        total += sizes[value]
        if part and total > AT_ONCE:
            yield part
            part, total = [], sizes[value]
        part.append(value)
    if part:
        yield part


def _computed(model: ir.Model, values: Sequence[ir.Value]) -> list[tuple[ir.Value, Array]]:
    """The values with what ONNX Runtime computes for them; nothing where it cannot."""
    weights = _weights_behind(values)
    graph = ir.convenience.extract(model.graph, list(weights), values)
    for value in weights:  # they are fed, not copied
        graph.initializers.pop(str(value.name), None)
    with runtime_form(ir.Model(graph, ir_version=model.ir_version)) as form:
        try:
            runtime = Runtime(form, [CPU], plain=True)
            results = runtime.run({str(v.name): array for v, array in weights.items()})
        except (ModelError, InputError):
            return []
    return [(v, results[str(v.name)]) for v in values]


def _weights_behind(values: Sequence[ir.Value]) -> dict[ir.Value, Array]:
    """The weights that decide the values, but for those of element types that NumPy lacks."""
    arrays = ((v, v.const_value.numpy()) for v in upstream(values) if v.const_value is not None)
    return {value: array for value, array in arrays if array.dtype.isbuiltin == 1}


def _replace(graph: ir.Graph, value: ir.Value, array: Array, taken: Collection[str | None]) -> None:
    dtype = ir.DataType.from_numpy(np.asarray(array).dtype)
    name = f"{value.name}/folded"
    while name in taken:
        name += "_"
    value.replace_all_uses_with(new_constant(graph, name, array, dtype))
