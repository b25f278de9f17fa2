"""Whether a picture's numbers are as large as those that a network's first convolution learned on.

Training leaves the sums w·x of a first convolution about as large as its biases b, which a folded
normalization has put there too: of 34 photos in each of 11 networks rms(w·x) / rms(b) is 0.12 to
6.5 as they want them prepared.  Pixels of 0 to 255 in place of small numbers make it 21 to 750,
small numbers in place of pixels 0.0016 to 0.02: 440 of 442 are told, and none of the 374 others.

Among small numbers (0 to 1, -1 to 1, less a mean) nothing tells, and little depends on it: of 20
photos EfficientNet-lite0 names 17 rightly by its own numbers, 16 or 17 by these, 1 by pixels.  How
sure the prediction is does not tell either: three of four networks were surest of pixels that they
did not want, and at odds of 2 a surer preparation was found for 19 to 100 % of the right ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Array

__all__ = ["odd_scale"]

LARGE, SMALL = 18.0, 0.03
"""Beyond which the sums are of another preparation."""
FEWEST_DETAILS = 0.05
"""A picture whose numbers differ by less, in parts of their range, has sums of any size."""
FEWEST_CHANNELS = 16
"""Of a convolution with fewer the biases may be small by chance: the bundled digits have 15."""
WINDOWS = 400
"""About so many of a picture are looked at."""
PASSED = ("Cast", "Identity", "Transpose", "Pad")


def odd_scale(value: ir.Value, x: Array, low: float, high: float) -> str:
    """What is to be said of a picture whose numbers have another size than the network's; empty
    where they fit, or where no convolution tells.

    value: the input, of a model whose normalizations are folded. low, high: the ends of its range.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 4 or x.std() < FEWEST_DETAILS * (high - low):
        return ""
    for conv, transposed in _convolutions(value, x):
        times = _times(conv, transposed)
        if times is not None and not SMALL <= times <= LARGE:
            much = "larger" if times > 1 else "smaller"
            other = "imagenet, inception or unit" if times > 1 else "byte"
            return (
                f"input {value.name!r}: its numbers are far {much} than those that the network "
                f"learned on (its first convolution makes sums of them {times:.3g} times as large "
                f"as its biases, where 0.1 to 6 is usual): try --preprocess {other}"
            )
    return ""


def _convolutions(value: ir.Value, x: NDArray[np.float64]) -> Iterator[tuple[ir.Node, Array]]:
    """Those that read the input, and what they are given but for a border."""
    for node in value.consumers():
        if node.op_type == "Conv" and node.inputs[0] is value:
            yield node, x
        elif node.op_type in PASSED and node.inputs[0] is value:
            order = node.attributes.get("perm")
            transposed = x.transpose(order.as_ints()) if order is not None else x
            yield from _convolutions(node.outputs[0], transposed)


def _times(conv: ir.Node, x: NDArray[np.float64]) -> float | None:
    """How large its sums are, in biases; None where it has none."""
    tensors = [None if v is None else ir.convenience.get_const_tensor(v) for v in conv.inputs[1:3]]
    if len(tensors) < 2 or tensors[0] is None or tensors[1] is None:
        return None
    w, b = (tensor.numpy().astype(np.float64) for tensor in tensors if tensor is not None)
    size = float(np.sqrt(np.mean(b**2)))
    if w.ndim != 4 or len(w) < FEWEST_CHANNELS or w.shape[1] != x.shape[1] or not size:
        return None
    if min(x.shape[2:]) < max(w.shape[2:]):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    step = max(1, math.isqrt(windows.shape[2] * windows.shape[3] // WINDOWS))
    sums = np.einsum("ncyxij,mcij->nmyx", windows[:, :, ::step, ::step], w, optimize=True)
    return float(np.sqrt(np.mean(sums**2))) / size
