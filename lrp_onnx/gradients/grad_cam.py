"""Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): where a layer's features speak for the target.

With the layer's activations A, its channels k and positions p, and the explained value f,

    α_k = mean over p of ∂f/∂A_kp,    M_p = max(0, Σ_k α_k · A_kp).

Positions are the axes that continue some of the input's (`lrp_onnx.analysis.positions`): height and
width of a picture, the time of a signal, the places of a text; or the tokens of a layer are patches
of a picture, row by row, with a class token in front that has no place (`lrp.grad_cam_layer`).  The
map M has the layer's size, and is resized to the input's by linear interpolation between the
centers of its positions (half_pixel, as torch's `interpolate` without aligned corners and OpenCV's
`resize`).

The relevance has the input's shape: M is shared equally between the input's channels, so that their
sum is the map.  It is in the unit of f, not scaled to [0, 1].
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from lrp_onnx.analysis.positions import Axes, continued_axes, positions_of
from lrp_onnx.errors import TargetError
from lrp_onnx.gradients.leaves import cut_at_leaves
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.clone import cone
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.assigned import Walk
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.lrp.grad_cam_layer import PatchGrid, patch_grid

__all__ = ["grad_cam"]

MOST_AXES = 3
"""So many axes of positions can be resized."""


def grad_cam(
    emit: Emit,
    model: ir.Model,
    assignment: Assignment,
    mask: ir.Value,
    walk: Walk,
    account: str = "",
) -> dict[ir.Value, ir.Value]:
    """The map of each explained input, in its shape.

    Raises TargetError where no axis of the layer continues one of the input's.
    """
    layer = assignment.layer
    assert layer is not None
    y, steps = assignment.start_at, [site.step for site in assignment.nodes]
    behind = {*cone(emit.graph, {layer}, {y})}
    cut = cut_at_leaves(assignment.inputs, assignment.nodes)
    sites = [site for site in cut.behind if site.step.node in behind]
    gradient = walk(emit, sites, {y: mask}, [layer])[layer]
    maps = {}
    for x in assignment.inputs:
        axes, weighed, g = continued_axes(steps, x).get(layer, ()), layer, gradient
        grid = None if positions_of(axes) else patch_grid(steps, x, layer)
        emit.write_for(layer, str(x.name), "grad-cam")
        if grid is not None:
            axes = (0, *grid.axes, None)
            weighed, g = (_unrolled(emit, value, grid) for value in (layer, gradient))
        else:
            _check(layer, x, axes)
        maps[x] = _resized(emit, x, axes, _map(emit, weighed, g, axes))
    return maps


def _unrolled(emit: Emit, tokens: ir.Value, grid: PatchGrid) -> ir.Value:
    """Of tokens [N, T, C] the patches, [N, *sizes, C]."""
    stop = emit.ints(grid.first + prod(grid.sizes))
    patches = emit.op("Slice", tokens, emit.ints(grid.first), stop, emit.ints(1))
    return emit.op("Reshape", patches, emit.ints(0, *grid.sizes, -1))


def _check(layer: ir.Value, x: ir.Value, axes: Axes) -> None:
    places = positions_of(axes)
    if len(places) > MOST_AXES:
        raise TargetError(
            f"method 'grad-cam': layer {tensor_name(layer)!r} of shape {layer.shape} has "
            f"{len(places)} axes of positions, and up to {MOST_AXES} can be resized. Name another "
            "--layer."
        )
    if not places or not _samples_in_place(layer, axes) or len(set(places.values())) < len(places):
        raise TargetError(
            f"method 'grad-cam': no axis of layer {tensor_name(layer)!r} of shape {layer.shape} "
            f"continues one of input {x.name!r} of shape {x.shape}, so that nothing says for which "
            "part of the input its positions stand. Name another --layer, leave that input out "
            "with --explain, or choose another method."
        )


def _samples_in_place(layer: ir.Value, axes: Axes) -> bool:
    """Whether the layer's axis 0 is the input's, or has the only sample."""
    return axes[0] == 0 or (layer.shape is not None and layer.shape[0] == 1)


def _map(emit: Emit, layer: ir.Value, gradient: ir.Value, axes: Axes) -> ir.Value:
    """M [N, *positions], in the order of the input's axes."""
    positions = list(positions_of(axes).values())
    channels = [n for n in range(1, len(axes)) if n not in positions]
    weights = emit.op("ReduceMean", gradient, emit.ints(*sorted(positions)), keepdims=1)
    weighed = emit.op("Mul", weights, layer)
    if channels:
        weighed = emit.op("ReduceSum", weighed, emit.ints(*channels), keepdims=0)
    order = [0, *(1 + sorted(positions).index(n) for n in positions)]
    if order != sorted(order):
        weighed = emit.op("Transpose", weighed, perm=order)
    return emit.op("Relu", weighed)


def _resized(emit: Emit, x: ir.Value, axes: Axes, small: ir.Value) -> ir.Value:
    """M at the input's size, shared between the input's channels."""
    positions = list(positions_of(axes))
    batch = [] if axes[0] is None else [0]
    channels = [k for k in range(known_rank(x)) if k not in (*batch, *positions)]
    large = _interpolated(emit, small, [emit.dimension(x, k) for k in positions])
    if not batch:
        large = emit.op("Squeeze", large, emit.ints(0))
    if channels:
        shares = emit.op("Div", large, _count(emit, x, channels))
        shares = emit.op("Unsqueeze", shares, emit.ints(*channels))
        large = emit.op("Expand", shares, emit.shape_of(x))
    return emit.shaped(large, x)


def _interpolated(emit: Emit, small: ir.Value, sizes: list[ir.Value]) -> ir.Value:
    """[N, *positions] with other numbers of positions."""
    # runtimes resize pictures and volumes in float32: two or three axes behind batch and channels
    spare = [1] if len(sizes) > 1 else [1, 3]
    whole = emit.op("Unsqueeze", small, emit.ints(*spare))
    one = emit.ints(1)
    size = emit.op("Concat", emit.dimension(small, 0), one, *sizes, *[one] * (len(spare) - 1),
                   axis=0)  # fmt: skip
    double = emit.dtype == ir.DataType.DOUBLE
    whole = emit.op("Cast", whole, to=int(ir.DataType.FLOAT)) if double else whole
    large = emit.op("Resize", whole, None, None, size, mode="linear",
                    coordinate_transformation_mode="half_pixel")  # fmt: skip
    large = emit.op("Cast", large, to=int(emit.dtype)) if double else large
    return emit.op("Squeeze", large, emit.ints(*spare))


def _count(emit: Emit, x: ir.Value, channels: list[int]) -> ir.Value | float:
    """How many entries of the input share one position."""
    sizes = [None if x.shape is None else x.shape[k] for k in channels]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        return float(prod(known))
    parts = emit.op("Concat", *(emit.dimension(x, k) for k in channels), axis=0)
    return emit.op("Cast", emit.op("ReduceProd", parts, keepdims=0), to=int(emit.dtype))
