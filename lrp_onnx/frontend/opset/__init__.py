"""Any opset from 7 to 28 becomes one that the compiler and every runtime knows: 18 to 21."""

from lrp_onnx.frontend.opset.convert import convert
from lrp_onnx.frontend.opset.weights import widen_weights

__all__ = ["convert", "widen_weights"]
