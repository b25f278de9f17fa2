"""The operators, one module a family; importing the package fills the registry."""

from importlib import import_module
from pkgutil import iter_modules

from lrp_onnx.ops.registry import KINDS, REGISTRY, Op, find, op

__all__ = ["KINDS", "REGISTRY", "Op", "find", "op"]

for module in iter_modules(__path__, f"{__name__}."):
    import_module(module.name)
