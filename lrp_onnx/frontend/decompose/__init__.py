"""Operators that are written out in standard ones: contrib operators, quantized ones, and those
that a function of the standard defines; one module a family.  Importing the package fills the
registry.
"""

from importlib import import_module
from pkgutil import iter_modules

from lrp_onnx.frontend import quantized
from lrp_onnx.frontend.decompose.registry import DECOMPOSITIONS, WITHOUT_KERNEL
from lrp_onnx.frontend.decompose.standard_function import BY_FUNCTION, write_out_functions
from lrp_onnx.frontend.decompose.substitution import decompose, replace_node

__all__ = [
    "BY_FUNCTION",
    "DECOMPOSITIONS",
    "WITHOUT_KERNEL",
    "decompose",
    "replace_node",
    "write_out_functions",
]

for folder, package in ((__path__, __name__), (quantized.__path__, quantized.__name__)):
    for module in iter_modules(folder, f"{package}."):
        import_module(module.name)
