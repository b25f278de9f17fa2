"""Operators that index, order and contract: vector-Jacobian products against central differences.

The rows go through the checks of `test_vjp`; those with integers or conditions have them as
constants and, once more, as inputs of the run.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Case, assert_close, run
from reference import Network
from test_vjp import differences

import lrp_onnx

IDS = [[1, 0, -1, 1], [2, 2, 0, -3]]
GATHERED = [
    Case("GatherElements", {"axis": 1}, x=(2, 3), indices=IDS),
    Case("GatherElements", x=(3, 2, 2), indices=[[[0, 2], [1, 1]]]),
    Case("GatherElements", {"axis": -1}, x=(2, 3, 3), indices=np.zeros((2, 1, 2), np.int64)),
    Case("GatherElements", x=(2, 3), indices=np.zeros((0, 3), np.int64), sized=True),
    Case("GatherND", x=(3, 4), indices=[[0, 1], [2, -1], [0, 1]]),
    Case("GatherND", x=(3, 4, 2), indices=[[[1], [-1]], [[0], [1]]]),
    Case("GatherND", x=(3, 4, 2), indices=[[[1, 3]], [[-3, -4]]]),
    Case("GatherND", {"batch_dims": 1}, x=(2, 3, 4), indices=[[[1, 2], [0, -1]], [[-3, 0], [2, 2]]]),
    Case("GatherND", {"batch_dims": 1}, x=(2, 3, 4), indices=[[1], [-1]]),
    Case("GatherND", {"batch_dims": 2}, x=(2, 2, 3), indices=[[[1], [0]], [[2], [2]]]),
    Case("GatherND", x=(2, 3), indices=[1, 2], sized=True),
    Case("GatherND", x=(2, 3), indices=np.zeros((0, 1), np.int64), sized=True),
]  # fmt: skip

REDUCTIONS = ("none", "add", "mul", "max", "min")
TWICE = [[0, 2, 0], [1, 1, -1]]
ONCE = [[0, 2, 1], [-1, 1, 0]]
SCATTERED = [
    *[Case("ScatterElements", {"axis": 1, "reduction": r}, x=(2, 4), indices=ids, x2=(2, 3))
      for r in REDUCTIONS for ids in (ONCE, TWICE)],
    *[Case("ScatterElements", {"axis": -2, "reduction": r}, x=(3, 2, 2), indices=[[[1, 0]], [[2, 0]]],
           x2=(2, 1, 2)) for r in REDUCTIONS],
    *[Case("ScatterElements", {"axis": 1, "reduction": r}, x=(2, 3), indices=ids, u=(2, 3))
      for r in REDUCTIONS for ids in (ONCE, TWICE)],
    *[Case("ScatterElements", {"axis": 1, "reduction": r}, d=(2, 3), indices=ONCE, x=(2, 3))
      for r in REDUCTIONS],
    *[Case("ScatterND", {"reduction": r}, x=(4, 2), indices=ids, x2=(3, 2))
      for r in REDUCTIONS for ids in ([[0], [2], [-1]], [[0], [3], [-1]])],
    *[Case("ScatterND", {"reduction": r}, x=(3, 4, 2), indices=[[[0, 1]], [[2, -1]]], x2=(2, 1, 2))
      for r in REDUCTIONS],
    *[Case("ScatterND", {"reduction": r}, x=(2, 3), indices=[[0, 1], [0, 1], [1, 2], [0, 1]], x2=(4,))
      for r in REDUCTIONS],
    *[Case("ScatterND", {"reduction": r}, d=(4, 2), indices=[[0], [2]], x=(2, 2))
      for r in REDUCTIONS],
    Case("ScatterElements", x=(2, 3), indices=np.zeros((0, 3), np.int64), x2=(0, 3), sized=True),
    Case("ScatterND", x=(2, 3), indices=np.zeros((0, 1), np.int64), x2=(0, 3), sized=True),
    Case("Scatter", {"axis": 1}, x=(2, 3), indices=[[2], [0]], x2=(2, 1), opset=9),
]  # fmt: skip

AXISWISE = [
    *[Case("CumSum", {"exclusive": e, "reverse": r}, x=(2, 4, 2), axis=1)
      for e in (0, 1) for r in (0, 1)],
    Case("CumSum", x=(5,), axis=-1),
    Case("ReverseSequence", x=(4, 3, 2), lengths=[4, 1, 3]),
    Case("ReverseSequence", {"time_axis": 1, "batch_axis": 0}, x=(2, 4, 2), lengths=[2, 3]),
    Case("Trilu", x=(2, 3, 4)),
    Case("Trilu", {"upper": 0}, x=(4, 3), k=-1),
    Case("Trilu", x=(3, 3), k=2),
    Case("Compress", {"axis": 1}, x=(2, 4, 2), condition=[True, False, True]),
    Case("Compress", {"axis": -3}, x=(2, 4, 2), condition=[False, True]),
    Case("Compress", x=(2, 3), condition=[False, True, True, False, True]),
    Case("Compress", {"axis": 0}, x=(3, 2), condition=[False, False]),
    Case("TopK", x=(2, 5), k=[2]),
    Case("TopK", {"axis": 1, "largest": 0, "sorted": 0}, x=(2, 5, 2), k=[3]),
    Case("TopK", {"axis": 0}, x=(4,), k=[4]),
    Case("Unique", x=(7,)),
    Case("Unique", {"sorted": 0}, x=(2, 3)),
    Case("Unique", {"axis": 1}, x=(2, 3, 2)),
    Case("Unique", {"axis": -3, "sorted": 0}, x=(4, 2, 1)),
]  # fmt: skip

ROWS = [*GATHERED, *SCATTERED, *AXISWISE]
"""Rows of `test_every_registered_vjp_has_a_row` too."""


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
    assert_jacobian(case, at_run_time(case.model()), given)
