"""A decomposed LayerNorm becomes the operator: same forward, the operator's relevance."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from canonical import as_proto, assert_same_forward, canonized, counts
from models import assert_close, model_of, network, run
from test_canonize import positive, signed

import lrp_onnx
from lrp_onnx.frontend.canonize import norm

MEAN = "m = ReduceMean(x, last) d = Sub(x, m)"
POWER = "q = Pow(d, two) v = ReduceMean(q, last)"
SQUARE = "q = Mul(d, d) v = ReduceMean(q, last)"
ROOT = "e = Add(v, eps) r = Sqrt(e)"
OVER = f"{MEAN} {POWER} {ROOT} n = Div(d, r)"
INVERSE = f"{MEAN} {SQUARE} e = Add(eps, v) r = Sqrt(e) i = Reciprocal(r)"
KEPT = {"last": [-1], "two": 2.0, "eps": 0.01}
AFFINE = {"g": positive(4), "b": signed(4), **KEPT}

SPELLINGS = {
    "pytorch": (f"{OVER} h = Mul(n, g) y = Add(h, b)", AFFINE),
    "constants first": (f"{OVER} h = Mul(g, n) y = Add(b, h)", AFFINE),
    "leading ones": (f"{OVER} h = Mul(n, g) y = Add(h, b)",
                     {**AFFINE, "g": positive(1, 1, 4), "b": signed(1, 4)}),
    "positive axis": (f"{OVER} h = Mul(n, g) y = Add(h, b)", {**AFFINE, "last": [2]}),
    "one scale": (f"{OVER} h = Mul(n, g) y = Add(h, b)", {**AFFINE, "g": 3.0}),
    "integer exponent": (f"{OVER} h = Mul(n, g) y = Add(h, b)", {**AFFINE, "two": 2}),
    "square by Mul": (f"{MEAN} {SQUARE} {ROOT} n = Div(d, r) h = Mul(n, g) y = Add(h, b)", AFFINE),
    "centered twice": (f"{MEAN} d2 = Sub(x, m) {POWER} {ROOT} n = Div(d2, r) "
                       "y = Mul(n, g)", AFFINE),
    "mean twice": (f"{MEAN} m2 = ReduceMean(x, last) d2 = Sub(x, m2) {POWER} {ROOT} "
                   "n = Div(d2, r) y = Mul(n, g)", AFFINE),
    "reciprocal": (f"{INVERSE} n = Mul(d, i) h = Mul(n, g) y = Add(h, b)", AFFINE),
    "one over": (f"{MEAN} {POWER} {ROOT} i = Div(one, r) n = Mul(i, d) h = Mul(n, g) y = Add(h, b)",
                 {**AFFINE, "one": 1.0}),
    "powers": (f"{MEAN} {POWER} e = Add(v, eps) i = Pow(e, minus) n = Mul(d, i) y = Mul(n, g)",
               {**AFFINE, "minus": -0.5}),
    "squared twice": (f"{MEAN} d2 = Sub(x, m) q = Mul(d, d2) v = ReduceMean(q, last) {ROOT} "
                      "n = Div(d2, r) y = Mul(n, g)", AFFINE),
    "scale first": (f"{INVERSE} s = Mul(i, g) n = Mul(d, s) y = Add(n, b)", AFFINE),
    "no affine": (f"{OVER} y = Identity(n)", KEPT),
    "bias alone": (f"{OVER} y = Add(n, b)", AFFINE),
    "tensorflow": (f"{INVERSE} s = Mul(i, g) a = Mul(x, s) c = Mul(m, s) t = Sub(b, c) "
                   "y = Add(a, t)", AFFINE),
    "tensorflow, no scale": (f"{INVERSE} a = Mul(i, x) c = Mul(m, i) t = Sub(b, c) y = Add(t, a)",
                             AFFINE),
}  # fmt: skip
TWO_AXES = {"last": [1, 2], "two": 2.0, "eps": 0.01, "g": positive(3, 4), "b": signed(3, 4)}

READ = f"{OVER} h = Mul(n, g) k = Add(h, b) y = Add(k, "
PARTS_READ = {"deviation": f"{READ}r)", "mean": f"{READ}m)", "centered": f"{READ}d)"}
STAY = {
    "axes differ": ("m = ReduceMean(x, first) d = Sub(x, m) "
                    f"{POWER} {ROOT} y = Div(d, r)", {**KEPT, "first": [1]}),
    "fourth power": (f"{OVER} y = Mul(n, g)", {**AFFINE, "two": 4.0}),
    "not centered": ("q = Mul(x, x) v = ReduceMean(q, last) e = Add(v, eps) r = Sqrt(e) "
                    "y = Div(x, r)", KEPT),
    "another mean": ("a = Abs(x) m = ReduceMean(a, last) d = Sub(x, m) "
                     f"{POWER} {ROOT} y = Div(d, r)", KEPT),
    "another dividend": (f"{MEAN} {POWER} {ROOT} y = Div(x, r)", KEPT),
    "ε varies": (f"{OVER} y = Mul(n, g)", {**AFFINE, "eps": positive(1, 3, 1)}),
    "another factor": (f"{INVERSE} s = Mul(i, g) a = Mul(x, s) c = Mul(m, i) t = Sub(b, c) "
                       "y = Add(a, t)", AFFINE),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_the_operator(name: str) -> None:
    body, constants = SPELLINGS[name]
    model = network(body, (2, 3, 4), **constants)
    result = canonized(model)
    assert set(counts(result)) <= {"LayerNormalization", "Identity"}
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


@pytest.mark.parametrize("composite", ["attnlrp", "gradient", "epsilon"])
@pytest.mark.parametrize("name", ["pytorch", "reciprocal", "tensorflow"])
@pytest.mark.parametrize("symbolic", [(), (0, 1, 2)], ids=["known", "unknown"])
def test_relevance_is_that_of_the_operator(
    name: str, composite: str, symbolic: tuple[int, ...]
) -> None:
    body, constants = SPELLINGS[name]
    spelled = network(body + " z = Tanh(y)", (2, 3, 4), symbolic, **constants)
    direct = network(
        "y = LayerNormalization<epsilon=0.01>(x, g, b) z = Tanh(y)", (2, 3, 4),
        g=AFFINE["g"], b=AFFINE["b"],
    )  # fmt: skip
    found = []
    for model in (spelled, direct):
        model.graph.output[0].name = "z"
        compiled = lrp_onnx.compile(model, composite, target="all", check=False)
        found.append(run(compiled.model, {"x": signed(2, 3, 4)})["x_relevance"])
    assert_close(found[0], found[1])


def test_several_trailing_axes() -> None:
    model = network(f"{OVER} h = Mul(n, g) y = Add(h, b)", (2, 3, 4), **TWO_AXES)
    (node,) = (result := canonized(model)).graph
    assert node.attributes.get_int("axis") == -2
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


def test_a_scale_of_other_axes_stays_behind_it() -> None:
    model = network(f"{OVER} y = Mul(n, g)", (2, 3, 4), **{**AFFINE, "g": positive(2, 1, 1)})
    result = canonized(model)
    assert counts(result) == {"LayerNormalization": 1, "Mul": 1}
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


def test_a_scale_of_the_channels_makes_it_an_instance_norm() -> None:
    model = network(f"{OVER} y = Mul(n, g)", (2, 3, 4), **{**AFFINE, "g": positive(3, 1)})
    result = canonized(model)
    assert counts(result) == {"InstanceNormalization": 1}
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


@pytest.mark.parametrize("name", PARTS_READ)
def test_it_is_one_whose_part_is_read_elsewhere(name: str) -> None:
    """The part is computed as before."""
    model = network(PARTS_READ[name], (2, 3, 4), **AFFINE)
    result = canonized(model)
    means = 2 if name == "deviation" else 1
    assert (counts(result)["LayerNormalization"], counts(result)["ReduceMean"]) == (1, means)
    assert "Div" not in counts(result)
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


@pytest.mark.parametrize("name", STAY)
def test_what_is_no_layer_norm_stays(name: str) -> None:
    body, constants = STAY[name]
    model = network(body, (2, 3, 4), **constants)
    result = canonized(model)
    assert "LayerNormalization" not in counts(result)
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


COLUMN = {"g": positive(3, 1), "b": signed(3, 1)}
DROPPED = OVER.replace("v = ReduceMean(q, last)", "w = ReduceMean<keepdims=0>(q, last) "
                       "v = Unsqueeze(w, last)")  # fmt: skip
BEYOND = {  # axes, sizes and types that LayerNormalization has not
    "channels": (f"{OVER} h = Mul(n, g) y = Add(h, b)", {**AFFINE, **COLUMN, "last": [1]}, ()),
    "channels, no affine": (f"{OVER} y = Identity(n)", {**KEPT, "last": [-2]}, ()),
    "channels, reciprocal": (f"{INVERSE} s = Mul(i, g) n = Mul(d, s) y = Add(n, b)",
                             {**AFFINE, **COLUMN, "last": [1]}, ()),
    "unknown sizes": (f"{OVER} h = Mul(n, g) y = Add(h, b)", AFFINE, (0, 1, 2)),
    "unknown, by power": (SPELLINGS["powers"][0], {**AFFINE, "minus": -0.5}, (0, 2)),
    "unknown, tensorflow": (SPELLINGS["tensorflow"][0], AFFINE, (2,)),
    "unknown, axis put back": (f"{DROPPED} y = Mul(n, g)", AFFINE, (2,)),
}  # fmt: skip


def by_hand(x: np.ndarray, axis: int, constants: dict[str, object], start: np.ndarray):  # type: ignore[no-untyped-def]
    """Output and relevance of the norm under the rule `norm`, in float64."""
    x, g = x.astype(float), np.asarray(constants.get("g", 1.0), float)
    centered = x - x.mean(axis, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axis, keepdims=True) + 0.01)
    y = centered / deviation * g + np.asarray(constants.get("b", 0.0), float)
    c = g * start / (y + np.where(y >= 0, 1e-6, -1e-6)) / deviation
    return y, x * (c - c.mean(axis, keepdims=True))


@pytest.mark.parametrize("name", BEYOND)
def test_what_the_operator_cannot_say_is_a_norm_too(name: str) -> None:
    body, constants, symbolic = BEYOND[name]
    model = network(body, (2, 3, 4), symbolic, **constants)
    result = canonized(model)
    assert counts(result)["Norm"] == 1
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})
    assert_is_the_rule(model, body, constants)


def assert_is_the_rule(model: onnx.ModelProto, body: str, constants: dict[str, object]) -> None:
    compiled = lrp_onnx.compile(model, "attnlrp", target="seed", start="one", check=False)
    kind = model.graph.input[0].type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    x = signed(2, 3, 4).astype(dtype)
    start = positive(2, 3, 4).astype(max(dtype, np.dtype("float32")))  # of half models too
    found = run(compiled.model, {"x": x, "y_seed": start})
    known = {k: v for k, v in constants.items() if f"{k})" in body or f"({k}," in body}
    axis = -2 if constants["last"] in ([1], [-2]) else -1
    y, expected = by_hand(x, axis, known, start)
    assert_close(found["y"], y.astype(dtype))
    assert_close(found["x_relevance"], expected.astype(dtype))


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("name", ["pytorch", "scale first", "tensorflow"])
def test_another_precision(name: str, dtype: str) -> None:
    body, constants = SPELLINGS[name]
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    given = {k: np.asarray(v, "int64" if k == "last" else dtype) for k, v in constants.items()}
    model = model_of(nodes, given, {"x": (2, 3, 4)}, dtype=np.dtype(dtype))
    assert ("Norm" if dtype == "float64" else "LayerNormalization") in counts(canonized(model))
    assert_is_the_rule(model, body, given | {"last": [-1]})


CAST = (
    f"w = Cast<to=1>(x) {OVER.replace('(x,', '(w,')} k = Cast<to=10>(n) h = Mul(k, g) y = Add(h, b)"
)


def test_a_norm_in_single_precision_of_a_half_model() -> None:
    nodes = onnx.parser.parse_graph(f"g (float16 x) => (float16 y) {{ {CAST} }}").node
    half = {k: np.asarray(v, np.float16) for k, v in AFFINE.items() if k in "gb"}
    wide = {"last": np.array([-1]), "two": np.float32(2), "eps": np.float32(0.01)}
    model = model_of(nodes, {**half, **wide}, {"x": (2, 3, 4)}, dtype=np.dtype("float16"))
    assert counts(canonized(model)) == {"Cast": 2, "LayerNormalization": 1}
    assert_is_the_rule(model, CAST, {**half, "last": [-1]})


def test_axes_by_attribute() -> None:
    """As exporters below opset 18 write them."""
    body = (
        SPELLINGS["pytorch"][0]
        .replace(", last)", ")")
        .replace("ReduceMean(", "ReduceMean<axes=[-1]>(")
    )
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    constants = {k: np.asarray(v, np.float32) for k, v in AFFINE.items() if k != "last"}
    model = model_of(nodes, constants, {"x": (2, 3, 4)}, opset=13)
    result = canonized(model)
    assert counts(result) == {"LayerNormalization": 1}
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


def test_graph_output_in_the_middle_stays() -> None:
    model = network(SPELLINGS["pytorch"][0], (2, 3, 4), **AFFINE)
    model.graph.output.append(onnx.helper.make_tensor_value_info("n", 1, None))
    model = onnx.shape_inference.infer_shapes(model)
    result = canonized(model)
    assert counts(result) == {"LayerNormalization": 1, "Mul": 1, "Add": 1}
    assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


def test_wrong_epsilon_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = norm.EPSILON["in the root"]
    monkeypatch.setitem(norm.EPSILON, "in the root", lambda root, d: 1.5 * right(root, d))
    monkeypatch.setattr(norm, "_holds", lambda *_: True)
    monkeypatch.setattr(norm, "CLOSE", 1.0)
    model = network(SPELLINGS["pytorch"][0], (2, 3, 4), **AFFINE)
    result = canonized(model)
    with pytest.raises(AssertionError, match="max"):
        assert_same_forward(model, as_proto(result), {"x": (2, 3, 4)})


def test_a_wrong_reading_is_no_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behavior decides, whatever was read off."""
    right = norm.EPSILON["in the root"]
    monkeypatch.setitem(norm.EPSILON, "in the root", lambda root, d: 1.01 * right(root, d))
    monkeypatch.setattr(norm, "CLOSE", 1.0)
    model = network(SPELLINGS["pytorch"][0], (2, 3, 4), **AFFINE)
    assert "LayerNormalization" not in counts(canonized(model))
