"""Declared shapes are claims: whatever a file says of its outputs and inner tensors, the relevance
of each sample is that of the sample alone in the model whose declarations are true.
"""

from __future__ import annotations

import copy
import zlib
from functools import cache

import numpy as np
import onnx
import pytest
import tables
import test_vjp
from models import Array, assert_close, network, run, session
from onnx import helper
from reference import Network, finite_difference

import lrp_onnx

BATCH = "N"
TEXTS = {
    "two dense": "h = Gemm(x, w)\n t = Relu(h)\n y = Gemm(t, v)",
    "softmax": "h = Gemm(x, w)\n y = Softmax<axis=1>(h)",
    "normalized": "h = LayerNormalization(x, s, s)\n y = Gemm(h, w)",
    "reshaped": "h = Gemm(x, w)\n r = Reshape(h, sizes)\n m = ReduceMean<keepdims=0>(r, two)\n"
    " y = Tanh(m)",
    "flattened": "u = Unsqueeze(x, two)\n f = Flatten(u)\n y = Gemm(f, w)",
    "transposed": "u = Unsqueeze(x, two)\n t = Transpose<perm=[0,2,1]>(u)\n m = MatMul(t, w)\n"
    " y = Squeeze(m, one)",
    "gated": "h = Gemm(x, w)\n s2 = Sigmoid(h)\n g = Mul(h, s2)\n y = Gemm(g, v)",
    "residual": "h = Gemm(x, q)\n a = Add(h, x)\n y = Gemm(a, w)",
    "sliced": "h = Gemm(x, w)\n y = Slice(h, one, two, one)",
    "joined": "h = Gemm(x, w)\n k = Tanh(h)\n y = Concat<axis=1>(h, k)",
}
SIZES = {"w": (4, 6), "v": (6, 3), "q": (4, 4), "s": (4,), "one": [1], "two": [2],
         "sizes": [0, 3, 2]}  # fmt: skip


def small_models() -> dict[str, onnx.ModelProto]:
    """Networks whose samples do not meet, with an open batch along axis 0."""
    made = {}
    for name, text in TEXTS.items():
        used = {k: v for k, v in SIZES.items() if k in text.replace("(", " ").replace(",", " ")}
        made[name] = network(text, (3, 4), (0,), **used)
    alone = {"Gemm", "MatMul"}
    for row in (*tables.CONV, *tables.TRANSPOSED, *tables.DENSE, *test_vjp.ACTIVATIONS):
        first, x = next(iter(row.inputs)), row.inputs["x"]
        weight = row.inputs.get("w", ())
        mixes = row.op in alone and (len(weight) > 2 or "transA" in row.attributes)
        bias = row.inputs.get("b")
        if first != "x" or len(x) < 2 or mixes or row.sized or (bias and len(bias) > 1):
            continue
        other = copy.copy(row)
        other.symbolic = (0,)
        made[str(other)] = other.model()
    return made


MODELS = small_models()


def edited(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """The model with stale declarations: of its output, and of some inner tensors."""
    stale = onnx.ModelProto.FromString(model.SerializeToString())
    edits = [_fixed_batch, _other_size, _more_axes, _fewer_axes, _renamed, _dropped]
    (output,) = stale.graph.output
    edits[rng.integers(len(edits))](output.type.tensor_type.shape)
    for value in stale.graph.value_info:
        if rng.random() < 0.7:
            edits[rng.integers(2)](value.type.tensor_type.shape)
    if rng.random() < 0.5:  # the input's batch has no name
        stale.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    return stale


def _fixed_batch(shape: onnx.TensorShapeProto) -> None:
    shape.dim[0].dim_value = 1


def _other_size(shape: onnx.TensorShapeProto) -> None:
    shape.dim[-1].dim_value = 7


def _more_axes(shape: onnx.TensorShapeProto) -> None:
    shape.dim.add().dim_value = 1


def _fewer_axes(shape: onnx.TensorShapeProto) -> None:
    del shape.dim[-1]


def _renamed(shape: onnx.TensorShapeProto) -> None:
    for dim in shape.dim:
        dim.dim_param = BATCH


def _dropped(shape: onnx.TensorShapeProto) -> None:
    for dim in shape.dim:
        dim.Clear()


@cache
def alone(name: str, method: str) -> list[Array]:
    """The relevance of each sample by itself, as the true model gives it."""
    compiled = lrp_onnx.compile(MODELS[name], method=method, **REQUESTS[method], check=False)
    runs = session(compiled.model)
    return [runs({"x": x[None]})["x_relevance"] for x in samples(name)]


def samples(name: str) -> Array:
    dims = MODELS[name].graph.input[0].type.tensor_type.shape.dim
    sizes = [4, *(d.dim_value for d in dims[1:])]
    drawn = np.random.default_rng(zlib.crc32(name.encode())).uniform(0.2, 0.9, sizes)
    return drawn.astype(np.float32)


REQUESTS = {
    "lrp": {"composite": "epsilon", "target": "all"},
    "gradient": {"target": "all"},
    "integrated-gradients": {"target": "all", "steps": 3},
}


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("name", MODELS)
def test_stale_declarations(name: str, method: str) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{name}{method}".encode()))
    x, expected = samples(name), alone(name, method)
    model = edited(MODELS[name], rng)
    compiled = lrp_onnx.compile(model, method=method, **REQUESTS[method], check=False)
    runs = session(compiled.model)
    for size in (1, 3, 4):
        found = runs({"x": x[:size]})["x_relevance"]
        assert_close(found, np.concatenate(expected[:size]), 2e-5)


def test_there_are_fifty() -> None:
    assert len(MODELS) >= 50


def declared(sizes: list[int | str | None]) -> onnx.ModelProto:
    """The network of two dense layers whose output is said to have these sizes."""
    model = onnx.ModelProto.FromString(MODELS["two dense"].SerializeToString())
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, sizes))
    return model


@pytest.mark.parametrize("sizes", [[1, 3], [1, "K"], ["N", 4], ["N"], [1, 3, 1]], ids=str)
def test_what_the_graph_contradicts_is_told(sizes: list[int | str | None]) -> None:
    compiled = lrp_onnx.compile(declared(sizes), method="gradient")
    (told,) = (text for text in compiled.warnings if "declares the shape" in text)
    assert "output 'y'" in told
    assert run(compiled.model, {"x": samples("two dense")})["x_relevance"].shape == (4, 4)
    onnx.checker.check_model(compiled.model, full_check=True)


@pytest.mark.parametrize("sizes", [["N", 3], ["M", "K"], [None, None]], ids=str)
def test_what_it_does_not_contradict_is_kept(sizes: list[int | str | None]) -> None:
    compiled = lrp_onnx.compile(declared(sizes), method="gradient")
    assert not [text for text in compiled.warnings if "declares the shape" in text]
    assert compiled.model.graph.output[0] == declared(sizes).graph.output[0]


def test_a_size_that_only_a_run_contradicts_is_told() -> None:
    """Behind a Reshape to sizes that the graph computes inference is at a loss."""
    text = "n = Shape<start=0, end=1>(x)\n k = Concat<axis=0>(n, four)\n h = Reshape(x, k)\n" \
        " z = NonZero(h)\n y = Cast<to=1>(z)"  # fmt: skip
    model = network(f"{text.replace('y = Cast', 'c = Cast')}\n y = Relu(x)", (3, 4), (0,), four=[4])
    model.graph.output.append(helper.make_tensor_value_info("c", 1, [2, 1]))
    compiled = lrp_onnx.compile(model, output="y", method="gradient")
    (told,) = (text for text in compiled.warnings if "declares the shape" in text)
    assert "a run gives" in told
    assert "'c'" in told


SPECTROGRAM = """
    u = Unsqueeze(x, two)\n u4 = Unsqueeze(u, zero)\n n = Transpose<perm=[0,3,1,2]>(u4)
    c = Conv(n, w)\n q = Relu(c)\n d = Conv(q, v)\n l = Transpose<perm=[0,2,3,1]>(d)
    y = Squeeze(l, zero)"""


def test_a_squeeze_without_axes_behind_open_sizes() -> None:
    """Its rank is right though the file says another; made-up input is large enough."""
    model = network(SPECTROGRAM, (9, 8), (0, 1), two=[2], zero=[0], w=(4, 1, 3, 3), v=(6, 4, 3, 3))
    model.graph.node[-1].output[0] = "s"
    model.graph.node.append(helper.make_node("Squeeze", ["s"], ["y"], "last"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["n"]))
    compiled = lrp_onnx.compile(model, method="gradient", target="seed", start="one")
    (told,) = compiled.warnings
    assert "[n]" in told
    for size in ((9, 8), (5, 12), (7, 5)):  # the last leaves one of an open size
        x = np.random.default_rng(0).standard_normal(size).astype(np.float32)
        y = Network(model).forward({"x": x})["y"]
        full = y.reshape(size[0] - 4, size[1] - 4, 6)
        seed = np.random.default_rng(1).standard_normal(full.shape).astype(np.float32)
        found = run(compiled.model, {"x": x, "y_seed": seed})
        assert_close(found["y"], y)
        expected = finite_difference(
            lambda v, model=model, full=full: Network(model)
            .forward({"x": v})["y"].reshape(full.shape),
            x.astype(float), seed, 1e-5,
        )  # fmt: skip
        assert_close(found["x_relevance"], expected, 1e-4)
