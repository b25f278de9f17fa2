"""Operators that index, order and contract: vector-Jacobian products against central differences.

The rows go through the checks of `test_vjp`; those with integers or conditions have them as
constants and, once more, as inputs of the run.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from indexing import ROWS
from models import Case, assert_close, run
from reference import Network
from test_vjp import differences

import lrp_onnx
from lrp_onnx.errors import UnsupportedError


def at_run_time(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its integer and truth constants as inputs of any size but of known rank."""
    graph = model.graph
    moved = [t for t in graph.initializer if t.data_type not in (1, 10, 11)]
    for tensor in moved:
        graph.initializer.remove(tensor)
        last = tensor.dims[-1:] if tensor.name == "indices" else []  # of tuples
        shape = [f"{tensor.name}_{k}" for k in range(len(tensor.dims) - len(last))]
        graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, [*shape, *last])
        )
    del graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def assert_jacobian(case: Case, model: onnx.ModelProto, given: dict[str, np.ndarray]) -> None:
    compiled = lrp_onnx.compile(
        model, composite="gradient", target="seed", start="one", check=False,
        explain=list(case.activations),
    )  # fmt: skip
    feeds = case.feeds()
    forward = Network(case.model()).forward(feeds)["y"]
    seed = np.random.default_rng(0).standard_normal(forward.shape).astype(np.float32)
    outputs = run(compiled.model, {**feeds, **given, "y_seed": seed})
    assert_close(outputs["y"], forward)
    for name, expected in differences(case, feeds, seed).items():
        assert_close(outputs[f"{name}_relevance"], expected)


UNKNOWN = [row.unknown() for row in ROWS if not row.symbolic and not row.sized]


@pytest.mark.parametrize("case", [*ROWS, *UNKNOWN], ids=str)
def test_vjp_is_the_jacobian(case: Case) -> None:
    assert_jacobian(case, case.model(), {})


@pytest.mark.parametrize("case", [*ROWS, *UNKNOWN], ids=str)
def test_what_indexes_may_come_at_run_time(case: Case) -> None:
    given = {k: v for k, v in case.constants().items() if v.dtype.kind in "ib"}
    if case.attributes.get("reduction") == "mul" and "d" in case.inputs:
        with pytest.raises(UnsupportedError, match="may meet in one element"):
            lrp_onnx.compile(at_run_time(case.model()), composite="gradient")
        return
    assert_jacobian(case, at_run_time(case.model()), given)
