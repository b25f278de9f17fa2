"""The prediction stays the model's own, node by node and bit for bit, and the explanation reads it.

The models are spelled in ways that the canonical view has other nodes for.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import test_concepts
from models import Array, network

import lrp_onnx
from lrp_onnx.frontend import prediction
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.graph.annotations import CHANGED

ROW, COLUMN = np.linspace(0.5, 2, 6, dtype=np.float32), np.linspace(-1, 2, 4, dtype=np.float32)
CONSTANTS: dict[str, object] = {
    "w": (4, 4, 3, 3), "v": (4, 4, 1, 1), "b": COLUMN,
    "g": COLUMN + 2, "m": COLUMN / 2, "s": np.abs(COLUMN) + 1, "scale": COLUMN.reshape(4, 1, 1) + 2,
    "shift": COLUMN.reshape(4, 1, 1), "out": (4, 5), "u": (6, 6), "p": (6, 6), "bias": ROW,
    "gain": ROW, "beta": ROW - 1, "last": [-1], "one": 1.0, "two": 2.0, "eps": 1e-3, "six": 6.0,
    "zero": 0.0, "half": 0.5, "low": -np.inf, "minus": [-1], "c0": [0], "c1": [1], "rows": [2, -1],
    "pads": [0, 0, 1, 1, 0, 0, 1, 1], "mask": np.tril(np.ones((6, 6))) > 0, "start": [0],
    "heads": (6, 2, 3), "shifts": ROW.reshape(2, 3), "yes": np.array(True), "turns": 3, "twice": 2,
}  # fmt: skip
U = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)
PICTURE, TOKENS = (2, 4, 6, 6), (2, 6, 6)
CLASSIFIER = "q = GlobalAveragePool(a) f = Flatten(q) y = MatMul(f, out)"
END = "t = Add(r, x) y = Tanh(t)"
PICTURES = {
    "BatchNorm behind": "c = Conv<pads=[1,1,1,1]>(x, w) n = BatchNormalization(c, g, b, m, s)"
        " a = Relu(n)",
    "BatchNorm in front": "n = BatchNormalization(x, g, b, m, s) a = Conv(n, w, b)",
    "scale and shift": "c = Conv(x, w) e = Mul(c, scale) n = Add(e, shift) a = Clip(n, zero, six)",
    "channels last": "c = Conv(x, w, b) h = Transpose<perm=[0,2,3,1]>(c) e = Mul(h, g)"
        " i = Add(e, b) r = Relu(i) a = Transpose<perm=[0,3,1,2]>(r)",
    "transposed in front": "n = BatchNormalization(x, g, b, m, s) h = Transpose<perm=[0,1,3,2]>(n)"
        " a = Conv(h, w)",
    "padded": "o = Pad(x, pads) a = Conv(o, w)",
    "padded, transposed": "o = Pad(x, pads) h = Transpose<perm=[0,1,3,2]>(o) a = Conv(h, w)",
    "same": 'a = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)',
    "branches": "c = Conv<pads=[1,1,1,1]>(x, w) d1 = BatchNormalization(c, g, b, m, s)"
        " e = Conv(x, v) f1 = BatchNormalization(e, g, m, b, s) i = Add(d1, f1) a = Relu(i)",
    "rounded up": "a = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(x)",
    "SiLU": "c = Conv(x, w) e = Sigmoid(c) a = Mul(c, e)",
    "dropped": "c = Conv(x, w) i = Identity(c) o = Dropout(i) a = Relu(o)",
    "InstanceNorm": "c = InstanceNormalization(x, g, b) a = Relu(c)",
    "sum of four": "k = Conv(x, w) c = Conv(k, v) e = Sigmoid(k) a = Sum(c, e, k, c)",
    "taken branch": "c = Conv(x, w) a = If<then_branch = yes_ () => (float[N,4,R,S] z)"
        " { i1 = Conv(c, v) z = Relu(i1) }, else_branch = no_ () => (float[N,4,R,S] z2)"
        " { z2 = Neg(c) }>(yes)",
}  # fmt: skip
TEXTS = {
    "bias": "c = MatMul(x, u) r = Add(c, bias)",
    "factors": "f = Reshape(x, minus) i = Reshape(f, rows) h = Reshape(f, rows6)"
        " e = Gemm<alpha=0.5, beta=2.0>(h, u, bias) r = Reshape(e, tokens)",
    "LayerNorm": "i = ReduceMean(x, last) d = Sub(x, i) q = Pow(d, two) e = ReduceMean(q, last)"
        " h = Add(e, eps) o = Sqrt(h) j = Div(d, o) l = Mul(j, gain) r = Add(l, beta)",
    "variance by squares": "i = ReduceMean(x, last) q = Mul(x, x) e = ReduceMean(q, last)"
        " k2 = Mul(i, i) v2 = Sub(e, k2) h = Add(v2, eps) o = Sqrt(h) d = Sub(x, i) r = Div(d, o)",
    "RMSNorm": "q = Mul(x, x) e = ReduceMean(q, last) h = Add(e, eps) o = Sqrt(h) j = Div(x, o)"
        " r = Mul(j, gain)",
    "softmax": "e = Exp(x) i = ReduceSum(e, last) r = Div(e, i)",
    "masked": "c = Where(mask, x, low) e = Softmax(c) r = MatMul(e, x)",
    "late division": "e = Exp(x) i = ReduceSum(e, last) c = MatMul(e, x) r = Div(c, i)",
    "scores": "i = Transpose<perm=[0,2,1]>(x) c = MatMul(x, i) e = Reshape(c, wide)"
        " h = Mul(e, half) j = Softmax(h) o = Reshape(j, tokens) r = MatMul(o, x)",
    "Einsum": 'c = Einsum<equation="nij,jk->nik">(x, u) r = Add(c, bias)',
    "two moves": "c = MatMul(x, u) e = Transpose<perm=[0,2,1]>(c) h = Transpose<perm=[0,2,1]>(e)"
        " r = Add(h, bias)",
    "two reshapes": "c = MatMul(x, u) e = Unsqueeze(c, c1) h = Squeeze(e, c1) r = Add(h, bias)",
    "heads": 'c = Einsum<equation="bij,jhd->bihd">(x, heads) e = Add(c, shifts) h = Relu(e)'
        " r = Reshape(h, tokens)",
    "branches": "c = MatMul(x, u) e = MatMul(x, p) r = Sub(c, e)",
    "gate": "e = Erf(x) i = Add(e, one) j = Mul(x, i) r = Mul(j, half)",
    "sizes": "i = Shape(x) j = Gather(i, c1) h = Concat<axis=0>(start, j, minus)"
        " k2 = Reshape(x, h) e = MatMul(k2, u) r = Reshape(e, i)",
    "transposed weight": "i = Transpose<perm=[1,0]>(u) r = MatMul(x, i)",
    "scan": "h = ReduceMean<keepdims=0>(x, start) o, r = Scan<num_scan_inputs=1, body ="
        " step (float[6,6] s0, float[6,6] e0) => (float[6,6] s1, float[6,6] o1)"
        " { s1 = Add(s0, e0) o1 = Tanh(s1) }>(h, x)",
    "cut by steps": "c = MatMul(x, u) o = Scan<num_scan_inputs=1, body = step (float[6,6] e0) =>"
        " (float[6,6] o1) { m0 = Add(e0, bias) q0 = Tanh(m0) o1 = MatMul(q0, p) }>(c)"
        " r = Add(o, bias)",
    "cut by turns": "c = MatMul(x, u) r = Loop<body = turn (int64 i, bool k0) => (bool k1,"
        " float[6,6] o1) { k1 = Identity(k0) g0 = Gather(c, i) o1 = Add(g0, bias) }>(twice, yes)",
    "loop": "l = Loop<body = turn (int64 i, bool c,"
        " float[A,B,C] s0) => (bool c1_, float[A,B,C] s1) { c1_ = Identity(c) m0 = MatMul(s0, u)"
        " s1 = Tanh(m0) }>(turns, yes, x) r = Reshape(l, tokens)",
}  # fmt: skip
MODELS = {
    **{f"picture, {k}": f"{v} {CLASSIFIER}" for k, v in PICTURES.items()},
    **{f"text, {k}": f"{v} {END}" for k, v in TEXTS.items()},
}
COMPOSITES = ("epsilon-plus-flat", "epsilon-gamma-box", "attnlrp", "gradient")


def model_of(name: str) -> onnx.ModelProto:
    constants = {
        **CONSTANTS,
        "rows6": [-1, 6],
        "tokens": [-1, 6, 6],
        "wide": [-1, 1, 6, 6],
        "rows": [2, 36],
    }
    shape = PICTURE if name.startswith("picture") else TOKENS
    return network(MODELS[name], shape, **used(constants, MODELS[name]))


def used(constants: Mapping[str, object], body: str) -> dict[str, object]:
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in body).split())
    return {name: value for name, value in constants.items() if name in words}


def options_of(name: str, composite: str) -> dict[str, object]:
    boxed = composite == "epsilon-gamma-box" and "Conv" in MODELS[name]
    return {"parameters": {"zbox.low": -3, "zbox.high": 3}} if boxed else {}


@cache
def compiled(name: str, composite: str) -> onnx.ModelProto:
    return lrp_onnx.compile(
        model_of(name), composite, target="all", **options_of(name, composite)
    ).model


def outputs(
    model: onnx.ModelProto, x: Array, names: list[str] | None = None, plain: bool = True
) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = names or [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def picture(model: onnx.ModelProto) -> Array:
    """A seeded input."""
    sizes = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(zlib.crc32(model.SerializeToString()))
    return rng.standard_normal(sizes).astype(np.float32)


def constants_of(model: onnx.ModelProto) -> set[str]:
    """Tensors that weights alone decide."""
    known = {t.name for t in model.graph.initializer} | {""}
    for node in model.graph.node:
        bodies = any(a.HasField("g") for a in node.attribute)
        if set(node.input) <= known and not bodies:
            known.update(node.output)
    return known


def facts(node: onnx.NodeProto) -> list[object]:
    """The node without its name and what is noted on it."""
    attributes = sorted(node.attribute, key=lambda a: a.name)
    return [node.op_type, [*node.input], [*node.output], *map(attribute, attributes)]


def attribute(a: onnx.AttributeProto) -> object:
    """Of a body its nodes, and what goes in and out."""
    if not a.HasField("g"):
        return a.SerializeToString()
    ends = [[v.name for v in values] for values in (a.g.input, a.g.output)]
    return [a.name, ends, [facts(node) for node in a.g.node]]


def flat(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes; of an If on a constant those of the branch that is taken."""
    found = []
    truths = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.BOOL}
    for node in graph.node:
        if node.op_type != "If" or node.input[0] not in truths:
            found.append(node)
            continue
        (branch,) = (a.g for a in node.attribute if a.name == "then_branch")
        found += flat(branch)
    return found


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_each_node_is_the_models(name: str, composite: str) -> None:
    model, result = model_of(name), compiled(name, composite)
    there = {tensor: node for node in result.graph.node for tensor in node.output}
    weights = {t.name: t for t in result.graph.initializer}
    read = {tensor for node in result.graph.node for tensor in node.input} | {"y"}
    everything = with_outputs(model, [t for n in model.graph.node for t in n.output])
    values = outputs(everything, picture(model))
    for node in flat(model.graph):
        last = node.output[0]
        for position, tensor in enumerate(node.input):
            if name == "picture, taken branch" and tensor == "a":  # the branch's result
                node.input[position] = "z"
        if last in there:
            assert facts(there[last]) == facts(node)
        elif last in read:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(weights[last]), values[last])


def test_a_count_inside_a_norm_stays_the_models() -> None:
    body = (
        "m = ReduceMean(x, rows) d = Sub(x, m) q = Mul(d, d) e = ReduceSum(q, rows) s = Shape(x)"
        " n = Gather(s, c1) f = Cast<to=1>(n) v = Div(e, f) o = Sqrt(v) r = Div(d, o) y = Tanh(r)"
    )
    model = network(body, (2, 5, 4), (0, 1), rows=[1], c1=1)
    result = lrp_onnx.compile(model, "attnlrp", target="all").model
    there = {tensor: node for node in result.graph.node for tensor in node.output}
    assert all(facts(there[node.output[0]]) == facts(node) for node in model.graph.node)


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    known = {o.name for o in copy.graph.output}
    inferred = onnx.shape_inference.infer_shapes(copy).graph.value_info
    copy.graph.output.extend(v for v in inferred if v.name in names and v.name not in known)
    return copy


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", MODELS)
def test_the_outputs_are_the_models_bit_for_bit(name: str, composite: str) -> None:
    model = model_of(name)
    result, x = compiled(name, composite), picture(model)
    (y,) = outputs(model, x).values()
    np.testing.assert_array_equal(outputs(result, x, ["y"])["y"], y)
    optimized = [outputs(each, x, ["y"], plain=False)["y"] for each in (model, result)]
    assert np.abs(optimized[1] - optimized[0]).max() <= 1e-6 * np.abs(y).max()


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[ir.Model]:
    """The canonical views of what is compiled, before the model's own nodes are put back."""
    found, put_back = list[ir.Model](), Prediction.put_back

    def seen(self: Prediction, model: ir.Model) -> None:
        clone = model.clone()
        for old, new in zip(tensors(model.graph), tensors(clone.graph), strict=True):
            new.meta.update({k: v for k, v in old.meta.items() if k == CHANGED})
        found.append(clone)
        put_back(self, model)

    monkeypatch.setattr(Prediction, "put_back", seen)
    return found


def tensors(graph: ir.Graph) -> list[ir.Value]:
    return [v for node in graph for v in node.outputs]


def disagreements(view: ir.Model, model: onnx.ModelProto) -> tuple[int, list[str]]:
    """How many tensors of the view are the model's by name, and which of those are not."""
    own = {t for node in model.graph.node for t in node.output} - constants_of(model)
    shared = [v for v in tensors(view.graph) if v.name in own and CHANGED not in v.meta]
    for value in shared:
        if not value.is_graph_output():
            view.graph.outputs.append(value)
    names, x = [str(v.name) for v in shared], picture(model)
    ours = outputs(ir.to_proto(view), x, names)
    theirs = outputs(with_outputs(model, names), x)
    return len(names), [n for n in names if not close(ours[n], theirs[n])]


def close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-4 * np.abs(b[np.isfinite(b)]).max())


@pytest.mark.parametrize("name", MODELS)
def test_a_tensor_of_the_view_is_the_models_of_its_name(name: str, views: list[ir.Model]) -> None:
    compiled.__wrapped__(name, "epsilon")
    count, wrong = disagreements(views[0], model_of(name))
    assert count > 0
    assert not wrong


@pytest.mark.parametrize("table", test_concepts.TABLES)
def test_so_it_is_in_every_spelling_of_a_concept(table: str, views: list[ir.Model]) -> None:
    for fragment in test_concepts.TABLES[table].values():
        model = test_concepts.model_with(fragment)
        lrp_onnx.compile(model, "epsilon", check=False)
        assert disagreements(views.pop(), model)[1] == [], fragment


@pytest.mark.parametrize("name", ["picture, transposed in front", "picture, padded, transposed"])
def test_a_tensor_that_is_another_is_noticed(name: str, views: list[ir.Model]) -> None:
    compiled.__wrapped__(name, "epsilon")
    marked = [v for v in tensors(views[0].graph) if v.meta.pop(CHANGED, None)]
    assert disagreements(views[0], model_of(name))[1] == [v.name for v in marked] == ["h"]


FEW = {"picture, channels last": 0, "picture, branches": 0, "text, scores": 2, "text, LayerNorm": 1,
       "text, heads": 1}  # fmt: skip


@pytest.mark.parametrize(("name", "most"), FEW.items())
def test_the_explanation_reads_the_models_tensors(name: str, most: int) -> None:
    """No convolution or product of the view is computed beside the model's."""
    nodes = compiled(name, "epsilon").graph.node
    of_view = [n.op_type for n in nodes if {p.value for p in n.metadata_props} & {prediction.VIEW}]
    assert len([op for op in of_view if op != "Transpose"]) <= most, of_view


def test_a_prediction_that_is_not_put_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prediction, "put_back", lambda *_: None)
    compiled.cache_clear()
    for check in (test_each_node_is_the_models, test_the_outputs_are_the_models_bit_for_bit):
        with pytest.raises((AssertionError, KeyError)):
            check("picture, scale and shift", "epsilon-plus-flat")
    compiled.cache_clear()


@pytest.mark.parametrize(("name", "pair"), [("scores", "ch"), ("heads", "ce")])
def test_what_is_scaled_or_gets_a_bias_has_relevance(name: str, pair: str) -> None:
    options = {"target": "all", "relevance_at": [*pair]}
    model = model_of(f"text, {name}")
    found = outputs(lrp_onnx.compile(model, "epsilon", **options).model, picture(model))
    before, behind = (found[f"{each}_relevance"].ravel() for each in pair)
    np.testing.assert_array_equal(before, behind)
