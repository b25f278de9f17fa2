"""A norm in several nodes becomes one.

With the mean m and the variance v of x over some axes, every spelling is

    (x − m)/√(v + ε)·γ + β,    v = mean((x − m)²),

which is the definition of LayerNormalization where the axes are the last ones: PyTorch's divides by
√(v + ε) or multiplies by its reciprocal, γ and β following or not, perhaps behind a cast;
TensorFlow's is x·g + (β − m·g) with g = γ/√(v + ε), equal by distributivity.  Where that operator
cannot say it (other axes, sizes that its scale would have being unknown, a float64 whose ε its
float32 is too coarse for) it becomes `lrp::Norm`, which reads m and √(v + ε) from the spelling.
Nothing is rewritten whose parts are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constants import Float, array_of, sole_reader
from lrp_onnx.graph.replacement import Build, take_place

__all__ = ["layer_norms"]


@dataclass(frozen=True)
class _Centered:
    """x − mean(x) over some axes, counted from the back, and the nodes that compute it."""

    x: ir.Value
    axes: tuple[int, ...]
    mean: ir.Value
    nodes: tuple[ir.Node, ...]

    def same(self, other: _Centered | None) -> bool:
        return other is not None and (other.x, other.axes) == (self.x, self.axes)


@dataclass(frozen=True)
class _Statistics:
    """What is centered and the node that gives √(v + ε), or one over it by Pow."""

    centered: _Centered
    epsilon: float
    root: ir.Node


@dataclass(frozen=True)
class _Norm:
    """A norm as it was found; `scale` and `bias` broadcast to the axes."""

    of: _Statistics
    result: ir.Value
    nodes: tuple[ir.Node, ...]
    scale: Float | None = None
    bias: Float | None = None

    @property
    def x(self) -> ir.Value:
        return self.of.centered.x

    @property
    def axes(self) -> tuple[int, ...]:
        return self.of.centered.axes

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The sizes of the axes, if these are the last ones and all is known."""
        x, axes = self.x, self.axes
        if x.shape is None or axes != tuple(range(-len(axes), 0)):
            return None
        sizes = [size for size in list(x.shape)[-len(axes) :] if isinstance(size, int)]
        return tuple(sizes) if len(sizes) == len(axes) else None

    def fits(self, constant: Float | None) -> bool:
        """Whether it varies along the axes only."""
        shape = list(self.x.shape or ())
        if constant is None or constant.ndim > len(shape):
            return False
        sizes = {axis: shape[axis] for axis in self.axes}
        varying = {k: n for k in range(-constant.ndim, 0) if (n := constant.shape[k]) != 1}
        return all(
            k in sizes and (n == sizes[k] or not isinstance(sizes[k], int))
            for k, n in varying.items()
        )

    def alone(self) -> bool:
        """Whether nothing else reads the parts."""
        parts = [v for n in self.nodes for v in n.outputs if v is not self.result]
        readers = {reader for part in parts for reader, _ in part.uses()}
        return readers <= set(self.nodes) and not any(part.is_graph_output() for part in parts)


def layer_norms(model: ir.Model) -> bool:
    """A norm spelled with ReduceMean and Sqrt becomes one operator."""
    changed = False
    for node in list(model.graph):
        norm = next((norm for norm in _norms_at(node) if norm.alone()), None)
        if norm is not None:
            _write(model, norm)
            changed = True
    return changed


def _norms_at(root: ir.Node) -> Iterator[_Norm]:
    """The norms whose deviation, or one over it, is this node, the longest first."""
    power = _number(root.inputs[1]) if _is(root, "Pow") else 0.5 if _is(root, "Sqrt") else None
    of_variance = _variance(root) if power in (0.5, -0.5) else None
    if of_variance is None:
        return
    of, nodes = of_variance
    if power == -0.5:
        yield from _by_inverse(root.outputs[0], of, nodes)
        return
    node, position = sole_reader(root.outputs[0]) or (None, 0)
    if node is None:
        return
    over = _is(node, "Div") and position == 1
    if _is(node, "Reciprocal") or (over and _number(node.inputs[0]) == 1):
        yield from _by_inverse(node.outputs[0], of, (*nodes, node))
    elif over:
        yield from _followed(_quotient(node, 0, of, nodes))


def _by_inverse(inverse: ir.Value, of: _Statistics, nodes: tuple[ir.Node, ...]) -> Iterator[_Norm]:
    """The norms that multiply with 1/√(v + ε), before or after γ."""
    yield from _distributed(inverse, of, nodes)
    for product, at in inverse.uses():
        if _is(product, "Mul"):
            yield from _followed(_quotient(product, 1 - at, of, nodes))
            yield from _followed(_scaled_first(product, 1 - at, of, nodes))


def _scaled_first(
    scaled: ir.Node, at: int, of: _Statistics, nodes: tuple[ir.Node, ...]
) -> _Norm | None:
    """(x − m)·(γ/√(v + ε)), the input `at` being γ."""
    gamma = array_of(scaled.inputs[at])
    product, position = sole_reader(scaled.outputs[0]) or (None, 0)
    if gamma is None or product is None or not _is(product, "Mul"):
        return None
    norm = _quotient(product, 1 - position, of, (*nodes, scaled))
    return replace(norm, scale=gamma) if norm is not None and norm.fits(gamma) else None


def _variance(root: ir.Node) -> tuple[_Statistics, tuple[ir.Node, ...]] | None:
    """√(mean((x − m)²) + ε) and its nodes."""
    shifted = _maker(root.inputs[0], "Add")
    if shifted is None:
        return None
    for at in (0, 1):
        epsilon, (mean, axes, back) = _number(shifted.inputs[at]), _mean(shifted.inputs[1 - at])
        square = None if mean is None else _maker(mean.inputs[0], "Mul", "Pow")
        if epsilon is None or mean is None or square is None:
            continue
        centered = _centered(square.inputs[0])
        if centered is None or not _squares(square) or axes != centered.axes:
            continue
        twice = _centered(square.inputs[1]) or centered
        parts = (*centered.nodes, *twice.nodes, square, mean, *back, shifted, root)
        return _Statistics(centered, epsilon, root), tuple(dict.fromkeys(parts))
    return None


def _mean(
    value: ir.Value | None,
) -> tuple[ir.Node | None, tuple[int, ...] | None, tuple[ir.Node, ...]]:
    """The ReduceMean that gives the value, its axes, and what puts these back if it drops them."""
    back = _maker(value, "Reshape", "Unsqueeze")
    mean = _maker(value if back is None else back.inputs[0], "ReduceMean")
    axes = None if mean is None else _axes(mean, keeps=int(back is None))
    if mean is None or axes is None or back is None:
        return mean, axes, ()
    assert mean.inputs[0] is not None
    whole = list(mean.inputs[0].shape or ())
    for axis in axes:
        whole[axis] = 1
    same = list(back.outputs[0].shape or ()) == whole
    return mean, axes if same else None, (back,)


def _squares(node: ir.Node) -> bool:
    x, other = node.inputs
    if node.op_type == "Pow":
        return _number(other) == 2
    a, b = _centered(x), _centered(other)
    return other is x or (a is not None and a.same(b))


def _centered(value: ir.Value | None) -> _Centered | None:
    """What `value` = x − mean(x) is made of."""
    sub = _maker(value, "Sub")
    mean = None if sub is None else _maker(sub.inputs[1], "ReduceMean")
    if sub is None or mean is None or mean.inputs[0] is not sub.inputs[0]:
        return None
    x, axes = sub.inputs[0], _axes(mean)
    return None if x is None or axes is None else _Centered(x, axes, mean.outputs[0], (mean, sub))


def _quotient(node: ir.Node, at: int, of: _Statistics, nodes: tuple[ir.Node, ...]) -> _Norm | None:
    """Its input there over the deviation, if that is the same x − m, perhaps computed twice."""
    above = _centered(node.inputs[at])
    if above is None or not of.centered.same(above):
        return None
    parts = tuple(dict.fromkeys((*nodes, *above.nodes, node)))
    return _Norm(of, node.outputs[0], parts)


def _followed(norm: _Norm | None) -> Iterator[_Norm]:
    """With the scale and the bias behind it, as far as there are such, the longest first."""
    if norm is None:
        return
    scaled = (_with(norm, "Mul") if norm.scale is None else None) or norm
    biased = _with(scaled, "Add")
    if biased is not None:
        yield biased
    yield scaled


def _with(norm: _Norm, op_type: str) -> _Norm | None:
    """The norm with the Mul or Add by a constant that alone reads it, a cast between or not."""
    result, nodes = norm.result, norm.nodes
    node, position = sole_reader(result) or (None, 0)
    if node is not None and _is(node, "Cast") and norm.scale is None and norm.bias is None:
        result, nodes = node.outputs[0], (*nodes, node)
        node, position = sole_reader(result) or (None, 0)
    if node is None or not _is(node, op_type):
        return None
    constant = array_of(node.inputs[1 - position])
    if not norm.fits(constant):
        return None
    scale, bias = (constant, None) if op_type == "Mul" else (norm.scale, constant)
    return _Norm(norm.of, node.outputs[0], (*nodes, node), scale, bias)


def _distributed(inverse: ir.Value, of: _Statistics, nodes: tuple[ir.Node, ...]) -> Iterator[_Norm]:
    """x·g + (β − m·g), g = γ/√(v + ε)."""
    product, position = sole_reader(inverse) or (None, 0)
    if product is not None and _is(product, "Mul"):
        gamma = array_of(product.inputs[1 - position])
        inverse, nodes = product.outputs[0], (*nodes, product)
    else:
        gamma = None
    of_x, of_mean = (_product(inverse, v) for v in (of.centered.x, of.centered.mean))
    shift, at = (None, 0) if of_mean is None else sole_reader(of_mean.outputs[0]) or (None, 0)
    total, _ = (None, 0) if of_x is None else sole_reader(of_x.outputs[0]) or (None, 0)
    if of_x is None or of_mean is None or shift is None or total is None:
        return
    beta = array_of(shift.inputs[0])
    if not (_is(shift, "Sub") and at == 1 and _is(total, "Add")):
        return
    if {*total.inputs} != {of_x.outputs[0], shift.outputs[0]}:
        return
    norm = _Norm(of, total.outputs[0], (*nodes, of_x, of_mean, shift, total), gamma, beta)
    if norm.fits(beta) and (product is None or norm.fits(gamma)):
        yield norm


def _product(a: ir.Value, b: ir.Value) -> ir.Node | None:
    """The Mul of both."""
    readers = (node for node, _ in a.uses() if _is(node, "Mul"))
    return next((node for node in readers if {*node.inputs} == {a, b}), None)


def _write(model: ir.Model, norm: _Norm) -> None:
    """One operator in place of the parts; a cast among these follows it."""
    graph, old, x = model.graph, norm.result, norm.x
    last = old.producer()
    assert last is not None
    assert x.dtype is not None
    build = Build(graph, last)
    whole = norm.sizes is not None and x.dtype != ir.DataType.DOUBLE
    y = (_operator if whole else _internal)(build, norm)
    if old.dtype not in (None, x.dtype):
        y.type, y.shape = x.type, old.shape
        y = build.op("Cast", y, to=int(old.dtype or x.dtype))
    build.insert_before(last)
    take_place(old, y)
    if whole:
        graph.remove(_later_first(graph, norm.nodes), safe=True)


def _operator(build: Build, norm: _Norm) -> ir.Value:
    """LayerNormalization."""
    assert norm.sizes is not None
    ones = np.ones(1) if norm.scale is None else norm.scale
    parts = [("scale", ones)] + ([] if norm.bias is None else [("bias", norm.bias)])
    constants = [_constant(build, norm, k, _spread(v, norm.sizes)) for k, v in parts]
    axis, name = -len(norm.axes), build.node.name
    return build.outputs(
        "LayerNormalization", 1, norm.x, *constants, named=name, axis=axis, epsilon=norm.of.epsilon
    )[0]


def _internal(build: Build, norm: _Norm) -> ir.Value:
    """`lrp::Norm`, which reads the mean and the deviation where the spelling computes them."""
    parts = [("scale", norm.scale), ("bias", norm.bias)]
    constants = [None if v is None else _constant(build, norm, k, v) for k, v in parts]
    root, name = norm.of.root, build.node.name
    deviation = root.outputs[0]
    if not _is(root, "Sqrt") and _number(root.inputs[1]) == -0.5:
        deviation = build.op("Reciprocal", deviation, like=deviation)
    operands = [norm.x, *constants, norm.of.centered.mean, deviation]
    return build.outputs("Norm", 1, *operands, domain="lrp", named=name, axes=norm.axes)[0]


def _constant(build: Build, norm: _Norm, part: str, array: Float) -> ir.Value:
    assert norm.x.dtype is not None
    return build.constant(array, norm.x.dtype, part)


def _spread(array: Float, sizes: Sequence[int]) -> Float:
    """The array over the last axes."""
    own = array.reshape(array.shape[max(array.ndim - len(sizes), 0) :])
    return np.broadcast_to(own, sizes)


def _later_first(graph: ir.Graph, nodes: Sequence[ir.Node]) -> list[ir.Node]:
    return [node for node in reversed(graph) if node in set(nodes)]


def _axes(mean: ir.Node, keeps: int = 1) -> tuple[int, ...] | None:
    """The axes of a ReduceMean, counted from the back; None if unknown or not kept as asked."""
    x, axes = mean.inputs[0], mean.inputs[1] if len(mean.inputs) > 1 else None
    if x is None or x.shape is None or axes is None or axes.const_value is None:
        return None
    rank = len(x.shape)
    if not rank or mean.attributes.get_int("keepdims", 1) != keeps:
        return None
    from_back = sorted(int(a) % rank - rank for a in axes.const_value.numpy().reshape(-1))
    return tuple(from_back) or None


def _number(value: ir.Value | None) -> float | None:
    """The one element of a constant."""
    tensor = None if value is None or not value.is_initializer() else value.const_value
    return float(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else None


def _maker(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and _is(node, *op_types) else None


def _is(node: ir.Node, *op_types: str) -> bool:
    return not node.domain and node.op_type in op_types
