"""How a window slides over the axes behind batch and channels, as Conv, ConvTranspose, pools and
their kind say it.

Spec: ONNX Conv-11, ConvTranspose-11, MaxPool-12, AveragePool-19.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

__all__ = ["Window", "shared_out", "skips", "window_of", "window_of_proto"]


@dataclass(frozen=True)
class Window:
    """What the attributes say, one number a spatial axis."""

    kernel: tuple[int, ...] | None
    """Its sizes, those of the weight if no attribute says them; None where nothing does."""
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    """Begins, then ends."""
    mode: str
    """NOTSET where `pads` hold, else how the padding follows from sizes: SAME_UPPER, …"""
    output_padding: tuple[int, ...]
    rounds_up: bool
    """Whether a last window counts that is not whole (`ceil_mode`)."""

    def padding(self, axis: int) -> tuple[int, int]:
        """In front and behind along a spatial axis."""
        return self.pads[axis], self.pads[len(self.pads) // 2 + axis]

    @property
    def reach(self) -> tuple[int, ...] | None:
        """How many elements it spans along each axis."""
        if self.kernel is None:
            return None
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def dilated(self) -> bool:
        """Whether there are gaps in it."""
        return any(d != 1 for d in self.dilations)

    @property
    def stays(self) -> bool:
        """Whether there are as many windows as elements if each spans one: stride 1, no pads."""
        return all(s == 1 for s in self.strides) and not any(self.pads)


def window_of(node: ir.Node, axes: int | None = None) -> Window:
    """That of a node with so many spatial axes, by default as many as its kernel has."""
    return _window(node.attributes, _of_weight(node), axes)


def window_of_proto(node: onnx.NodeProto) -> Window:
    """That of a pool."""
    attributes = (ir.serde.deserialize_attribute(a) for a in node.attribute)
    return _window({a.name: a for a in attributes}, None, None)


def _window(
    attributes: Mapping[str, ir.Attr], weight: tuple[int, ...] | None, axes: int | None
) -> Window:
    own = {name: tuple(a.as_ints()) for name in INTS if (a := attributes.get(name)) is not None}
    kernel = own.get("kernel_shape", weight)
    n = axes if axes is not None else len(kernel or own.get("strides", ()))
    mode, rounds_up = attributes.get("auto_pad"), attributes.get("ceil_mode")
    return Window(
        kernel,
        own.get("strides", (1,) * n),
        own.get("dilations", (1,) * n),
        own.get("pads", (0,) * 2 * n),
        "NOTSET" if mode is None else mode.as_string(),
        own.get("output_padding", (0,) * n),
        rounds_up is not None and bool(rounds_up.as_int()),
    )


INTS = ("kernel_shape", "strides", "dilations", "pads", "output_padding")


def _of_weight(node: ir.Node) -> tuple[int, ...] | None:
    """The spatial shape of input 1."""
    w = node.inputs[1] if len(node.inputs) > 1 else None
    sizes = [None] if w is None or w.shape is None else list(w.shape)[2:]
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == len(sizes) else None


def shared_out(total: int, mode: str) -> tuple[int, int]:
    """A padding in front and behind; the odd element is behind for SAME_UPPER, else in front."""
    front = (total + (mode != "SAME_UPPER")) // 2
    return front, total - front


def skips(total: int | None, stride: int, reach: int) -> bool:
    """Whether the padding that SAME asks for is, or may be, so far below 0 that runtimes which do
    not take it for 0 start behind the first element.

    total: the padding, None where only the run knows it.
    """
    return reach + 1 < stride and (total is None or total < -1)
