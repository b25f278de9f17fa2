"""Compile any ONNX model into one that also computes its Layer-wise Relevance Propagation."""

from typing import TYPE_CHECKING, Any

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.stages import compile
from lrp_onnx.errors import (
    CheckError,
    CompositeError,
    InputError,
    InternalError,
    LrpError,
    ModelError,
    OptionError,
    OutputError,
    RuleError,
    TargetError,
    UnsupportedError,
)
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.similarity import similarity
from lrp_onnx.validate.evaluate import evaluate

if TYPE_CHECKING:
    from lrp_onnx.answer.explain import explain
    from lrp_onnx.data import digits
    from lrp_onnx.visual.plot import save_heatmap

__all__ = [
    "CheckError",
    "Compiled",
    "CompositeError",
    "Explainer",
    "InputError",
    "InternalError",
    "LrpError",
    "ModelError",
    "OptionError",
    "OutputError",
    "RuleError",
    "TargetError",
    "UnsupportedError",
    "compile",
    "digits",
    "evaluate",
    "explain",
    "save_heatmap",
    "similarity",
]


def __getattr__(name: str) -> Any:
    """The version, and what needs matplotlib, which is slow, only when it is asked for."""
    if name == "__version__":
        from lrp_onnx.version import version

        return version()
    if name == "digits":
        from lrp_onnx.data import digits

        return digits
    if name == "explain":
        from lrp_onnx.answer.explain import explain

        return explain
    if name == "save_heatmap":
        from lrp_onnx.visual.plot import save_heatmap

        return save_heatmap
    raise AttributeError(f"module 'lrp_onnx' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is public."""
    return [*__all__, "__version__"]
