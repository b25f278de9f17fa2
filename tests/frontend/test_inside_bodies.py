"""What is done to the main graph is done in bodies too: constants folded, no-ops dropped, branches
inlined, spellings brought to one form, signs proven.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Array, assert_close, normalized, run

import lrp_onnx
from lrp_onnx.analysis.signs import signs
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.graph.model_file import load
from lrp_onnx.graph.subgraphs import graphs_of

HEAD = '<ir_version: 8, opset_import: ["": 18]>'
SHAPES = {"w": (4, 2, 3, 3), "g": (4,), "b": (4,), "m": (4,), "d": (4,), "v": (4, 3), "u": (3,)}
CONVOLUTIONAL = """
    c1 = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)
    n1 = BatchNormalization(c1, g, b, m, d)  a1 = Relu(n1)
    i1 = Identity(a1)  p1 = GlobalAveragePool(i1)
    shape = Shape<start=0, end=1>(x)  rest = Constant<value_ints=[-1]>()
    all = Concat<axis=0>(shape, rest)  f1 = Reshape(p1, all)
    q1 = MatMul(f1, v)  y = Add(q1, u)"""
BRANCH = """
    one = Constant<value_int=1>()  two = Constant<value_int=2>()  yes = Less(one, two)
    t1 = If<then_branch = really () => (float[N,2,1,1] y1) { a1 = Relu(x)
              y1 = GlobalAveragePool(a1) },
            else_branch = never () => (float[N,2,1,1] y2) { z1 = GlobalMaxPool(x)
              y2 = Floor(z1) }>(yes)
    f1 = Flatten(t1)  q1 = MatMul(f1, k)  y = Add(q1, u)"""
SPELLED = """
    c1 = Conv<pads=[1,1,1,1]>(x, w)  c2 = Conv<pads=[1,1,1,1]>(x, w)  c3 = Add(c1, c2)
    two = Constant<value_ints=[2, 3]>()  last = Constant<value_ints=[-1]>()
    m1 = ReduceMean(c3, two)  s1 = Mul(c3, c3)  m2 = ReduceMean(s1, two)  s2 = Mul(m1, m1)
    d1 = Sub(c3, m1)  d2 = Sub(m2, s2)  d3 = Sqrt(d2)  n1 = Div(d1, d3)
    e1 = Exp(n1)  t1 = ReduceSum(e1, last)  p1 = Div(e1, t1)  o1 = Mul(p1, n1)
    a1 = ReduceMax<keepdims=0>(o1, two)  q1 = MatMul(a1, v)  y = Add(q1, u)"""
ROWS = {"convolutional": CONVOLUTIONAL, "branch": BRANCH, "spelled": SPELLED}
SIZES = {**SHAPES, "k": (2, 3)}


def model_of(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEAD + text)
    rng = np.random.default_rng(0)
    for name, shape in SIZES.items():
        array = rng.uniform(0.2, 1, shape) * (1 if name == "d" else rng.choice([-1, 1], shape))
        tensor = onnx.numpy_helper.from_array(array.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def inside(nodes: str) -> onnx.ModelProto:
    """The nodes in a branch of an If whose condition is an input."""
    return model_of(
        f"g (float[N,2,5,4] x, bool c) => (float[N,3] r) {{ r = If<then_branch = b1 () =>"
        f" (float[N,3] y) {{ {nodes} }}, else_branch = b2 () => (float[N,3] y0) {{"
        " m0 = GlobalMaxPool(x)  f0 = Flatten(m0)  y0 = MatMul(f0, k) }>(c) }"
    )


def outside(nodes: str) -> onnx.ModelProto:
    return model_of(f"g (float[N,2,5,4] x) => (float[N,3] y) {{ {nodes} }}")


X: Array = np.random.default_rng(1).standard_normal((2, 2, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-gamma-box", "gradient"])
@pytest.mark.parametrize("row", ROWS)
def test_relevance_is_that_of_the_nodes_alone(row: str, composite: str) -> None:
    box = {"zbox.low": -3.0, "zbox.high": 3.0} if composite == "epsilon-gamma-box" else {}
    box = box if row == "convolutional" else {}
    if row != "convolutional" and composite == "epsilon-gamma-box":
        composite = "epsilon"
    models = (inside(ROWS[row]), outside(ROWS[row]))
    compiled = [lrp_onnx.compile(m, composite, parameters=box, target=1) for m in models]
    found = run(compiled[0].model, {"x": X, "c": np.array(True)})["x_relevance"]
    assert_close(found, run(compiled[1].model, {"x": X})["x_relevance"])
    rules = [{(line.op_type, line.rule) for line in c.report if line.rule} for c in compiled]
    assert rules[1] <= rules[0]
    other = run(compiled[0].model, {"x": X, "c": np.array(False)})["x_relevance"]
    assert np.isfinite(other).all()
    assert np.abs(other).max() > 0


def test_bodies_are_normalized() -> None:
    model = normalized(load(inside(BRANCH)))
    inner = graphs_of(model.graph)[1:]
    assert len(inner) == 2, "the branch that is always taken is inlined where it stands"
    assert "Less" not in {node.op_type for graph in inner for node in graph}
    model = normalized(load(inside(CONVOLUTIONAL)))
    types = {node.op_type for graph in graphs_of(model.graph) for node in graph}
    assert not {"Identity", "Concat"} & types


def test_spellings_in_bodies_are_recognized() -> None:
    model = normalized(load(inside(SPELLED)))
    canonize(model)
    types = [node.op_type for graph in graphs_of(model.graph)[1:] for node in graph]
    assert [types.count(k) for k in ("Conv", "LayerNormalization", "Softmax")] == [1, 1, 1]
    assert not {"Exp", "Div"} & set(types)


def test_weights_of_bodies_are_stored_once() -> None:
    text = """g (float[N,60] x, bool c) => (float[N,60] r) {
      r = If<then_branch = one () => (float[N,60] y1)
               <float[60,60] big> { a1 = MatMul(x, big)  b1 = Relu(a1)  y1 = MatMul(b1, big) },
             else_branch = two () => (float[N,60] y2) { y2 = Relu(x) }>(c) }"""
    source = onnx.parser.parse_model(HEAD + text)
    weight = np.random.default_rng(0).standard_normal((60, 60)).astype(np.float32)
    branch = source.graph.node[0].attribute[0].g
    del branch.initializer[:]
    branch.initializer.append(onnx.numpy_helper.from_array(weight, "big"))
    compiled = lrp_onnx.compile(source, "epsilon", target=1).model
    assert compiled.ByteSize() < 1.5 * source.ByteSize()


def test_signs_in_bodies() -> None:
    text = """g (float[T,N,4] x, float[N,4] h, bool c) => (float[T,N,4] y, float[N,4] z) {
      p = Relu(x)
      hn, y = Scan<num_scan_inputs=1, body = step (float[N,4] s, float[N,4] e) =>
        (float[N,4] so, float[N,4] o) { so = Add(s, e)  o = Sqrt(e) }>(h, p)
      n = Neg(p)  i = Constant<value_int=0>()  f = Gather(n, i)
      z = If<then_branch = one () => (float[N,4] z1) { z1 = Identity(f) },
             else_branch = two () => (float[N,4] z2) { z2 = Mul(f, f) }>(c) }"""
    graph = load(onnx.parser.parse_model(HEAD + text)).graph
    known = {v.name: sign for v, sign in signs(graph).items()}
    assert known == {"p": 1, "e": 1, "o": 1, "y": 1, "n": -1, "f": -1, "z1": -1, "z2": 1}


@pytest.mark.parametrize("slides", [False, True])
def test_a_layer_of_each_place_is_in_a_body_what_it_is_outside(slides: bool) -> None:
    window = "p1 = MaxPool<kernel_shape=[2,2]>(a1)" if slides else "p1 = Identity(a1)"
    nodes = (f"c1 = Conv(x, once)  a1 = Tanh(c1)  {window}  g1 = ReduceMax<keepdims=0>(p1, axes)  "
             "y = MatMul(g1, k)")  # fmt: skip
    outside = model_of(f"g (float[N,2,5,4] x, bool c) => (float[N,3] y) {{ {nodes} }}")
    weight = np.random.default_rng(1).standard_normal((2, 2, 1, 1)).astype(np.float32)
    x = np.random.default_rng(2).standard_normal((2, 2, 5, 4)).astype(np.float32)
    found = []
    for model in (inside(nodes), outside):
        for name, array in {"once": weight, "axes": np.array([2, 3])}.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        compiled = lrp_onnx.compile(model, "epsilon-plus", target="all")
        given = {"x": x, "c": np.array(True)}
        read = [value.name for value in compiled.model.graph.input]
        found.append(run(compiled.model, {k: given[k] for k in read})["x_relevance"])
    assert_close(found[0], found[1])
