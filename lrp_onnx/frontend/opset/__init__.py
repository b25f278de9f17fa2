"""Any opset from 7 to 28 becomes one that the compiler and every runtime knows: 18 to 21.

A compiled model is written at an older one, 13 to 17, where it is asked for.
"""

from lrp_onnx.frontend.opset.convert import convert
from lrp_onnx.frontend.opset.older import OLDER, write_at
from lrp_onnx.frontend.opset.weights import widen_weights

__all__ = ["OLDER", "convert", "widen_weights", "write_at"]
