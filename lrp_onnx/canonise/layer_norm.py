"""A LayerNorm in several nodes becomes LayerNormalization.

With the mean m and the variance v of x over its trailing axes, every spelling is

    (x − m)/√(v + ε)·γ + β,    v = mean((x − m)²),

which is the operator's definition: PyTorch's divides by √(v + ε) or multiplies by its reciprocal,
γ and β following or not; TensorFlow's is x·g + (β − m·g) with g = γ/√(v + ε), equal by
distributivity.  Nothing is rewritten whose parts are read elsewhere, nor where the sizes of the
trailing axes are unknown: the operator's scale has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.constant import Float, array_of, new_constant, sole_reader

__all__ = ["layer_norms"]


@dataclass(frozen=True)
class _Centred:
    """x − mean(x) over the trailing axes, and the nodes that compute it."""

    x: ir.Value
    axes: int
    """How many trailing axes."""
    mean: ir.Value
    nodes: tuple[ir.Node, ...]

    def same(self, other: _Centred | None) -> bool:
        return other is not None and (other.x, other.axes) == (self.x, self.axes)


@dataclass(frozen=True)
class _Norm:
    """A LayerNorm as it was found; `scale` and `bias` broadcast to the trailing axes."""

    centred: _Centred
    epsilon: float
    result: ir.Value
    nodes: tuple[ir.Node, ...]
    scale: Float | None = None
    bias: Float | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(_trailing(self.centred.x, self.centred.axes) or ())

    def fits(self, constant: Float | None) -> bool:
        """Whether it varies along the trailing axes only."""
        rank = len(self.centred.x.shape or ())
        if constant is None or constant.ndim > rank:
            return False
        own = (*[1] * (rank - constant.ndim), *constant.shape)
        sizes = (*[1] * (rank - len(self.sizes)), *self.sizes)
        return all(n in (1, size) for n, size in zip(own, sizes, strict=True))

    def alone(self) -> bool:
        """Whether nothing else reads the parts."""
        parts = [v for n in self.nodes for v in n.outputs if v is not self.result]
        readers = {reader for part in parts for reader, _ in part.uses()}
        return readers <= set(self.nodes) and not any(part.is_graph_output() for part in parts)


def layer_norms(model: ir.Model) -> None:
    """A LayerNorm spelled with ReduceMean and Sqrt becomes the operator."""
    for node in list(model.graph):
        for norm in _found(node):
            # the operator's ε is a float32, too coarse for float64
            if norm.sizes and norm.alone() and norm.centred.x.dtype != ir.DataType.DOUBLE:
                _write(model, norm)
                break


def _found(root: ir.Node) -> Iterator[_Norm]:
    """The LayerNorms whose deviation is this Sqrt, the longest first."""
    if not _is(root, "Sqrt"):
        return
    reader = sole_reader(root.outputs[0])
    of_variance = _variance(root)
    if reader is None or of_variance is None:
        return
    node, position = reader
    centred, epsilon, nodes = of_variance
    if _is(node, "Div") and position == 1:
        yield from _followed(_quotient(node, 0, centred, epsilon, (*nodes, root)))
    elif _is(node, "Reciprocal"):
        inverse, nodes = node.outputs[0], (*nodes, root, node)
        yield from _distributed(inverse, centred, epsilon, nodes)
        for product, at in inverse.uses():
            if _is(product, "Mul"):
                yield from _followed(_quotient(product, 1 - at, centred, epsilon, nodes))


def _variance(root: ir.Node) -> tuple[_Centred, float, tuple[ir.Node, ...]] | None:
    """√(mean((x − m)²) + ε): what is centred, ε, and the nodes."""
    shifted = _maker(root.inputs[0], "Add")
    if shifted is None:
        return None
    for at in (0, 1):
        epsilon, mean = _number(shifted.inputs[at]), _maker(shifted.inputs[1 - at], "ReduceMean")
        square = None if mean is None else _maker(mean.inputs[0], "Mul", "Pow")
        if epsilon is None or mean is None or square is None:
            continue
        centred = _centred(square.inputs[0])
        if centred is None or not _squares(square) or _axes(mean) != centred.axes:
            continue
        return centred, epsilon, (*centred.nodes, square, mean, shifted)
    return None


def _squares(node: ir.Node) -> bool:
    x, other = node.inputs
    return other is x if node.op_type == "Mul" else _number(other) == 2


def _centred(value: ir.Value | None) -> _Centred | None:
    """What `value` = x − mean(x) is made of."""
    sub = _maker(value, "Sub")
    mean = None if sub is None else _maker(sub.inputs[1], "ReduceMean")
    if sub is None or mean is None or mean.inputs[0] is not sub.inputs[0]:
        return None
    x, axes = sub.inputs[0], _axes(mean)
    return None if x is None or axes is None else _Centred(x, axes, mean.outputs[0], (mean, sub))


def _quotient(
    node: ir.Node, at: int, centred: _Centred, epsilon: float, nodes: tuple[ir.Node, ...]
) -> _Norm | None:
    """Its input there over the deviation, if that is the same x − m, perhaps computed twice."""
    above = _centred(node.inputs[at])
    if above is None or not centred.same(above):
        return None
    parts = tuple(dict.fromkeys((*nodes, *above.nodes, node)))
    return _Norm(centred, epsilon, node.outputs[0], parts)


def _followed(norm: _Norm | None) -> Iterator[_Norm]:
    """With the scale and the bias behind it, as far as there are such, the longest first."""
    if norm is None:
        return
    scaled = _with(norm, "Mul") or norm
    biased = _with(scaled, "Add")
    if biased is not None:
        yield biased
    yield scaled


def _with(norm: _Norm, op_type: str) -> _Norm | None:
    """The norm with the Mul or Add by a constant that alone reads it."""
    node, position = sole_reader(norm.result) or (None, 0)
    if node is None or not _is(node, op_type):
        return None
    constant = array_of(node.inputs[1 - position])
    if not norm.fits(constant):
        return None
    scale, bias = (constant, None) if op_type == "Mul" else (norm.scale, constant)
    nodes = (*norm.nodes, node)
    return _Norm(norm.centred, norm.epsilon, node.outputs[0], nodes, scale, bias)


def _distributed(
    inverse: ir.Value, centred: _Centred, epsilon: float, nodes: tuple[ir.Node, ...]
) -> Iterator[_Norm]:
    """x·g + (β − m·g), g = γ/√(v + ε)."""
    product, position = sole_reader(inverse) or (None, 0)
    if product is not None and _is(product, "Mul"):
        gamma = array_of(product.inputs[1 - position])
        inverse, nodes = product.outputs[0], (*nodes, product)
    else:
        gamma = None
    of_x, of_mean = (_product(inverse, v) for v in (centred.x, centred.mean))
    shift, at = (None, 0) if of_mean is None else sole_reader(of_mean.outputs[0]) or (None, 0)
    total, _ = (None, 0) if of_x is None else sole_reader(of_x.outputs[0]) or (None, 0)
    if of_x is None or of_mean is None or shift is None or total is None:
        return
    beta = array_of(shift.inputs[0])
    if not (_is(shift, "Sub") and at == 1 and _is(total, "Add")):
        return
    if {*total.inputs} != {of_x.outputs[0], shift.outputs[0]}:
        return
    parts = (*nodes, of_x, of_mean, shift, total)
    norm = _Norm(centred, epsilon, total.outputs[0], parts, gamma, beta)
    if norm.fits(beta) and (product is None or norm.fits(gamma)):
        yield norm


def _product(a: ir.Value, b: ir.Value) -> ir.Node | None:
    """The Mul of both."""
    readers = (node for node, _ in a.uses() if _is(node, "Mul"))
    return next((node for node in readers if {*node.inputs} == {a, b}), None)


def _write(model: ir.Model, norm: _Norm) -> None:
    """The operator in place of the parts."""
    graph, x, old = model.graph, norm.centred.x, norm.result
    last = old.producer()
    assert last is not None
    assert x.dtype is not None
    name = last.name or ""
    ones = np.ones(1) if norm.scale is None else norm.scale
    constants = [("scale", ones)] + ([] if norm.bias is None else [("bias", norm.bias)])
    written = [
        new_constant(graph, f"{name}/{part}", _spread(array, norm.sizes), x.dtype)
        for part, array in constants
    ]
    node = ir.node(
        "LayerNormalization",
        [x, *written],
        {"axis": -norm.centred.axes, "epsilon": norm.epsilon},
        name=name,
    )
    new = node.outputs[0]
    new.name, old.name = old.name, f"{old.name}/replaced"
    new.type, new.shape = old.type, old.shape
    graph.insert_before(last, node)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(_later_first(graph, norm.nodes), safe=True)


def _spread(array: Float, sizes: Sequence[int]) -> Float:
    """The array over the trailing axes."""
    own = array.reshape(array.shape[max(array.ndim - len(sizes), 0) :])
    return np.broadcast_to(own, sizes)


def _later_first(graph: ir.Graph, nodes: Sequence[ir.Node]) -> list[ir.Node]:
    return [node for node in reversed(graph) if node in set(nodes)]


def _axes(mean: ir.Node) -> int | None:
    """How many trailing axes a ReduceMean that keeps them runs over; None if not such."""
    x, axes = mean.inputs[0], mean.inputs[1] if len(mean.inputs) > 1 else None
    if x is None or x.shape is None or axes is None or axes.const_value is None:
        return None
    rank = len(x.shape)
    found = sorted(int(a) % rank for a in axes.const_value.numpy().reshape(-1)) if rank else []
    keeps = mean.attributes.get_int("keepdims", 1)
    trailing = list(range(rank - len(found), rank))
    return len(found) if keeps and found and found == trailing else None


def _trailing(x: ir.Value, axes: int) -> list[int] | None:
    """The sizes of the trailing axes, if they are known."""
    assert x.shape is not None
    sizes = [size for size in list(x.shape)[-axes:] if isinstance(size, int)]
    return sizes if len(sizes) == axes else None


def _number(value: ir.Value | None) -> float | None:
    """The one element of a constant."""
    tensor = None if value is None or not value.is_initializer() else value.const_value
    return float(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else None


def _maker(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and _is(node, *op_types) else None


def _is(node: ir.Node, *op_types: str) -> bool:
    return not node.domain and node.op_type in op_types
