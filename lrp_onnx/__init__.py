"""Compile any ONNX model into one that also computes its Layer-wise Relevance Propagation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from lrp_onnx.answer.explain import explain
    from lrp_onnx.compiler.compiled import Compiled
    from lrp_onnx.compiler.stages import compile
    from lrp_onnx.data import digits
    from lrp_onnx.run.explainer import Explainer
    from lrp_onnx.run.similarity import similarity
    from lrp_onnx.validate.evaluate import evaluate
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

WHERE = {
    "Compiled": "compiler.compiled",
    "Explainer": "run.explainer",
    "compile": "compiler.stages",
    "digits": "data.digits",
    "evaluate": "validate.evaluate",
    "explain": "answer.explain",
    "save_heatmap": "visual.plot",
    "similarity": "run.similarity",
}
"""The modules of what is imported when it is asked for: the command says what Ctrl-C did in the
seconds that this takes, and a process that computes one thing has no use for the rest.
"""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from lrp_onnx.version import version

        return version()
    if name not in WHERE:
        raise AttributeError(f"module 'lrp_onnx' has no attribute {name!r}")
    module = import_module(f"{__name__}.{WHERE[name]}")
    value = getattr(module, name, module)  # digits are a module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What is public."""
    return [*__all__, "__version__"]
