"""How the kernel of Conv and ConvTranspose slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.ops.operands import operand

__all__ = ["Sliding", "sliding"]

Sizes = Sequence[int | None]
"""Along the spatial axes; None where only the run knows."""


@dataclass(frozen=True)
class Sliding:
    """The attributes of the node, one number a spatial axis, and the sizes around it."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    """Begins, then ends."""
    group: int
    samples: int | ir.SymbolicDim
    read: Sizes
    """Sizes of the node's input."""
    written: Sizes
    """Sizes of its output."""

    @property
    def axes(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    def shaped(self, w: ir.Value, sizes: Sizes) -> list[int | ir.SymbolicDim] | None:
        """The shape of a tensor with the input channels of weight w, where every size is known but
        for the number of samples, which has a name.
        """
        channels, known = static_shape(w), [size for size in sizes if size is not None]
        named = isinstance(self.samples, int) or self.samples.value is not None
        if channels is None or not named or len(known) < self.axes:
            return None
        return [self.samples, self.group * channels[1], *known]


def sliding(node: ir.Node) -> Sliding:
    """Of Conv or ConvTranspose; UnsupportedError where its rank, kernel or padding is unknown."""
    x, y = operand(node), node.outputs[0]
    if x.shape is None:
        raise UnsupportedError(
            "the rank of its input is unknown. Export the model with input shapes"
        )
    n = len(x.shape) - 2
    return Sliding(
        _kernel(node),
        list(node.attributes.get_ints("strides", [1] * n)),
        list(node.attributes.get_ints("dilations", [1] * n)),
        _pads(node, n),
        node.attributes.get_int("group", 1),
        x.shape[0],
        _sizes(x, n),
        _sizes(y, n),
    )


def _kernel(node: ir.Node) -> list[int]:
    """The kernel's spatial shape, from the attribute or from the weight."""
    if "kernel_shape" in node.attributes:
        return list(node.attributes.get_ints("kernel_shape", []))
    w = node.inputs[1]
    sizes = [None] if w is None or w.shape is None else list(w.shape)[2:]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes):
        raise UnsupportedError(
            "the shape of its weight is unknown. Export the model with kernel_shape"
        )
    return known


def _pads(node: ir.Node, n: int) -> list[int]:
    """The padding of `n` axes, begins then ends, which canonization has made explicit."""
    if (
        node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        or "output_shape" in node.attributes
    ):
        raise UnsupportedError("its padding depends on sizes that are unknown. Export it with pads")
    pads = list(node.attributes.get_ints("pads", [0] * 2 * n))
    if len(pads) != 2 * n:
        raise UnsupportedError(f"it has {len(pads)} pads for {n} axes. Export it again")
    return pads


def _sizes(value: ir.Value, n: int) -> list[int | None]:
    if value.shape is None:
        return [None] * n
    return [size if isinstance(size, int) else None for size in list(value.shape)[2:]]
