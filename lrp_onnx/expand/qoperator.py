"""Integer operators with quantised inputs and a quantised output (QOperator).

Each stays in the forward. To the explanation it is the float operator on its dequantised inputs,
followed by its quantiser.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

__all__: list[str] = []
