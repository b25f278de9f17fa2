"""Control flow: the nodes in the bodies of If, Loop and Scan propagate by their own rules."""

from __future__ import annotations

from lrp_onnx.graph.subgraphs import CONTROL
from lrp_onnx.ops.registry import REGISTRY, record

__all__: list[str] = []

ABOUT = "What each node of its bodies gives, summed over iterations.  Spec: ONNX If, Loop, Scan-25."

REGISTRY.update(
    {("", name): record(name, "body", inputs=None, outputs="all", about=ABOUT) for name in CONTROL}
)
