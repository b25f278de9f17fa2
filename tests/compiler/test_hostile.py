"""Models that would take all memory or never end: refused by name at once, or compiled and said."""

from __future__ import annotations

import os
import time

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import parser

import lrp_onnx
from lrp_onnx.compiler import stages, unforeseen
from lrp_onnx.compiler.judge import run_plain
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError, InternalError, ModelError, TargetError
from lrp_onnx.frontend.canonize import probe
from lrp_onnx.graph.limits import Budget, OverBudget, limited
from lrp_onnx.graph.model_file import load

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) '
GIANTS = {
    "a constant": (
        "<int64[1] s={30000000000}, int64[1] a={0}, int64[1] b={1}> { big = ConstantOfShape<value "
        "= int64[1]{1}>(s) r = Slice(big, a, b) f = Cast<to=1>(r) y = Add(x, f) }"
    ),
    "a range": (
        "<int64 a={0}, int64 b={1000000000000}, int64 c={1}> { big = Range(a, b, c) "
        "f = Cast<to=1>(big) r = ReduceSum<keepdims=0>(f) y = Add(x, r) }"
    ),
    "a product": (
        "<int64[2] s={4, 2000000000}> { big = ConstantOfShape(s) h = MatMul(x, big) "
        "m = ReduceMean<axes=[1]>(h) y = Add(x, m) }"
    ),
}


@pytest.mark.parametrize("giant", GIANTS)
def test_a_tensor_beyond_the_budget_is_named_and_not_allocated(giant: str) -> None:
    with pytest.raises(OverBudget, match=r"'big' of shape .* larger --budget"):
        lrp_onnx.compile(parser.parse_model(HEAD + GIANTS[giant]))


DEAR = HEAD + (
    "<int64[3] s={4000, 4000, 4}> { e = Exp(x) b = Expand(e, s) r = ReduceSum(b) y = Div(e, r) }"
)


def test_what_is_dear_to_try_is_tried_under_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def over(budget: Budget, step: str, *_: object) -> None:
        asked.append(step)
        raise budget.over(step)

    monkeypatch.setattr(probe, "limited", over)
    compiled = lrp_onnx.compile(parser.parse_model(DEAR), check=False)
    assert len(asked) == 2  # once for each structure: from x, and from e
    assert any("'node_3'" in w and "none that is known" in w for w in compiled.warnings)


def test_trying_parts_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = "m{0} = ReduceMean<axes=[1]>({1}) d{0} = Sub({1}, m{0}) q{0} = {2}(d{0}, d{0}) "
    norm += "v{0} = ReduceMean<axes=[1]>(q{0}) s{0} = Sqrt(v{0}) h{0} = Div(d{0}, s{0}) "
    text = HEAD + f"{{ {norm.format(0, 'x', 'Mul')}{norm.format(1, 'h0', 'Mul')} y = Relu(h1) }}"
    text = text.replace("q0 = Mul(d0, d0)", "a0 = Abs(d0) q0 = Mul(a0, a0)")
    found = lrp_onnx.compile(parser.parse_model(text), check=False)
    assert not found.warnings
    monkeypatch.setattr(probe.time, "process_time", iter(range(0, 10**9, 15)).__next__)
    stopped = lrp_onnx.compile(parser.parse_model(text), check=False)
    assert any("budget (20 s), so the others" in w for w in stopped.warnings), stopped.warnings


def test_a_declared_size_is_not_allocated() -> None:
    text = HEAD.replace("[1,4] x", "[2147483647,4] x") + "{ y = Relu(x) }"
    with pytest.raises(OverBudget, match=r"'x' of shape \[2147483647,4\]"):
        lrp_onnx.compile(parser.parse_model(text))


def laughing(levels: int) -> onnx.ModelProto:
    """Functions that call the next lower one twice each."""
    head = '<domain: "f", opset_import: ["" : 17, "f" : 1]> '
    functions = [head + "L0 (a) => (b) { b = Relu(a) } "]
    functions += [
        f"{head} L{k} (a) => (b) {{ t = f.L{k - 1}(a) b = f.L{k - 1}(t) }} "
        for k in range(1, levels + 1)
    ]
    main = HEAD.replace('"" : 17', '"" : 17, "f" : 1') + f"{{ y = f.L{levels}(x) }} "
    return parser.parse_model(main + "".join(functions))


def test_functions_are_counted_before_they_are_written_out() -> None:
    with pytest.raises(OverBudget, match="'L40' of domain 'f', which is 1099511627776 nodes"):
        lrp_onnx.compile(laughing(40))


def test_functions_are_written_out_in_linear_time() -> None:
    began = time.process_time()
    compiled = lrp_onnx.compile(laughing(9), check=False)
    assert sum(n.op_type == "Relu" for n in compiled.graph.graph) >= 512
    assert time.process_time() - began < 10


def test_a_function_that_calls_itself_is_named() -> None:
    text = (
        HEAD.replace('"" : 17', '"" : 17, "f" : 1')
        + '{ y = f.A(x) } <domain: "f", opset_import: ["" : 17, "f" : 1]> A (a) => (b) '
        + "{ b = f.A(a) }"
    )
    with pytest.raises(ModelError, match=r"A.*(calls itself|must not be recursive)"):
        lrp_onnx.compile(parser.parse_model(text))


def test_a_window_beyond_all_sizes_is_refused() -> None:
    text = HEAD.replace("float[1,4] x", "float[1,1,4,4] x").replace("[1,4] y", "[1,1] y") + (
        "{ h = AveragePool<kernel_shape=[1000000000, 1000000000], pads=[500000000, 500000000, "
        "500000000, 500000000]>(x) y = Flatten(h) }"
    )
    with pytest.raises(lrp_onnx.UnsupportedError, match="its window is 1000000000 elements long"):
        lrp_onnx.compile(parser.parse_model(text))


def test_an_axis_that_no_tensor_has_is_refused() -> None:
    text = HEAD + "{ y = Softmax<axis=-2147483648>(x) }"
    with pytest.raises(ModelError, match="axis = -2147483648, which no tensor has"):
        lrp_onnx.compile(parser.parse_model(text))


def test_a_loop_without_end_compiles_and_is_not_compared() -> None:
    text = HEAD + (
        "<int64 t={1000000000000}, bool cc={1}, float[1] k={0.9999}> { y = Loop <body = b "
        "(int64 i, bool c, float[1,4] s) => (bool c2, float[1,4] s2) "
        "{ c2 = Identity(c) s2 = Mul(s, k) }> (t, cc, x) }"
    )
    compiled = lrp_onnx.compile(parser.parse_model(text), budget=0.05)
    assert any("not compared" in w and "budget" in w for w in compiled.warnings)


SOON = Budget(seconds=1.0, nbytes=10**9, nodes=0)


def test_what_has_no_end_is_stopped_and_the_next_step_runs() -> None:
    began = time.monotonic()
    with pytest.raises(OverBudget, match="a long sleep takes more than the model's budget"):
        limited(SOON, "a long sleep", time.sleep, 600)
    assert time.monotonic() - began < 100
    with pytest.raises(ValueError, match="invalid literal"):
        limited(Budget(60, 10**9, 0), "a number", int, "no number")
    if os.name == "posix" and os.uname().sysname == "Linux":
        with pytest.raises(OverBudget):
            limited(Budget(60, 10**8, 0), "a large array", np.ones, 10**9)


GOOD = parser.parse_model(HEAD + "{ [first] h = Relu(x) [last] y = Neg(h) }")


def stumbling(node: object, *_: object) -> None:
    raise KeyError("what nobody foresaw")


def test_a_fault_of_ours_names_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(model, emit):
        stumbling(model.graph.node("first"))

    monkeypatch.setattr(stages, "lower", stumble)
    with pytest.raises(InternalError, match=r"node 'first' \(Relu\): KeyError.*bug of lrp-onnx"):
        lrp_onnx.compile(GOOD)


def test_a_model_that_no_runtime_opens_is_refused_in_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stages, "lower", lambda *_: stumbling(None))
    monkeypatch.setattr(unforeseen, "limited", lambda *_: "ONNX Runtime cannot open the model: odd")
    with pytest.raises(ModelError, match=r"does not run: ONNX Runtime .* odd\. Export it again\."):
        lrp_onnx.compile(GOOD)


def test_a_refusal_of_many_long_names_has_its_form() -> None:
    names = [f"{'long' * 25}_{k}" for k in range(40)]
    with pytest.raises(ModelError) as refusal, unforeseen.told(GOOD):
        raise ModelError("these: " + "; ".join(names))
    assert len(str(refusal.value)) <= 600
    assert str(refusal.value).endswith("_39.")


def test_a_domain_that_nobody_imports_is_refused() -> None:
    text = HEAD.replace('"" : 17', '"ai.onnx.ml" : 3').replace("float[1,4] y", "float[] y")
    with pytest.raises(ModelError, match=r"not a valid ONNX model.*No opset import for domain"):
        lrp_onnx.compile(parser.parse_model(text + "{ y = Relu(x) }"))


def test_default_axes_that_the_checker_does_not_know() -> None:
    text = HEAD.replace("[1,4]", "[3,2,4,4]") + "{ y = MeanVarianceNormalization(x) }"
    model = parser.parse_model(text)
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    y = lrp_onnx.Explainer(lrp_onnx.compile(model, target="max"))(x).outputs["y"]
    assert np.abs(y.mean((0, 2, 3))).max() < 1e-6


@pytest.mark.parametrize(
    "nodes",
    [
        "y = ReduceMax<axes=[1]>(x)",
        "y = ReduceProd<axes=[1]>(x)",
        "s = Mul(x, x) r = ReduceSum(s, a) q = Sqrt(r) y = Div(x, q)",
    ],
)
def test_an_input_without_elements(nodes: str) -> None:
    size = 1 if "axes" in nodes else 0
    text = HEAD.replace("[1,4] x", "[2,0,4] x").replace("[1,4] y", f"[2,{size},4] y")
    compiled = lrp_onnx.compile(parser.parse_model(f"{text}<int64[1] a={{1}}> {{ {nodes} }}"))
    x = np.zeros((2, 0, 4), np.float32)
    form = compiled.model.SerializeToString()
    assert run_plain(form, {"x": x}, ["x_relevance"], None)["x_relevance"].shape == x.shape


def test_the_largest_of_nothing_is_refused() -> None:
    text = HEAD.replace("[1,4] y", "[1,0] y") + "<int64[1] k={0}> { y, i = TopK(x, k) }"
    with pytest.raises(TargetError, match=r"'y' of shape \[1,0\] has no entry along its class"):
        lrp_onnx.compile(parser.parse_model(text))


@pytest.mark.parametrize(
    ("kind", "fact"),
    [
        ("map_type { key_type: 7 value_type { tensor_type { elem_type: 1 } } }", "is a map"),
        (
            "sequence_type { elem_type { map_type { key_type: 8 value_type { tensor_type { "
            "elem_type: 1 } } } } }",
            "is a map",
        ),
        ('opaque_type { domain: "d" name: "n" }', "is of a type that its domain alone knows"),
        ("sparse_tensor_type { elem_type: 1 }", "is a sparse tensor"),
    ],
)
def test_an_input_that_is_no_tensor_is_said(kind: str, fact: str) -> None:
    model = onnx.ModelProto.FromString(GOOD.SerializeToString())
    model.graph.input[0].type.CopyFrom(text_format.Parse(kind, onnx.TypeProto()))
    with pytest.raises(ModelError, match=f"the given model: input 'x' {fact}, and a model is"):
        lrp_onnx.compile(model)


def test_an_optional_input_is_no_array() -> None:
    text = HEAD.replace("float[1,4] x", "optional(float[1,4]) x")
    text += "{ h = OptionalGetElement(x) y = Relu(h) }"
    with pytest.raises(InputError, match=r"input 'x' is no tensor: .*Export the model"):
        wanted_by(load(parser.parse_model(text)))


def test_an_output_declared_twice_is_refused() -> None:
    model = onnx.ModelProto.FromString(GOOD.SerializeToString())
    model.graph.output.add().CopyFrom(model.graph.output[0])
    with pytest.raises(ModelError, match="output 'y' is declared twice"):
        lrp_onnx.compile(model)


def test_keepdims_is_read_as_the_runtime_does() -> None:
    text = HEAD.replace(": 17", ": 18").replace("[1,4] x", "[3,2,N,2] x") + (
        "<int64[1] a={-2}> { y = ReduceProd<keepdims=255>(x, a) }"
    )
    text = text.replace("[1,4] y", "[3,2,2] y")
    compiled = lrp_onnx.compile(parser.parse_model(text), method="gradient", target="max")
    x = np.arange(1, 37, dtype=np.float32).reshape(3, 2, 3, 2)
    assert lrp_onnx.Explainer(compiled)(x).relevance["x"].shape == x.shape


def test_a_loop_whose_state_changes_its_shape_is_refused() -> None:
    text = HEAD.replace("[1,4] x", "[1,1,9,9] x").replace("[1,4] y", "[3,1,5,5] y") + (
        "<int64 t={1}, bool cc={1}, int64[3] k={0,0,0}, float[3,4] rois={2,2,2,2,0,1,2,1,2,1,0,2}>"
        "{ z = ReduceSum(x) y = Loop <body = b (int64 i, bool c, s) => (bool c2, s2) { "
        "c2 = Identity(c) s2 = RoiAlign<output_height=5, output_width=5>(s, rois, k) }> "
        "(t, cc, z) }"
    )
    with pytest.raises(lrp_onnx.UnsupportedError, match="changes its shape"):
        lrp_onnx.compile(parser.parse_model(text), method="gradient", target="max")


def test_a_loop_whose_state_changes_its_rank_is_refused() -> None:
    text = HEAD.replace("[1,4] x", "[2,3,4] x").replace("[1,4] y", "[1,24] y") + (
        "<int64 t={3}, bool cc={1}> { y = Loop <body = b (int64 i, bool c, s) => (bool c2, s2) "
        "{ c2 = Identity(c) s2 = Flatten<axis=0>(s) }> (t, cc, x) }"
    )
    with pytest.raises(lrp_onnx.UnsupportedError, match="not every iteration"):
        lrp_onnx.compile(parser.parse_model(text), target="max")


FLAGS = {
    "transB": ("[3,4] x", "[3,2] y",
               "<float[2,4] w={1,2,3,4,5,6,7,8}> { y = Gemm<transB=-1>(x, w) }"),
}  # fmt: skip


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_read_as_the_runtime_does(flag: str) -> None:
    x, y, rest = FLAGS[flag]
    text = HEAD.replace("[1,4] x", x).replace("[1,4] y", y).replace(": 17", ": 23")
    model = parser.parse_model(text.replace("ir_version: 8", "ir_version: 10") + rest)
    assert lrp_onnx.compile(model, target="max").report  # the check compares with the runtime


def test_an_output_of_eight_bits_is_not_explained() -> None:
    text = HEAD.replace("float[1,4] y", "float8e5m2[1,4] y").replace(": 17", ": 19")
    with pytest.raises(lrp_onnx.TargetError, match="no output is a tensor of floats"):
        lrp_onnx.compile(parser.parse_model(text + "{ y = Cast<to=19>(x) }"), target="max")


def test_a_claim_beyond_all_memory_is_not_believed() -> None:
    text = HEAD.replace("[1,4] x", "[2,9,5] x").replace("[1,4] y", "[2,9223372036854775807,5] y")
    text += (
        "<int64[1] a={1}, int64[1] b={0}, int64[1] e={-1}> "
        "{ s = Expand(a, a) y = Slice(x, b, e, a, s) }"
    )
    assert lrp_onnx.compile(parser.parse_model(text), target="max").report


def test_a_region_with_two_axes_is_refused() -> None:
    text = HEAD.replace(": 17", ": 19").replace("[1,4] x", "[1,1,4,4] x, float[4,2] roi")
    text = text.replace("[1,4] y", "[1,1,3,3] y") + (
        '<int64[2] n={3,3}> { y = Resize<axes=[3,2], coordinate_transformation_mode="tf_crop_and_'
        'resize", mode="linear">(x, roi, "", n) }'
    )
    with pytest.raises(lrp_onnx.LrpError, match=r"must have one axis|does not run"):
        lrp_onnx.compile(parser.parse_model(text), target="max")
