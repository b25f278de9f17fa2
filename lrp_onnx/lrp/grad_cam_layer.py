"""The layer whose activations Grad-CAM weighs: the one that is named, or the last convolution; of a
vision transformer the last norm in front of attention, whose tokens are patches of the picture.

Those behind it reach a class token no more.  Source: pytorch-grad-cam's reshape_transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import prod

import onnx_ir as ir

from lrp_onnx.analysis.positions import Axes, continued_axes, positions_of
from lrp_onnx.analysis.step import Step
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import aliases
from lrp_onnx.graph.names import name_of, tensor_name
from lrp_onnx.graph.tensors import tensor_of

__all__ = ["PatchGrid", "grad_cam_layer", "patch_grid"]

MOST_OTHER_TOKENS = 8
"""So many may stand in front of the patches: of the class, registers."""


@dataclass(frozen=True)
class PatchGrid:
    """Tokens that are patches of an input, [N, first + prod(sizes), C], row by row."""

    first: int
    sizes: tuple[int, ...]
    axes: tuple[int, ...]
    """Of the input."""


def patch_grid(on_path: Sequence[Step], x: ir.Value, layer: ir.Value) -> PatchGrid | None:
    """Where a layer's tokens lie in an input, if they are as many as the patches that the last
    convolution before it cuts, with a few in front.
    """
    shape, of = layer.shape, continued_axes(on_path, x)
    before = takewhile(lambda step: layer not in step.node.outputs, on_path)
    cut = [s.node.outputs[0] for s in before if s.op.window == "kernel"]
    if shape is None or len(shape) != 3 or not cut or cut[-1].shape is None:
        return None
    places = positions_of(of.get(cut[-1], ()))
    sizes = [cut[-1].shape[n] for n in places.values()]
    known = tuple(size for size in sizes if isinstance(size, int))
    if not isinstance(shape[1], int) or not known or len(known) < len(sizes):
        return None
    first = shape[1] - prod(known)
    return PatchGrid(first, known, tuple(places)) if 0 <= first <= MOST_OTHER_TOKENS else None


def grad_cam_layer(
    model: ir.Model, on_path: Sequence[Step], inputs: Sequence[ir.Value], name: str | None
) -> ir.Value:
    """The tensor of that name, or the output of the node of that name; without one that of the last
    convolution on the path with several positions that stand for parts of every explained input,
    or that of the last norm of its patches in front of attention.

    Raises TargetError where it does not lie on the path, or there is none.
    """
    if name is not None:
        return _named(model, on_path, name)
    convolutions = [s.node.outputs[0] for s in on_path if s.op.window == "kernel"]
    axes = [continued_axes(on_path, x) for x in inputs]
    layers = [v for v in convolutions if all(_has_positions(v, of.get(v, ())) for of in axes)]
    norms = [
        s for s in on_path if s.kind == "norm" and any(b.kind == "bilinear" for b in s.behind())
    ]
    tokens = [s.node.outputs[0] for s in norms]
    tokens = [v for v in tokens if all(patch_grid(on_path, x, v) for x in inputs)]
    if layers:
        return tokens[-1] if tokens else layers[-1]
    fact = "there is no convolution on the explanation path"
    if convolutions:
        names = ", ".join(repr(v.name) for v in inputs)
        fact = f"no convolution on the explanation path has several positions of input {names}"
    raise TargetError(
        f"method 'grad-cam': {fact}, so that there are no feature maps to weigh. Name a tensor "
        "that has them with --layer, leave inputs without positions out with --explain, or choose "
        "another method."
    )


def _named(model: ir.Model, on_path: Sequence[Step], name: str) -> ir.Value:
    node = next((node for node in model.graph if name in (node.name, name_of(node))), None)
    if any(v.name == name for n in model.graph for v in n.outputs) or name in aliases(model):
        value = tensor_of(model, name)
    else:
        value = node.outputs[0] if node is not None else tensor_of(model, name)
    if name in aliases(model):
        raise TargetError(
            f"layer {name!r}: the node behind it is one layer with it here, as a "
            f"BatchNormalization with its convolution. Give tensor {tensor_name(value)!r}."
        )
    if not any(value in step.node.outputs for step in on_path):
        raise TargetError(
            f"layer {name!r}: it does not lie between the explained input and the output. "
            "`lrp-onnx inspect` lists the nodes that do."
        )
    return value


def _has_positions(value: ir.Value, axes: Axes) -> bool:
    """Whether axes of the input go on in it, with more than one place as far as its shape shows."""
    return any(value.shape is None or value.shape[n] != 1 for n in positions_of(axes).values())
