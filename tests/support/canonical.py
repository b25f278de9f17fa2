"""The canonical view of a model, and whether it computes the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
from models import assert_close, normalized, run

from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.graph.model_file import load
from lrp_onnx.lowering.lower import LOWERINGS


def canonized(model: onnx.ModelProto) -> ir.Model:
    result = normalized(load(model))
    canonize(result)
    return result


def as_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as a runtime takes it."""
    for node in [n for n in model.graph if n.domain == "lrp"]:
        LOWERINGS[node.op_type](model.graph, node)
    model.opset_imports.pop("lrp", None)
    return ir.to_proto(model)


def counts(model: ir.Model) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph))


def assert_same_forward(
    before: onnx.ModelProto, after: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]
) -> None:
    """Every output within 1e-5 of its largest value on three random inputs."""
    rng = np.random.default_rng(7)
    for _ in range(3):
        feeds = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
        expected, actual = run(before, feeds), run(after, feeds)
        for name, value in expected.items():
            assert_close(actual[name], value, 1e-5, name)
