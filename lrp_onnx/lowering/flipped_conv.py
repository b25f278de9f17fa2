"""The transpose of a convolution with stride 1 as a convolution: kernels turned round, input and
output channels exchanged, by nodes on the weight that runtimes compute when they load the model.

Time of Conv beside ConvTranspose on ONNX Runtime's CPU provider, one thread, shapes of VGG-16,
ResNet-50 and MobileNetV2: 0.62 to 0.76 dense 3×3, 0.94 to 0.98 for 1×1, 0.10 to 0.44 depthwise, but
2.5 with 3 input channels, since Conv pads its outputs to 16.  For 1×1 MatMul took as long as Conv,
and so did a convolution over one axis, which needs no change of layout.  CUDA has a kernel for the
transpose itself (cuDNN's backward data), and the weight is then kept once.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.ops.conv_geometry import Sliding
from lrp_onnx.ops.operands import LAST

__all__ = ["exchanged", "has_channels", "is_turned", "turned_conv"]

FEWEST_CHANNELS = 8
"""Input channels of a layer from which on Conv takes less time."""


def is_turned(emit: Emit, w: ir.Value, at: Sliding) -> bool:
    """Whether the transpose is emitted so: the stride is 1, the padding not negative, the channels
    of groups are known, and there are enough of them.
    """
    if (
        not emit.optimize
        or emit.runtime.fast_transpose
        or any(stride != 1 for stride in at.strides)
    ):
        return False
    return min(_around(at)) >= 0 and has_channels(w, at.group)


def has_channels(w: ir.Value, group: int) -> bool:
    """Whether the layer has enough input channels for Conv; of groups they must be known."""
    shape = static_shape(w)
    if shape is None:
        return group == 1
    return group * shape[1] >= FEWEST_CHANNELS


def turned_conv(emit: Emit, s: ir.Value, w: ir.Value, at: Sliding) -> ir.Value:
    """The vector-Jacobian product over the input of Conv with stride 1.

    s: (N, M, *out)    w: (M, C/group, *k)    ->    c: (N, C, *in).    Spec: ONNX Conv-11.
    """
    turned = exchanged(emit, _turned(emit, w, at.kernel), w, at.kernel, at.group)
    return emit.op(
        "Conv",
        s,
        turned,
        kernel_shape=at.kernel,
        strides=at.strides,
        dilations=at.dilations,
        group=at.group,
        pads=_around(at),
    )


def _around(at: Sliding) -> list[int]:
    """The padding of the transpose."""
    n = at.axes
    return [at.dilations[k % n] * (at.kernel[k % n] - 1) - p for k, p in enumerate(at.pads)]


def _turned(emit: Emit, w: ir.Value, kernel: Sequence[int]) -> ir.Value:
    """Every kernel read from its last element to its first."""
    axes = [k + 2 for k, size in enumerate(kernel) if size != 1]
    if not axes:
        return w
    minus = emit.ints(*[-1] * len(axes))
    return emit.op("Slice", w, minus, emit.ints(*[-LAST] * len(axes)), emit.ints(*axes), minus)


def exchanged(
    emit: Emit, turned: ir.Value, w: ir.Value, kernel: Sequence[int], group: int
) -> ir.Value:
    """Input and output channels of each group exchanged: (M, C/g, *k) -> (C, M/g, *k).

    turned: elements of the weight w, which has as many channels.
    """
    rank = known_rank(w)
    if group == 1:
        return emit.op("Transpose", turned, perm=[1, 0, *range(2, rank)])
    sizes = static_shape(w)
    assert sizes is not None
    outputs, channels = sizes[:2]
    if outputs == group and channels == 1:
        return turned
    apart = emit.op("Reshape", turned, emit.ints(group, -1, channels, *kernel))
    swapped = emit.op("Transpose", apart, perm=[0, 2, 1, *range(3, rank + 1)])
    return emit.op("Reshape", swapped, emit.ints(group * channels, outputs // group, *kernel))
