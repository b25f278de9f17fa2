"""What a graph is made for: everything that runs ONNX, or a provider of ONNX Runtime; one record
each, with every fact that the lowering uses of it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RUNTIMES", "Runtime"]


@dataclass(frozen=True)
class Runtime:
    """What a runtime computes fast, as measured beside the code that asks."""

    name: str
    computes_ahead: bool = True
    """Whether it computes what weights alone decide once, when it loads the model, and loads loops
    in loops and weights that are read in two ways."""
    fast_transpose: bool = False
    """Whether it has a kernel for the transpose of a convolution, as cuDNN has."""
    fast_choice: bool = False
    """Whether Where and Sign take no longer than arithmetic."""
    free_order: bool = False
    """Whether neither the order of nodes in the file nor the layout of a convolution's result
    decides how long they take."""


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("portable", computes_ahead=False),
        Runtime("cpu"),
        Runtime("cuda", fast_transpose=True, fast_choice=True, free_order=True),
    )
}
