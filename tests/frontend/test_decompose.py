"""Operators that are written out in standard ones: the forward against ONNX Runtime running the
operator itself, and the vector-Jacobian product against differences in float64.

The differences are those of the written-out model, whose forward was just seen to be the operator's
own: the contrib operators exist in float32 only.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from decompositions import MS, ROW, Array, Row, Run, X
from models import assert_close, normalized, run
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_
from reference import Network, assert_gradient
from tables_attention import ATTENTIONS, GROUPS, ROTARY, SCALED

import lrp_onnx
from lrp_onnx.frontend.decompose import (
    BY_FUNCTION,
    DECOMPOSITIONS,
    activation,
    composed,
    fused,
    fused_attention,
    grouped_query_attention,
    norm,
    renamed,
    rotary,
    standard_attention,
)
from lrp_onnx.frontend.decompose import WITHOUT_KERNEL as LISTED
from lrp_onnx.graph.annotations import REFUSED
from lrp_onnx.graph.model_file import load

IDS = Run(np.array([[1, 4, 2], [0, 3, 3]], np.int32))
SEGMENTS = Run(np.array([[0, 0, 1], [1, 0, 1]], np.int32))
MASK = Run(np.array([[1, 1, 0], [1, 1, 1]], np.int32))
PLACES = Run(np.array([[2, 0, 1]], np.int32))
EMBED = [IDS, SEGMENTS, [5, 8], [4, 8], [2, 8], ROW, ROW]
NORMED = ("y", "", "", "total")
ACTIVATIONS = [
    Row("QuickGelu", [X]),
    Row("QuickGelu", [X], {"alpha": 1.1}),
    Row("Gelu", [X]),
    Row("FastGelu", [X]),
    Row("FastGelu", [X, ROW]),
    Row("BiasGelu", [X, ROW]),
]  # fmt: skip

WITHOUT_KERNEL = [
    Row("BiasSplitGelu", [X, ROW]),
    Row("GemmFastGelu", [X, [8, 5], [5]]),
    Row("ScaledSiLU", [X], {"alpha": 0.7}),
    Row("FusedMatMulActivation", [X, [5, 8]],
        {"activation": "LeakyRelu", "activation_alpha": 0.2, "transB": 1, "alpha": 0.3}),
]  # fmt: skip


def tanh_gelu(x: Array) -> Array:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def split_gelu(x: Array, bias: Array) -> Array:
    left, right = np.split(x + bias, 2, -1)
    erf = np.vectorize(math.erf)(right / np.sqrt(2))
    return (left * right / 2 * (1 + erf)).astype(np.float32)


def leaky(a: Array, b: Array, **_: object) -> Array:
    z = 0.3 * a @ b.T
    return np.where(z < 0, 0.2 * z, z).astype(np.float32)


FORMULAS = {
    "BiasSplitGelu": split_gelu,
    "GemmFastGelu": lambda x, w, b: tanh_gelu(x @ w + b),
    "ScaledSiLU": lambda x, alpha: alpha * x / (1 + np.exp(-alpha * x)),
    "FusedMatMulActivation": leaky,
    "BiasAdd": lambda x, bias, skip: x + bias + skip,
    "BiasDropout": lambda x, bias, residual=0, *_: x + bias + residual,
    "TorchEmbedding": lambda weight, indices: weight[indices],
}
"""Operators that ONNX Runtime has no CPU kernel for."""


FUSED = [
    Row("FusedMatMul", [X, [8, 5]]),
    Row("FusedMatMul", [X, [5, 8]], {"transB": 1, "alpha": 0.3}),
    Row("FusedMatMul", [(2, 8, 3), [8, 5]], {"transA": 1}),
    Row("FusedMatMul", [(3, 2, 8), [2, 8, 5]], {"transBatchA": 1}),
    Row("FusedMatMul", [(2, 3, 8), [8, 2, 5]], {"transBatchB": 1}),
    Row("FusedMatMul", [(4, 2, 3, 8), [2, 3, 4, 5]], {"transBatchA": 1, "transA": 1}),
    Row("FusedMatMul", [X, (2, 5, 8)], {"transB": 1, "alpha": 0.3}),
    Row("TransposeMatMul", [X, [5, 8]], {"transB": 1}),
    Row("FusedConv", [(2, 3, 5, 5), [4, 3, 3, 3], [4]], {"activation": "Relu", "pads": [1] * 4},
        symbolic=()),
    Row("FusedConv", [(2, 3, 5, 5), [4, 3, 3, 3], [4], (2, 4, 3, 3)],
        {"activation": "LeakyRelu", "activation_params": [0.2]}, symbolic=()),
    Row("FusedConv", [(1, 4, 7, 7), [4, 2, 3, 3], None, (1, 4, 3, 3)],
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4], "group": 2,
         "strides": [2, 2]}, symbolic=()),
    *[Row("FusedConv", [(2, 3, 5, 5), [4, 3, 3, 3], [4]],
          {"activation": name, **given}, symbolic=())
      for name, given in (("Clip", {"activation_params": [-0.5, 0.6]}), ("Tanh", {}),
                          ("Sigmoid", {}))],
    Row("FusedGemm", [(3, 4), [4, 5], [5]], {"activation": "Relu"}),
    Row("FusedGemm", [(4, 3), [5, 4]],
        {"activation": "LeakyRelu", "activation_alpha": 0.2, "transA": 1, "transB": 1}),
    Row("FusedGemm", [(3, 4), [4, 5], [5]],
        {"activation": "Tanh", "alpha": 0.5, "beta": 2.0}),
]  # fmt: skip

NORMS = [
    Row("SimplifiedLayerNormalization", [X, ROW], {"axis": -1, "epsilon": 1e-3}, domain=""),
    Row("SimplifiedLayerNormalization", [X, [3, 8]], {"axis": 1}, domain="", symbolic=()),
    Row("SkipSimplifiedLayerNormalization", [X, X, ROW], {"epsilon": 1e-3}, NORMED),
    Row("SkipSimplifiedLayerNormalization", [X, X, ROW, ROW], {}, NORMED),
    Row("GatedRMSNorm", [X, ROW, X]),
    Row("GatedRMSNorm", [X, [4], X], {"epsilon": 0.1, "activation": "sigmoid"}),
    Row("BranchwiseRMSNorm", [X, ROW], {"num_branches": 2, "epsilon": 0.1}),
    Row("BranchwiseRMSNorm", [X, [4]], {"num_branches": 2}),
    Row("BranchwiseRMSNorm", [(2, 3, 2, 4), [2, 4]], {"epsilon": 0.1}),
    Row("BranchwiseRMSNorm", [(2, 3, 2, 4)], {}),
    Row("SkipLayerNormalization", [X, X, ROW], {"epsilon": 1e-3}),
    Row("SkipLayerNormalization", [X, X, ROW, ROW, ROW], {"epsilon": 1e-3}, NORMED),
    Row("SkipLayerNormalization", [X, (3, 8), ROW, ROW], {"epsilon": 1e-3}, label="broadcast"),
]  # fmt: skip

EMBEDDINGS = [
    Row("EmbedLayerNormalization", EMBED, {"epsilon": 1e-3}, ("y", "counts")),
    Row("EmbedLayerNormalization", [*EMBED, MASK], {}, ("y", "counts", "total"), label="mask"),
    Row("EmbedLayerNormalization", [*EMBED, None, PLACES], {}, ("y", "counts"), label="places"),
    Row("EmbedLayerNormalization", [IDS, None, [5, 8], [4, 8], None, ROW, ROW], {},
        ("y", "counts"), label="no segments"),
]  # fmt: skip


def quantized(*shape: int) -> Array:
    return np.random.default_rng(8).integers(0, 255, shape).astype(np.uint8)


SCALES = [np.array(v, np.float32) for v in (0.02, 0.01, 0.03, 0.01, 0.02)]
ZEROS = [np.array(v, np.uint8) for v in (120, 130, 128, 20, 128)]
TABLES = [quantized(5, 8), quantized(4, 8), quantized(2, 8), quantized(8), quantized(8)]
EMBEDDINGS += [
    Row("QEmbedLayerNormalization", [IDS, SEGMENTS, *TABLES, None, *SCALES, *ZEROS],
        {"epsilon": 1e-3}, ("y", "counts")),
    Row("QEmbedLayerNormalization", [IDS, SEGMENTS, *TABLES, MASK, *SCALES, *ZEROS], {},
        ("y", "counts"), label="mask"),
]  # fmt: skip

LABELS = np.array([[1, 0, 1], [2, 2, 0]], np.int64)
RATIO, NOT_TRAINING = np.array(0.5, np.float32), np.array(False)
RENAMED = [
    Row("BiasAdd", [X, ROW, X]),
    Row("BiasDropout", [X, ROW, X, RATIO, NOT_TRAINING]),
    Row("BiasDropout", [X, ROW]),
    Row("GatedAdd", [X, X, (2, 3, 1)]),
    Row("TorchEmbedding", [(5, 8), np.array([[1, 4, 1]])]),
    Row("ExpandDims", [X, np.array(1, np.int32)]),
    Row("ExpandDims", [X, np.array(-1, np.int32)]),
    Row("GridSample", [(1, 2, 4, 4), [1, 3, 3, 2]], {"padding_mode": "border"}),
    Row("GridSample", [(1, 2, 4, 4), [1, 3, 3, 2]], {"align_corners": 1}, opset=20),
    Row("GatherND", [X, np.array([[1, 2], [0, 0]], np.int32)], symbolic=()),
    Row("Trilu", [(2, 3, 4)]),
    Row("Trilu", [(2, 3, 4), np.array(-1)], {"upper": 0}),
    Row("Pad", [X, np.array([0, 1, 0, 0, 0, 2]), np.array(0.5, np.float32)]),
]  # fmt: skip

COMPOSED = [
    Row("BiasSoftmax", [(2, 3, 4, 4), (2, 1, 1, 4)], {"axis": 3, "is_inner_broadcast": 1}),
    Row("BiasSoftmax", [(2, 3, 4), [1, 3, 4]], {"axis": 1, "is_inner_broadcast": 0}),
    Row("CDist", [(3, 4), (5, 4)], {"metric": "euclidean"}),
    Row("CDist", [(3, 4), [5, 4]], {"metric": "sqeuclidean"}),
    Row("UnfoldTensor", [(2, 7, 3)], {"dim": 1, "size": 3, "step": 2}, symbolic=(0,)),
    Row("UnfoldTensor", [(2, 3, 6)], {"dim": -1, "size": 2, "step": 1}, symbolic=(0,)),
    Row("LinearAttentionGate", [(2, 3, 8), ROW, ROW]),
    Row("LinearAttentionGate", [(2, 3, 8), ROW, ROW, [2, 3, 8]], {}, ("y", "beta")),
    Row("ConvTransposeWithDynamicPads", [(1, 2, 4, 4), [2, 3, 3, 3], np.array([1, 0, 1, 2]), [3]],
        {"kernel_shape": [3, 3], "strides": [2, 2]}, symbolic=()),
    Row("GroupNorm", [(2, 3, 3, 4), [4], [4]], {"groups": 2, "activation": 0}),
    Row("GroupNorm", [(2, 3, 3, 4), [4], [4]], {"groups": 1, "activation": 1, "epsilon": 0.1}),
    Row("SkipGroupNorm", [(2, 3, 3, 4), [4], [4], (2, 3, 3, 4), [4]],
        {"groups": 2, "activation": 1}, symbolic=(0, 1, 2)),
    Row("SkipGroupNorm", [(2, 3, 3, 4), [4], [4], (2, 4)], {"groups": 2, "activation": 0},
        symbolic=()),
]  # fmt: skip


def flat_softmax(x: Array, bias: Array, axis: int, **_: object) -> Array:
    z = np.exp(x + bias).reshape(*x.shape[:axis], -1)
    return (z / z.sum(-1, keepdims=True)).reshape(x.shape)


def of_groups(x: Array, gamma: Array, beta: Array, groups: int, activation: int,
              epsilon: float = 1e-5) -> Array:  # fmt: skip
    apart = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centered = apart - apart.mean((1, 3), keepdims=True)
    deviation = np.sqrt((centered**2).mean((1, 3), keepdims=True) + epsilon)
    y = (centered / deviation).reshape(x.shape) * gamma + beta
    return y / (1 + np.exp(-y)) if activation else y


def of_skipped(x: Array, gamma: Array, beta: Array, skip: Array, bias: Array | float = 0,
               **more: float) -> Array:  # fmt: skip
    skip = skip[:, None, None] if skip.ndim == 2 else skip
    return of_groups(x + skip + bias, gamma, beta, **more)  # type: ignore[arg-type]


FORMULAS |= {"BiasSoftmax": flat_softmax, "GroupNorm": of_groups, "SkipGroupNorm": of_skipped}


FUNCTIONS = [
    Row("CenterCropPad", [(4, 7, 3), np.array([6, 4])], {"axes": [0, 1]}, domain="", symbolic=()),
    Row("CenterCropPad", [(4, 7), np.array([3, 8])], domain="", symbolic=(0,)),
    Row("MeanVarianceNormalization", [(2, 3, 4, 2)], domain=""),
    Row("MeanVarianceNormalization", [(2, 3, 4, 2)], {"axes": [1]}, domain=""),
    *[Row(op, [(2, 4, 3), LABELS, *weight], {"reduction": reduction, **more}, domain="",
          symbolic=(0,), label=f"{len(weight)} weights")
      for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
      for reduction, weight, more in (("none", [], {}), ("mean", [], {}), ("mean", [[4]], {}),
                                      ("sum", [[4]], {"ignore_index": 2}))],
]  # fmt: skip

HOMELESS = {(MS, "SimplifiedLayerNormalization")}
"""Operators of the runtime that models put into the standard's domain."""


HERE = {m.__name__ for m in (activation, composed, fused, fused_attention, grouped_query_attention,
                             norm, renamed, rotary, standard_attention)}  # fmt: skip
"""Modules of the decompositions in this table."""


ROWS = [
    *ACTIVATIONS,
    *WITHOUT_KERNEL,
    *FUSED,
    *NORMS,
    *EMBEDDINGS,
    *ATTENTIONS,
    *ROTARY,
    *GROUPS,
    *SCALED,
    *RENAMED,
    *COMPOSED,
    *FUNCTIONS,
]


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in standard operators."""
    return ir.serde.serialize_model(normalized(load(model)))


def expected_outputs(row: Row) -> dict[str, Array]:
    """What the runtime computes, or the specification's formula where it has no kernel."""
    if row.op in FORMULAS:
        return {"y": -FORMULAS[row.op](*row.values.values(), **row.attributes)}
    if row.label == "short":  # which the runtime takes for a mistake
        return dict(
            zip(row.outputs, ReferenceEvaluator(row.model()).run(None, row.feeds), strict=True)
        )
    return run(row.model(), row.feeds)


def finite(value: Array) -> Array:
    """What is hidden, at minus infinity or the lowest number, as a number to be compared."""
    return np.where(value < -1e30, value.dtype.type(-9), value)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_forward_is_the_runtimes(row: Row) -> None:
    expected = expected_outputs(row)
    standard = written_out(row.model())
    assert {node.domain for node in standard.graph.node} <= {""}
    assert not any(p.key == REFUSED for node in standard.graph.node for p in node.metadata_props)
    for name, value in run(standard, row.feeds).items():
        assert_close(finite(value), finite(expected[name]), what=name)


@pytest.mark.parametrize("row", [row for row in ROWS if row.floats], ids=str)
def test_vjp_is_the_jacobian(row: Row) -> None:
    model, y = row.model(), row.outputs[0]
    compiled = lrp_onnx.compile(
        model, composite="gradient", target="seed", start="one", output=y, check=False,
        explain=list(row.floats),
    )  # fmt: skip
    network = Network(written_out(model))
    forward = network.forward(row.feeds)[y]
    seed = np.random.default_rng(0).standard_normal(forward.shape).astype(np.float32)
    outputs = run(compiled.model, {**row.feeds, f"{y}_seed": seed})
    assert_close(outputs[y], expected_outputs(row)[y])
    for name, x in row.floats.items():
        assert_gradient(
            outputs[f"{name}_relevance"],
            lambda v, name=name: network.forward({**row.feeds, name: v})[y],
            x.astype(float), seed, what=name,
        )  # fmt: skip


def test_a_gradient_that_is_off_by_1_percent_is_refused() -> None:
    x = np.random.default_rng(0).standard_normal((5, 8))
    assert_gradient(np.cos(x), np.sin, x, np.ones(x.shape))
    for wrong in (
        1.01 * np.cos(x),
        np.where(np.arange(40).reshape(x.shape) == 7, 1.01, 1) * np.cos(x),
    ):
        with pytest.raises(AssertionError, match="off by"):
            assert_gradient(wrong, np.sin, x, np.ones(x.shape))


def test_what_has_no_kernel_is_listed() -> None:
    """And nothing else is: what runs stays the prediction's own."""
    contrib = {(row.domain, row.op): row for row in ROWS if row.domain == MS}
    refused = set()
    for key, row in contrib.items():
        try:
            run(row.model(), row.feeds)
        except (NotImplemented_, Fail):
            refused.add(key)
    # under that name the model file has it; ONNX Runtime's own is in the standard's domain
    listed = {key for key in LISTED if key[0] == MS} & set(contrib)
    assert refused == listed
    assert len(listed) >= 9


def test_every_expansion_has_a_row() -> None:
    by_function = {
        name for domain, name in BY_FUNCTION if not (domain or name.startswith("Reduce"))
    }
    assert not by_function - {row.op for row in ROWS if not row.domain}, "add a Row"
    own = {key for key, function in DECOMPOSITIONS.items() if function.__module__ in HERE}
    missing = own - {(row.domain, row.op) for row in ROWS} - HOMELESS
    assert not missing, "add a Row"


def test_a_domain_that_the_file_does_not_import_is_the_runtimes() -> None:
    """What ONNX Runtime's optimizer leaves in memory: the runtime runs it."""
    model = next(row for row in FUSED if row.op == "FusedMatMul").model()
    forgetful = onnx.ModelProto.FromString(model.SerializeToString())
    (contrib,) = (opset for opset in forgetful.opset_import if opset.domain)
    forgetful.opset_import.remove(contrib)
    assert written_out(forgetful).graph == written_out(model).graph
