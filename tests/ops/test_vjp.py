"""Every vector-Jacobian product against central differences of the forward, in float64.

The compiled relevance under the composite `gradient`, started at one with a random seed, is the
seed's vector-Jacobian product. A new operator is one row; one without a row fails.
"""

from __future__ import annotations

import indexing
import numpy as np
import pytest
import tables_signal
from attention import ATTENTION
from models import Case, assert_close, run
from oracle_walk import SELECTIONS, explain
from reference import Network, finite_difference
from tables import LINEAR
from test_attention import VJP_ROWS

import lrp_onnx
from lrp_onnx.ops import REGISTRY

POOLS = [
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, x=(2, 2, 4, 6)),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
         x=(1, 2, 5, 6)),
    Case("MaxPool", {"kernel_shape": [2, 3], "pads": [1, 0, 0, 2]}, x=(1, 1, 4, 4)),
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, x=(1, 2, 5, 5)),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, x=(1, 2, 6, 6)),
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3]}, x=(1, 2, 7, 7)),
    # no window starts in the padding behind; of known sizes onnx would infer one too many
    Case("MaxPool", {"kernel_shape": [2, 1], "strides": [2, 3], "pads": [1, 0, 1, 0],
                     "ceil_mode": 1}, x=(1, 2, 7, 6), symbolic=(0, 2, 3)),
    Case("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, x=(1, 1, 5, 4)),
    Case("MaxPool", {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"}, x=(2, 2, 6)),
    Case("MaxPool", {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"},
         x=(1, 1, 4, 5)),
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "VALID"},
         x=(1, 1, 5, 5)),
    Case("MaxPool", {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, x=(1, 2, 4, 4, 2)),
    Case("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, x=(2, 2, 4, 6)),
    Case("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
         x=(1, 2, 5, 6)),
    Case("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "count_include_pad": 1},
         x=(1, 2, 4, 4)),
    Case("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1]}, x=(1, 2, 4, 4)),
    Case("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
         x=(1, 2, 5, 5)),
    Case("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1,
                         "pads": [1, 1, 1, 1], "count_include_pad": 1}, x=(1, 1, 6, 6), opset=19),
    Case("AveragePool", {"kernel_shape": [2, 1], "strides": [2, 3], "pads": [1, 0, 1, 0],
                         "ceil_mode": 1, "count_include_pad": 1},
         x=(1, 2, 7, 6), symbolic=(0, 2, 3)),
    Case("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, x=(1, 1, 5, 4), opset=19),
    Case("AveragePool", {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"},
         x=(2, 2, 6)),
    Case("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
         x=(1, 1, 5, 5)),
    Case("AveragePool", {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, x=(1, 2, 4, 4, 2)),
    Case("GlobalAveragePool", x=(2, 3, 3, 4)),
    Case("GlobalAveragePool", x=(1, 2, 5)),
    Case("GlobalMaxPool", x=(2, 3, 3, 4)),
    Case("GlobalMaxPool", x=(1, 2, 2, 3, 2)),
    Case("LRN", {"size": 3}, x=(2, 4, 2, 2)),
    Case("LRN", {"size": 5, "alpha": 0.5, "beta": 0.6, "bias": 2.0}, x=(1, 6, 2, 2)),
]  # fmt: skip

REDUCE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
REDUCTIONS = [
    *[Case(op, {"keepdims": keep}, x=(2, 3, 4), axes=axes)
      for op in REDUCE for keep, axes in ((1, [1]), (0, [-1]), (0, [0, 2]))],
    *[Case(op, {"keepdims": 0}, x=(2, 3)) for op in REDUCE],
    Case("ReduceMean", {"noop_with_empty_axes": 1}, x=(2, 3)),
    Case("ReduceMean", {"axes": [1, 2]}, x=(2, 3, 4), opset=13),
    Case("ReduceSum", x=(2, 3, 2, 2), axes=[2, 3]),
]  # fmt: skip

POSITIVE, UNIT = (0.5, 2.0), (-0.9, 0.9)
BINARY = ("Add", "Sub", "Mul", "Div")
ARITHMETIC = [
    *[Case(op, x=(2, 3, 4), b=(3, 1), between=POSITIVE) for op in BINARY],
    *[Case(op, b=(2, 1, 4), x=(3, 1), between=POSITIVE) for op in BINARY],
    *[Case(op, x=(2, 3), x2=(3,), between=POSITIVE) for op in BINARY],
    *[Case(op, x=(2, 1, 3), x2=(2, 4, 1), between=POSITIVE) for op in BINARY],
    Case("Sum", x=(2, 3), x2=(1, 3), b=(3,)),
    Case("Sum", x=(2, 3), x2=(2, 1), x3=(1,)),
    Case("Sum", x=(2, 3)),
    Case("Neg", x=(2, 3)),
    Case("Pow", x=(2, 3), c=[2.0], between=POSITIVE),
    Case("Pow", x=(2, 3), c=[1.0]),
    Case("Sqrt", x=(2, 3), between=POSITIVE),
    Case("Exp", x=(2, 3)),
    Case("Abs", x=(2, 3)),
    Case("Reciprocal", x=(2, 3), between=POSITIVE),
    Case("Log", x=(2, 3), between=POSITIVE),
    Case("Max", x=(2, 3), x2=(3,)),
    Case("Max", x=(2, 3), x2=(3,), x3=(2, 1), b=(3,)),
    Case("Max", x=(2, 3), b=(3,)),
    Case("Min", x=(2, 3), x2=(3,)),
    *[Case(op, x=(2, 3)) for op in ("Sin", "Cos", "Tan", "Sinh", "Cosh", "Asinh", "Atan")],
    *[Case(op, x=(2, 3), between=UNIT) for op in ("Asin", "Acos", "Atanh")],
    Case("Acosh", x=(2, 3), between=(1.1, 3.0)),
    Case("Where", condition=[[True, False, True]], x=(2, 3), x2=(2, 1)),
    Case("Where", condition=[[True], [False]], x=(3,), b=(2, 3)),
    Case("Where", condition=[[True], [False]], b=(), x=(2, 3)),
    Case("BatchNormalization",
         x=(2, 3, 2, 2), scale=(3,), b=(3,), mean=(3,), variance=[0.5, 1.0, 2.0]),
    Case("BatchNormalization", {"epsilon": 0.1},
         x=(2, 3), scale=(3,), b=(3,), mean=(3,), variance=[0.5, 1.0, 2.0]),
]  # fmt: skip

MOVES = [
    Case("Concat", {"axis": 1}, x=(2, 3, 2), x2=(2, 1, 2)),
    Case("Concat", {"axis": -1}, x=(2, 3), b=(2, 2), x3=(2, 1)),
    Case("Concat", {"axis": 0}, x=(2, 3), x2=(1, 3)),
    Case("Split", {"axis": 1}, x=(2, 5), split=[2, 3], outputs=2),
    Case("Split", {"axis": -1, "num_outputs": 3}, x=(2, 7), outputs=3),
    Case("Slice", x=(2, 5, 4), starts=[1], ends=[4], axes=[1]),
    Case("Slice", x=(2, 5, 4), starts=[-1, 0], ends=[-9, 4], axes=[-2, 2], steps=[-2, 3]),
    Case("Slice", x=(2, 5, 4), starts=[1, 1], ends=[2**31 - 1, 3], axes=[2, 1]),
    Case("Slice", x=(3, 4), starts=[0, 1], ends=[2, 3]),
    Case("Gather", {"axis": 1}, x=(2, 5, 2), indices=[0, 3, -1, 3]),
    Case("Gather", {"axis": -1}, x=(2, 4), indices=[[0, 2], [2, 1]]),
    Case("Gather", x=(3, 2), indices=1),
    Case("Pad", x=(2, 3, 4), pads=[0, 1, 2, 0, 0, 1]),
    Case("Pad", x=(2, 3), pads=[1, 0, 0, 2], value=3.0),
    Case("Pad", x=(2, 4), pads=[0, -1, 0, 2]),
    Case("Pad", x=(2, 3, 4), pads=[1, 2], value=0.0, axes=[-1]),
    Case("Pad", {"mode": "reflect"}, x=(1, 2, 3, 4), pads=[0, 0, 1, 2, 0, 0, 2, 1]),
    Case("Pad", {"mode": "edge"}, x=(1, 2, 3, 4), pads=[0, 0, 1, 2, 0, 0, 2, 1]),
    Case("Pad", {"mode": "wrap"}, x=(2, 4), pads=[0, 1, 0, 2], opset=19),
    Case("Reshape", x=(2, 3, 4), shape=[0, -1]),
    Case("Reshape", x=(2, 6), shape=[3, 4]),
    Case("Flatten", x=(2, 3, 4)),
    Case("Flatten", {"axis": -1}, x=(2, 3, 4)),
    Case("Flatten", {"axis": 0}, x=(2, 3)),
    Case("Transpose", {"perm": [0, 2, 3, 1]}, x=(2, 3, 2, 4)),
    Case("Transpose", x=(2, 3, 4)),
    Case("Squeeze", x=(2, 1, 3, 1), axes=[1, -1]),
    Case("Squeeze", x=(2, 1, 3), sized=True),
    Case("Unsqueeze", x=(2, 3), axes=[0, -1]),
    Case("Expand", x=(2, 1, 3), shape=[4, 2, 5, 1]),
    Case("Expand", x=(2, 3), shape=[1, 1]),
    Case("Tile", x=(2, 3), repeats=[2, 3]),
    Case("Tile", x=(2, 3, 2), repeats=[1, 2, 2]),
    Case("Identity", x=(2, 3)),
    Case("Dropout", x=(2, 3)),
    Case("Cast", {"to": 1}, x=(2, 3)),
    Case("CastLike", x=(2, 3), like=(1,)),
    Case("DepthToSpace", {"blocksize": 2}, x=(2, 8, 2, 3)),
    Case("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, x=(1, 8, 2, 3)),
    Case("SpaceToDepth", {"blocksize": 2}, x=(2, 2, 4, 6)),
    Case("OneHot", indices=[2, 0, -1], depth=3, x=(2,)),
    Case("OneHot", {"axis": 0}, indices=[[1, 5], [0, 2]], depth=3, x=(2,)),
    Case("Range", x=(), limit=5.0, x2=(), between=(0.5, 1.0)),
    Case("Range", x=(), limit=3.0, delta=0.7, between=(0.5, 1.0)),
]  # fmt: skip

RESIZES = [
    Case("Resize", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
         x=(2, 2, 2, 3), roi=None, scales=[1.0, 1.0, 2.0, 2.0]),
    Case("Resize", {"mode": "nearest"}, x=(1, 2, 2, 3), roi=None, scales=None, sizes=[1, 2, 4, 5]),
    Case("Resize", {"mode": "nearest"}, x=(1, 1, 4, 4), roi=None, scales=[1.0, 1.0, 0.5, 0.75]),
    *[Case("Resize", {"mode": "linear", "coordinate_transformation_mode": mode},
           x=(1, 2, 3, 4), roi=None, scales=[1.0, 1.0, 2.0, 1.5])
      for mode in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")],
    Case("Resize", {"mode": "linear"}, x=(1, 1, 4, 6), roi=None, scales=None, sizes=[1, 1, 3, 2]),
    Case("Upsample", {"mode": "nearest"}, x=(1, 2, 2, 3), scales=[1.0, 1.0, 2.0, 3.0], opset=9),
    Case("Upsample", {"mode": "linear"}, x=(1, 2, 2, 3), scales=[1.0, 1.0, 2.0, 2.0], opset=9),
]  # fmt: skip

PLAIN = ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "Tanh", "Softplus", "Softsign",
         "Shrink", "HardSwish", "Mish", "Erf", "ThresholdedRelu")  # fmt: skip
ACTIVATIONS = [
    *[Case(op, x=(2, 3, 4)) for op in PLAIN],
    Case("Sigmoid", x=(2, 3, 4), then="Neg"),  # at the end relevance would start at its input
    Case("Shrink", {"bias": 0.2, "lambd": 0.3}, x=(3, 4)),
    Case("Gelu", x=(2, 3, 4), opset=20),
    Case("Gelu", {"approximate": "tanh"}, x=(2, 3, 4), opset=20),
    Case("LeakyRelu", {"alpha": 0.3}, x=(3, 4)),
    Case("Elu", {"alpha": 0.7}, x=(3, 4)),
    Case("Celu", {"alpha": 0.7}, x=(3, 4)),
    Case("Selu", {"alpha": 1.5, "gamma": 1.1}, x=(3, 4)),
    Case("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, x=(3, 4)),
    Case("ThresholdedRelu", {"alpha": 0.5}, x=(3, 4)),
    Case("PRelu", x=(2, 3, 2), slope=(3, 1)),
    Case("PRelu", x=(2, 3), slope=(1,)),
    Case("Clip", x=(3, 4), low=-0.5, high=0.5),
    Case("Clip", x=(3, 4), low=None, high=0.3),
    Case("Clip", x=(3, 4), low=0.0),
    Case("Clip", x=(3, 4)),
]  # fmt: skip

ROWS = [
    *LINEAR,
    *POOLS,
    *REDUCTIONS,
    *ARITHMETIC,
    *MOVES,
    *RESIZES,
    *ACTIVATIONS,
    *VJP_ROWS,
    *ATTENTION,
]

# differences of a float64 forward are good to 1e-9; the compiled graph is float32
STEP = 1e-5


def differences(
    network: Network, feeds: dict[str, np.ndarray], seed: np.ndarray
) -> dict[str, np.ndarray]:
    """Gradient of Σ seed·y with respect to every activation of the row."""
    return {
        name: finite_difference(
            lambda v, name=name: network.forward({**feeds, name: v})["y"],
            x.astype(float),
            seed,
            STEP,
        )
        for name, x in feeds.items()
    }


UNKNOWN = [row.unknown() for row in ROWS if not row.symbolic and not row.sized]


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_vjp_is_the_jacobian(case: Case) -> None:
    check_jacobian(case)


def check_jacobian(case: Case) -> None:
    """The forward is right, and relevance under `gradient` is the difference quotient, with sizes
    that are known and with unknown ones.
    """
    feeds, network = case.feeds(), Network(case.model())
    forward = network.forward(feeds)["y"]
    seed = np.random.default_rng(0).standard_normal(forward.shape).astype(np.float32)
    expected = differences(network, feeds, seed)
    for row in case.with_unknown():
        compiled = lrp_onnx.compile(
            row.model(), composite="gradient", target="seed", start="one", check=False
        )
        outputs = run(compiled.model, {**feeds, "y_seed": seed})
        assert_close(outputs["y"], forward)
        for name, gradient in expected.items():
            assert_close(outputs[f"{name}_relevance"], gradient)


@pytest.mark.parametrize("case", [row for row in ROWS if row.op in SELECTIONS], ids=str)
def test_first_of_equals_wins(case: Case) -> None:
    """Few distinct values, none above 0: ties everywhere, and no padding may win."""
    x = -np.random.default_rng(3).integers(0, 3, case.activations["x"]).astype(np.float32)
    compiled = lrp_onnx.compile(
        case.model(), composite="epsilon", target="seed", start="one", check=False
    )
    seed = np.random.default_rng(0).standard_normal(
        Network(case.model()).forward({"x": x})["y"].shape
    )
    outputs = run(compiled.model, {"x": x, "y_seed": seed.astype(np.float32)})
    assert_close(outputs["x_relevance"], explain(case.model(), {"x": x}, seed, {})["x"])


STRAIGHT_THROUGH = {"QuantizeLinear", "DynamicQuantizeLinear"}
"""Rounding: the derivative is 0 wherever it exists, and what is given back is not it."""


def test_every_registered_vjp_has_a_row() -> None:
    registered = {name for (domain, name), op in REGISTRY.items() if op.vjp and not domain}
    rows = [*ROWS, *tables_signal.ROWS, *indexing.ROWS]
    registered -= STRAIGHT_THROUGH
    assert registered - {case.op for case in rows} == set(), "add a Case to ROWS"


@pytest.mark.parametrize("op", ["Tanh", "Conv"])
def test_differences_refuse_1_percent(op: str) -> None:
    case = next(row for row in ROWS if row.op == op)
    feeds, network = case.feeds(), Network(case.model())
    expected = differences(network, feeds, np.ones(network.forward(feeds)["y"].shape))["x"]
    with pytest.raises(AssertionError, match="max"):
        assert_close(1.01 * expected, expected)
