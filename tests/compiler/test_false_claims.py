"""What a model says of itself and does not hold, or runtimes read each another way.

It is refused by name, or read as ONNX Runtime reads it.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, parser

import lrp_onnx
from lrp_onnx.errors import ModelError

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) '
CLAIMS = {
    "batch_dims below 0": "<int64[1,1] k={0}> { g = GatherND<batch_dims=-2>(x, k) y = Relu(g) }",
    "3 outputs and num_outputs = 1": "{ y, a, b = Split<num_outputs=1>(x) }",
    "leaves out its input 1": '{ y = Max(x, "") }',
    "an axis without a name": '{ y = DFT(x, "", "") }',
    "saturate = -3, which means 0 or 1": "{ y = Cast<to=1, saturate=-3>(x) }",
    "interleaved = 2, which": "{ y = RotaryEmbedding<interleaved=2>(x, x, x) }",
    "is_causal = 2, which": "{ y = Attention<is_causal=2>(x, x, x) }",
    "softmax_precision = -1, which is none of": "{ y = Attention<softmax_precision=-1>(x, x, x) }",
    "qk_matmul_output_mode = 9, which": "{ y = Attention<qk_matmul_output_mode=9>(x, x, x) }",
    "reduction = 'some', which": (
        '<int64[1] t={0}> { y = NegativeLogLikelihoodLoss<reduction="some">(x, t) }'
    ),
    "takes alpha from a function that it is not in": "{ y = LeakyRelu<alpha: float = @a>(x) }",
    "stash_type = 99, which is no type": "{ y = RMSNormalization<stash_type=99>(x, x) }",
    "strides = .*, which no window has": (
        "{ y = AveragePool<kernel_shape=[2], strides=[9223372036854775807]>(x) }"
    ),
    "size = 2147483647, and runtimes lay out": "{ y = LRN<size=2147483647>(x) }",
    "tensor 'w' has 65 axes": f"<float[{'1,' * 64}1] w={{1}}> {{ y = Relu(x) }}",
}


@pytest.mark.parametrize("fact", CLAIMS)
def test_a_claim_that_no_runtime_computes_is_refused(fact: str) -> None:
    """Some end the process that reads them, of some two runtimes read different numbers."""
    model = parser.parse_model(HEAD.replace('"" : 17', '"" : 23') + CLAIMS[fact])
    with pytest.raises(ModelError, match=fact):
        lrp_onnx.compile(model)


IN_A_BODY = (
    "<bool c={1}, float[4] w={1,2,3,4}> { y = If <then_branch = t () => (r) <float[4] w={%s}> "
    "{ r = Mul(x, w) }, else_branch = e () => (q) { q = Add(x, w) }>(c) }"
)


def test_a_weight_of_a_body_that_hides_another_is_refused() -> None:
    """onnx's checker does not look, and runtimes read the outer one."""
    with pytest.raises(ModelError, match=r"weight 'w' in a body of node '' \(If\) has the name"):
        lrp_onnx.compile(parser.parse_model(HEAD + IN_A_BODY % "9,9,9,9"))
    assert lrp_onnx.compile(parser.parse_model(HEAD + IN_A_BODY % "1,2,3,4")).report


FUNCTION = '<domain: "com.microsoft", opset_import: ["" : 17]> Gelu (a) => (b) { b = Neg(a) } '
CALLED = HEAD.replace('"" : 17', '"" : 17, "com.microsoft" : 1') + "{ y = com.microsoft.Gelu(x) } "


def test_a_function_that_the_runtime_takes_for_an_operator_of_its_own_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'Gelu' of domain 'com\.microsoft': ONNX Runtime has an"):
        lrp_onnx.compile(parser.parse_model(CALLED + FUNCTION))


def test_a_function_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ModelError, match=r"function 'Gelu' of domain 'com\.microsoft' is there tw"):
        lrp_onnx.compile(parser.parse_model(CALLED + 2 * FUNCTION))


def test_a_function_s_default_is_that_of_its_calls() -> None:
    """onnx's inliner leaves it out."""
    body = '<domain: "f", opset_import: ["" : 17]> A <alpha: float = 0.2> (a) => (b) '
    text = HEAD.replace('"" : 17', '"" : 17, "f" : 1') + "{ h = f.A(x) y = f.A<alpha=0.9>(h) } "
    text += body + "{ b = LeakyRelu<alpha: float = @alpha>(a) }"
    compiled = lrp_onnx.compile(parser.parse_model(text), target="max")
    y = lrp_onnx.Explainer(compiled)(np.float32([[-1, 2, -3, 0.5]])).outputs["y"]
    np.testing.assert_allclose(y, [[-0.18, 2, -0.54, 0.5]], atol=1e-6)


def test_a_body_that_names_what_a_weight_is_called() -> None:
    text = HEAD + (
        "<int64 n={3}, bool c={1}, int64[1] ax={0}> { e = SequenceEmpty<dtype=1>() z = Loop<body ="
        " lb (int64 i, bool cc, seq(float[1,4]) s) => (bool c2, seq(float[1,4]) s2) "
        "{ c2 = Identity(cc) f = Cast<to=1>(i) p = Mul(x, f) s2 = SequenceInsert(s, p) }>(n, c, e)"
        " k = ConcatFromSequence<axis=0>(z) y = ReduceSum<keepdims=1>(k, ax) }"
    )
    compiled = lrp_onnx.compile(parser.parse_model(text), target="max")
    y = lrp_onnx.Explainer(compiled)(np.float32([[1, 2, 3, 4]])).outputs["y"]
    np.testing.assert_allclose(y, [[3, 6, 9, 12]])


def test_heads_that_do_not_fit_are_refused() -> None:
    text = HEAD.replace("[1,4] x", "[1,2,4] x").replace("[1,4] y", "[1,2,4] y") + (
        "{ y = Attention<q_num_heads=3, kv_num_heads=3>(x, x, x) }"
    )
    with pytest.raises(lrp_onnx.LrpError, match="hidden size 4 cannot be divided among 3 heads"):
        lrp_onnx.compile(parser.parse_model(text.replace(": 17", ": 23")), check=False)


def test_a_mask_of_nan_hides_nothing() -> None:
    text = HEAD.replace("[1,4] x", "[1,1,2,4] x").replace("[1,4] y", "[1,1,2,4] y") + (
        "<float k={-1}> { s = ReduceSum<keepdims=0>(x) n = Sqrt(k) m = Mul(s, n) "
        "r = Reshape(m, one) e = Expand(r, two) y = Attention(x, x, x, e) }"
    )
    text = text.replace("<float k={-1}>", "<float k={-1}, int64[2] one={1,1}, int64[2] two={2,2}>")
    assert lrp_onnx.compile(parser.parse_model(text.replace(": 17", ": 23")), target="max").report


SCALAR = "ReduceSum<keepdims=0>(x)"


@pytest.mark.parametrize(
    "node",
    [
        SCALAR,
        f"If (c) <then_branch = t () => (u) {{ u = {SCALAR} }}, "
        f"else_branch = e () => (v) {{ v = {SCALAR} }}>",
    ],
)
def test_a_scalar_that_is_declared_a_vector(node: str) -> None:
    compiled = lrp_onnx.compile(parser.parse_model(f"{HEAD} <bool c={{1}}> {{ y = {node} }}"))
    assert any("its graph computes []" in warning for warning in compiled.warnings)


def test_a_grid_of_another_type_than_what_it_samples() -> None:
    text = HEAD.replace("float[1,4] x", "float[1,1,3,2] x, double[1,2,4,2] grid")
    text = text.replace("[1,4] y", "[1,1,2,4] y") + "{ y = GridSample(x, grid) }"
    model = parser.parse_model(text.replace(": 17", ": 20"))
    assert lrp_onnx.compile(model, method="gradient", target="max").report


def test_a_short_time_fourier_transform_of_one_side() -> None:
    """onnx's inference takes the default for both sides."""
    text = HEAD.replace("[1,4] x", "[1,128,1] x").replace("[1,4] y", "[1,15,9,2] y") + (
        '<int64 a={8}, int64 b={16}> { y = STFT(x, a, "", b) }'
    )
    assert lrp_onnx.compile(parser.parse_model(text), target="max").report


def test_a_mask_of_another_type_than_the_scores() -> None:
    text = HEAD.replace("float[1,4] x", "float[1,1,2,4] x, double[2,2] m")
    text = text.replace("[1,4] y", "[1,1,2,4] y") + "{ y = Attention(x, x, x, m) }"
    assert lrp_onnx.compile(parser.parse_model(text.replace(": 17", ": 23")), target="max").report


BREAKDOWNS = {
    "a window without elements": (
        "[1,128,1] x, float[0] w", "[1,15,9,2] y", "<int64 a={8}> { y = STFT(x, a, w) }",
    ),
    "the smallest number by -1": (
        "[1,4] x", "[1,4] y",
        "<int64 a={-9223372036854775808}, int64 b={-1}> "
        "{ d = Div(a, b) c = Cast<to=1>(d) y = Add(x, c) }",
    ),
    "computed numbers by -1": (
        "[1,4] x", "[1,4] y",
        "<int64 a={-9223372036854775808}, int64 b={-2}> { s = Shape<start=0, end=1>(x) "
        "q = Add(s, b) d = Mod(a, q) c = Cast<to=1>(d) y = Add(x, c) }",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKDOWNS)
def test_a_model_that_breaks_a_library_down_ends_no_process(case: str) -> None:
    x, y, rest = BREAKDOWNS[case]
    text = HEAD.replace("[1,4] x", x).replace("[1,4] y", y) + rest
    with pytest.raises(ModelError, match=r"ends the process.*breaks a library down"):
        lrp_onnx.compile(parser.parse_model(text), target="max")


def test_a_size_that_no_run_gives_is_refused() -> None:
    text = HEAD.replace(": 17", ": 13").replace("float[1,4] x", "float[3,2,2] x, int64[0] a")
    text = text.replace("[1,4] y", "[1,1,2147483647] y") + "{ y = ReduceSum(x, a) }"
    with pytest.raises(ModelError, match=r"declared as .*2147483647.*a run gives"):
        lrp_onnx.compile(parser.parse_model(text), target="max")


def test_a_constant_with_more_numbers_than_its_shape() -> None:
    model = parser.parse_model(HEAD + "{ c = Constant<value = float[2] {1, 2}>() y = Add(x, c) }")
    model.graph.node[0].attribute[0].t.dims[0] = 1
    with pytest.raises(ModelError, match="not as many elements as its shape"):
        lrp_onnx.compile(model)


def test_open_axes_are_not_guessed_beyond_memory() -> None:
    text = HEAD.replace("[1,4] x", "[A,B,C,D,E,F,G,H,I,J] x").replace(
        "[1,4] y", "[A,B,C,D,E,F,G,H,I,J] y"
    )
    compiled = lrp_onnx.compile(parser.parse_model(text + "{ y = Relu(x) }"), target="max")
    assert any("no made-up input (it is too large)" in w for w in compiled.warnings)


def test_a_soft_cap_below_zero_is_none() -> None:
    """As ONNX Runtime reads it, with which the check compares."""
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 23]> '
        "g (float[2,4,6] q, float[2,5,6] k, float[2,5,6] v) => (float[2,4,6] y) { "
        "y = Attention <q_num_heads: int = 3, kv_num_heads: int = 3, softcap: float = -1>(q, k, v)}"
    )
    assert lrp_onnx.compile(model, check=True).report


CUT = '<ir_version: 8, opset_import: ["" : 18]> g (float[1,1,4,4] x) => (float[n,c,i,j] y) '
TOO_SMALL = {
    "Pad": "<int64[8] p={0,0,-9,0,0,0,0,0}, int64[1] a={0}, int64[1] b={2}> "
    "{ h = Pad(x, p) y = Slice(h, a, b) }",
    "Conv": "<float[1,1,9,9] w={WEIGHTS}, int64[1] a={0}, int64[1] b={2}> "
    "{ h = Conv(x, w) y = Slice(h, a, b) }",
    "MaxPool": "<int64[1] a={0}, int64[1] b={2}> "
    "{ h = MaxPool<kernel_shape=[9,9]>(x) r = Relu(h) y = Slice(r, a, b) }",
    "Expand": "<int64[4] s={1,-5,4,4}, int64[1] a={0}, int64[1] b={2}> "
    "{ m = Relu(x) h = Expand(m, s) y = Slice(h, a, b) }",
    "Split": "<int64[2] s={-5,9}, int64[1] a={0}, int64[1] b={2}> "
    "{ h, o = Split<axis=2>(x, s) y = Slice(h, a, b) }",
}  # fmt: skip


def cut(text: str) -> ModelProto:
    text = text.replace("WEIGHTS", ",".join("1" * 81))
    return parser.parse_model(CUT + text)


@pytest.mark.parametrize("op_type", TOO_SMALL)
def test_a_size_below_0_in_front_of_a_slice_is_refused(op_type: str) -> None:
    """onnx's inference ends the process there."""
    with pytest.raises(ModelError, match=rf"\({op_type}\): its result would have size -\d+ along"):
        lrp_onnx.compile(cut(TOO_SMALL[op_type]))


def test_a_size_below_0_between_two_slices_is_refused() -> None:
    """It is known behind the first one only."""
    text = (
        "<int64[1] a={0}, int64[1] b={3}, int64[1] k={2}> { s = Slice(x, a, b, k)"
        " h = MaxPool<kernel_shape=[6,4]>(s) y = Slice(h, a, b, k) }"
    )
    with pytest.raises(ModelError, match="SIGABRT"):
        lrp_onnx.compile(cut(text))
    assert lrp_onnx.compile(cut(text.replace("[6,4]", "[3,3]"))).report
