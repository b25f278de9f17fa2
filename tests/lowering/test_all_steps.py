"""What needs no steps is computed of all steps at once, outside the body of a Scan."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

LSTM = network(
    "z, h = LSTM<hidden_size=4>(x, w, r, b) s = Squeeze(h, o) y = MatMul(s, v)",
    (5, "N", 3), w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), v=(4, 2), o=np.array([0]),
)  # fmt: skip
GRU = network(
    "z, h = GRU<hidden_size=4, linear_before_reset=1>(x, w, r, b) s = Squeeze(h, o) "
    "y = MatMul(s, v)",
    (5, "N", 3), w=(1, 12, 3), r=(1, 12, 4), b=(1, 24), v=(4, 2), o=np.array([0]),
)  # fmt: skip
LENGTHS = network(
    "k = Constant<value_ints=[5, 3]>() ks = Cast<to=6>(k) "
    "z, h = LSTM<hidden_size=4>(x, w, r, b, ks) s = Squeeze(h, o) y = MatMul(s, v)",
    (5, 2, 3), w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), v=(4, 2), o=np.array([0]),
)  # fmt: skip
BOTH_WAYS = network(
    "z, h = GRU<hidden_size=4, direction=\"bidirectional\">(x, w, r, b) "
    "t = Transpose<perm=[1, 0, 2]>(h) s = Flatten(t) y = MatMul(s, v)",
    (5, "N", 3), w=(2, 12, 3), r=(2, 12, 4), b=(2, 24), v=(8, 2),
)  # fmt: skip
ALL_READ = network(
    "z, h, c = LSTM<hidden_size=4>(x, w, r, b) a = ReduceMean<keepdims=0>(z, o) "
    "m = ReduceMean<keepdims=0>(a, o) s = Squeeze(c, o) t = Add(m, s) y = MatMul(t, v)",
    (5, "N", 3), w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), v=(4, 2), o=np.array([0]),
)  # fmt: skip
X = {"x": np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)}
METHODS = ({"composite": "epsilon"}, {"composite": "attnlrp"}, {"method": "gradient"})


def bodies(model):
    """Of each Scan, in order."""
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    return [next(a.g for a in node.attribute if a.name == "body") for node in scans]


def kinds(graph):
    return [node.op_type for node in graph.node]


@pytest.mark.parametrize("options", METHODS, ids=["epsilon", "attnlrp", "gradient"])
@pytest.mark.parametrize(
    "model",
    [LSTM, GRU, LENGTHS, BOTH_WAYS, ALL_READ],
    ids=["LSTM", "GRU", "lengths", "both", "all"],
)
def test_relevance_is_that_of_one_step_after_the_other(model, options):
    at_once, plain = (
        run(lrp_onnx.compile(model, **options, optimize=optimize).model, X)
        for optimize in (True, False)
    )
    assert np.array_equal(at_once["y"], plain["y"])
    assert_close(at_once["x_relevance"], plain["x_relevance"])


def test_of_an_lstm_the_forward_keeps_the_cell_and_the_backward_one_product():
    model = lrp_onnx.compile(LSTM, "epsilon").model
    forward, backward = bodies(model)
    assert kinds(forward) == ["Mul", "Add", "Identity", "Identity"]
    assert kinds(backward).count("Gemm") == 1
    assert len(backward.node) <= 7
    assert kinds(model.graph).count("LSTM") == 1


def test_a_gru_needs_no_steps_forward():
    model = lrp_onnx.compile(GRU, "epsilon").model
    (backward,) = bodies(model)
    assert kinds(backward).count("Gemm") == 1
    assert len(backward.node) <= 9


@pytest.mark.parametrize("inside", ["MatMul(now, w)", "Slice(now, none, four, none)"])
def test_rows_of_one_number_are_no_rows(inside):
    """As many states as inputs, without a batch: axis 0 is what a product sums over."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[T,4] x, float[4] k) => (float[2] y) {{
          none = Constant<value_ints=[0]>() four = Constant<value_ints=[4]>()
          h = Scan<num_scan_inputs=1, body = step (float[4] before, float[4] now) =>
            (float[4] after) {{ p = {inside} t = Tanh(p) s = Mul(t, before) q = MatMul(s, w)
             after = Add(q, t) }}>(k, x)
          y = MatMul(h, v) }}"""
    )
    rng = np.random.default_rng(3)
    for name, shape in {"w": (4, 4), "v": (4, 2)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in (("x", (3, 4)), ("k", 4))}
    compiled, plain = (
        lrp_onnx.compile(model, "epsilon", target="all", optimize=optimize).model
        for optimize in (True, False)
    )
    assert_close(*(run(m, feeds)["x_relevance"] for m in (compiled, plain)))


def test_a_carried_value_may_be_known_of_all_steps():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[T,2,3] x, float[2,4] k) => (float[2,2] y) {
          h, c = Scan<num_scan_inputs=1, body = step (float[2,4] h, float[2,4] c, float[2,3] now) =>
            (float[2,4] h1, float[2,4] c1) { p = MatMul(now, w) h1 = Tanh(p)
             s = Mul(h, c) c1 = Add(s, h1) }>(k, k, x)
          a = MatMul(h, v) b = MatMul(c, v) y = Add(a, b) }"""
    )
    rng = np.random.default_rng(3)
    for name, shape in {"w": (3, 4), "v": (4, 2)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    feeds = {**X, "k": rng.standard_normal((2, 4)).astype(np.float32)}
    for options in METHODS:
        compiled, plain = (
            lrp_onnx.compile(model, **options, optimize=optimize).model
            for optimize in (True, False)
        )
        for name in ("x_relevance", "k_relevance"):
            assert_close(run(compiled, feeds)[name], run(plain, feeds)[name])


def test_no_body_holds_what_nothing_reads():
    for model in (LSTM, GRU, LENGTHS, BOTH_WAYS):
        for body in bodies(lrp_onnx.compile(model, "epsilon").model):
            read = {name for node in body.node for name in node.input}
            read |= {v.name for v in body.output}
            assert {v.name for v in (*body.input[1:], *body.initializer)} <= read
            assert {name for node in body.node for name in node.output} <= read
            ports = {v.name for v in body.input}  # see `_put_computed_first`
            sums = [node for node in body.node if node.op_type in ("Add", "Mul")]
            assert not any(n.input[0] in ports and n.input[1] not in ports for n in sums)


SCAN = """<ir_version: 8, opset_import: ["" : 18]>
g (float[T,2,3] x, float[2,4] k) => (float[2,2] y) {{
  zero = Constant<value=float[2,4] {{0,0,0,0,0,0,0,0}}>()
  h, = Scan<num_scan_inputs=1, body = step (float[2,4] before, float[2,3] now) =>
    (float[2,4] after) {{ p = MatMul(now, w) q = {inside} s = Add(q, before) after = Tanh(s) }}>
    (zero, x)
  y = MatMul(h, v) }}"""


@pytest.mark.parametrize(
    ("inside", "stays"),
    [
        ("Mul(p, p)", []),
        ("Mul(p, k)", ["Mul"]),  # another number for each sample
        ("Mul(p, row)", []),
        ("Softmax<axis=1>(p)", []),
        ("Softmax<axis=0>(p)", ["Softmax"]),  # over the samples
        ("ReduceMean<keepdims=1>(p, axes)", ["ReduceMean"]),  # not known to take rows
    ],
)
def test_what_samples_do_not_share_stays_in_the_body(inside, stays):
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(SCAN.format(inside=inside))
    arrays = {"w": rng.standard_normal((3, 4)), "v": rng.standard_normal((4, 2)),
              "row": rng.standard_normal((1, 4))}  # fmt: skip
    tensors = [onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
    model.graph.initializer.extend(tensors)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    feeds = {**X, "k": rng.standard_normal((2, 4)).astype(np.float32)}
    compiled = lrp_onnx.compile(model, "epsilon").model
    plain = lrp_onnx.compile(model, "epsilon", optimize=False).model
    assert_close(*(run(m, feeds)["x_relevance"] for m in (compiled, plain)))
    assert {*kinds(bodies(compiled)[-1])} & {"Mul", "Softmax", "ReduceMean"} >= {*stays}
    assert "MatMul" not in kinds(bodies(compiled)[-1]) or stays


def test_a_part_of_a_sum_is_not_divided_by_what_it_was_multiplied_with():
    """W·x and R·h of a GRU get what the sum gave them, z · c or r · z · c: R / z needs no zeros."""
    model = lrp_onnx.compile(GRU, "epsilon").model
    graphs = (model.graph, *bodies(model))
    assert sum(kinds(graph).count("Equal") for graph in graphs) == 1  # the target
    assert sum(kinds(graph).count("Div") for graph in graphs) == 3


def test_without_an_epsilon_a_multiple_of_z_is_not_divided():
    model = network("z = MatMul(x, w) k = MatMul(z, u) y = MatMul(k, v)",
                    ("N", 4), w=(4, 5), u=(5, 3), v=(3, 2))  # fmt: skip
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    zero = {"parameters": {"epsilon": 0}}
    short, plain = (
        lrp_onnx.compile(model, "epsilon", optimize=optimize, **zero).model
        for optimize in (True, False)
    )
    assert_close(*(run(m, feeds)["x_relevance"] for m in (short, plain)))
    divisions = ([n.op_type for n in m.graph.node].count("Div") for m in (short, plain))
    assert tuple(divisions) == (1, 3)  # what relevance starts with is no product yet
