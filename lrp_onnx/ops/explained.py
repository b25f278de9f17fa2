"""A value whose relevance is that of another one, computed beside it for the explanation alone.

`lrp::ExplainedBy(y, z)` is y in the forward: an operator that the runtime has a fast kernel for
(LSTM, QLinearConv) computes it as before.  Relevance goes to z, the same value spelled in operators
that have rules.  `optimize` puts y in its place.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.registry import op

__all__: list[str] = []


@op("ExplainedBy", kind="move", domain="lrp", inputs=(1,), gates=(0,), elementwise=True)
def explained_by(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s, to the second input."""
    return s
