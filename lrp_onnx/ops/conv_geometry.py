"""How the kernel of Conv and ConvTranspose slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.graph.windows import Window, window_of
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
    window = window_of(node, n)
    if window.kernel is None:
        raise UnsupportedError(
            "the shape of its weight is unknown. Export the model with kernel_shape"
        )
    _check_pads(node, window, n)
    return Sliding(
        list(window.kernel),
        list(window.strides),
        list(window.dilations),
        list(window.pads),
        node.attributes.get_int("group", 1),
        x.shape[0],
        _sizes(x, n),
        _sizes(y, n),
    )


def _check_pads(node: ir.Node, window: Window, n: int) -> None:
    """Canonization has made the padding of the `n` axes explicit, where it could."""
    if window.mode not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        raise UnsupportedError("its padding depends on sizes that are unknown. Export it with pads")
    if len(window.pads) != 2 * n:
        raise UnsupportedError(f"it has {len(window.pads)} pads for {n} axes. Export it again")


def _sizes(value: ir.Value, n: int) -> list[int | None]:
    if value.shape is None:
        return [None] * n
    return [size if isinstance(size, int) else None for size in list(value.shape)[2:]]
