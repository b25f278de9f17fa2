"""Moves in a row that exchange axes become one Transpose, others stay."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import assert_close, network, normalized, run

import lrp_onnx
from lrp_onnx.frontend.canonize.transposed import single_transposes

SHAPE = (3, 2, 4, 5)
CONSTANTS = {
    "flat": [6, 4, 5], "open": [-1, 4, 5], "parted": [3, 2, 5, 4], "open_parted": [-1, 2, 5, 4],
    "pairs": [3, 8, 5], "turned": [3, 5, 2, 4], "other": [2, 3, 5, 4], "one": [1],
    "kept": [3, 2, 4, 5], "w": np.linspace(-1, 1, 4, dtype=np.float32).reshape(4, 1),
}  # fmt: skip
TURN = "t = Transpose<perm=[0, 2, 1]>(f)"
ONE = {
    "flattened": (f"f = Reshape(x, flat) {TURN} r = Reshape(t, parted)", (0, 1, 3, 2)),
    "of any batch": (f"f = Reshape(x, open) {TURN} r = Reshape(t, open_parted)", (0, 1, 3, 2)),
    "pairs of axes": (f"f = Reshape(x, pairs) {TURN} r = Reshape(t, turned)", (0, 3, 1, 2)),
    "around one axis more": ("u = Unsqueeze(x, one) t = Transpose<perm=[0, 1, 4, 3, 2]>(u) "
        "r = Squeeze(t, one)", (0, 3, 2, 1)),
}  # fmt: skip
OTHERS = {
    "the batch parted otherwise": f"f = Reshape(x, flat) {TURN} r = Reshape(t, other)",
    "no exchange": "f = Reshape(x, flat) r = Reshape(f, kept)",
    "read on the way": f"f = Reshape(x, flat) {TURN} q = Reshape(t, parted) g = Tanh(t) "
        "h = Reshape(g, parted) r = Add(q, h)",
}  # fmt: skip


def model_with(fragment: str, symbolic: tuple[int, ...] = ()):
    used = {k: c for k, c in CONSTANTS.items() if f" {k})" in fragment}
    return network(f"{fragment} y = Tanh(r)", SHAPE, symbolic, **used)


@pytest.mark.parametrize("name", ONE)
def test_they_are_one_transpose(name: str) -> None:
    fragment, perm = ONE[name]
    model = model_with(fragment, (0,) if "any" in name else ())
    graph = normalized(ir.from_proto(model))
    assert single_transposes(graph)
    (node,) = [node for node in graph.graph if node.op_type != "Tanh"]
    assert tuple(node.attributes.get_ints("perm", [])) == perm
    check_prediction(model)


@pytest.mark.parametrize("name", OTHERS)
def test_others_stay(name: str) -> None:
    model = model_with(OTHERS[name])
    assert not single_transposes(normalized(ir.from_proto(model)))
    check_prediction(model)


def check_prediction(model) -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    compiled = lrp_onnx.compile(model, "attnlrp", target="all", check=False).model
    found = run(compiled, {"x": x})
    assert_close(found["y"], run(model, {"x": x})["y"])
    assert_close(found["x_relevance"].sum(), found["y"].sum(), 1e-4)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("how", ["attnlrp", "epsilon", "gradient"])
def test_a_tensor_between_them_has_its_relevance(name: str, how: str) -> None:
    model = model_with(ONE[name][0], (0,) if "any" in name else ())
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    between = [node.output[0] for node in model.graph.node][:-2]
    asked = {"relevance_at": between, "target": "all"}
    found = run(lrp_onnx.compile(model, how, **asked).model, {"x": x})
    r = found["x_relevance"]
    assert_close(r, run(lrp_onnx.compile(model, how, target="all").model, {"x": x})["x_relevance"])
    for tensor in between:
        moved = found[f"{tensor}_relevance"]
        assert moved.shape == between_shape(model, tensor, x)
        assert_close(np.sort(moved.ravel()), np.sort(r.ravel()))
    (first,) = [n for n in model.graph.node if n.output[0] == between[0]]
    if first.op_type == "Reshape":
        assert_close(found[f"{between[0]}_relevance"].ravel(), r.ravel())


def between_shape(model, tensor: str, x: np.ndarray) -> tuple[int, ...]:
    """Its shape in the model."""
    part = onnx.ModelProto.FromString(model.SerializeToString())
    part.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return run(part, {"x": x})[tensor].shape
