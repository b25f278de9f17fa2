"""Tiny models from one row each, and the runtime that judges them."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from lrp_onnx.frontend.normalize import normalize

Array = np.ndarray

# largest difference allowed, relative to the largest expected value
TOLERANCE = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-9}


class Case:
    """One node as a row: operator, attributes, then its inputs in order, by keyword.

    A tuple is a shape: an activation where the keyword starts with `x`, else random constants.
    A list or array is a constant as given (ints become int64); None leaves an optional input out.
    `MatMul` with `b=` is followed by the Add of that bias. `symbolic` lists the axes of the
    activations without a fixed size; several `outputs` are joined, last first, along the row's
    axis; `between` bounds what is drawn; `then` is an elementwise operator behind the row's own;
    `sized` rows make no sense with unknown sizes.
    """

    def __init__(
        self,
        op: str,
        attributes: Mapping[str, object] | None = None,
        *,
        symbolic: Sequence[int] = (),
        outputs: int = 1,
        opset: int = 18,
        between: tuple[float, float] | None = None,
        then: str = "",
        sized: bool = False,
        **inputs: tuple[int, ...] | Sequence[object] | Array | None,
    ) -> None:
        self.op, self.attributes, self.inputs = op, dict(attributes or {}), inputs
        self.symbolic, self.outputs, self.opset = symbolic, outputs, opset
        self.between, self.then, self.sized = between, then, sized
        self.dtype = np.dtype("float32")
        self.drawn_as = ""
        """The row whose numbers this one has, where it is not its own."""
        self.activations = {k: v for k, v in inputs.items() if k[0] == "x"}

    def __str__(self) -> str:
        parts = [self.op]
        parts += [f"{k}={_short(v)}" for k, v in {**self.attributes, **self.inputs}.items()]
        parts += ["symbolic"] * bool(self.symbolic) + [str(self.dtype)] * (self.dtype != "float32")
        return "-".join(parts)

    def in_dtype(self, dtype: str) -> Case:
        """The same row with activations and constants of that type."""
        other = copy.copy(self)
        other.dtype = np.dtype(dtype)
        return other

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        a = rng.uniform(*self.between, shape) if self.between else rng.standard_normal(shape)
        return a.astype(self.dtype)

    def unknown(self) -> Case:
        """The same row, numbers and all, with no size of its activations known but the channels
        (axis 1).
        """
        rank = max(map(len, self.activations.values()))
        other = copy.copy(self)
        other.symbolic, other.drawn_as = tuple(k for k in range(rank) if k != 1), str(self)
        return other

    def with_unknown(self) -> list[Case]:
        """The row, and where it makes sense the same with unknown sizes."""
        return [self] if self.symbolic or self.sized else [self, self.unknown()]

    def constants(self) -> dict[str, Array]:
        rng = np.random.default_rng(zlib.crc32((self.drawn_as or str(self)).encode()))
        given = {k: v for k, v in self.inputs.items() if k[0] != "x" and v is not None}
        return {k: self._draw(rng, v) if isinstance(v, tuple) else _literal(v)
                for k, v in given.items()}  # fmt: skip

    def feeds(self, kind: str = "signed") -> dict[str, Array]:
        """Activations: `signed`, `positive` (none below 0) or `zeros` (signed, every third 0)."""
        rng = np.random.default_rng(zlib.crc32(f"{self.drawn_as or self}{kind}".encode()))
        feeds = {k: self._draw(rng, s) for k, s in self.activations.items()}
        if kind == "positive":
            return {k: np.abs(v) for k, v in feeds.items()}
        if kind == "zeros":
            return {k: np.where(np.arange(v.size).reshape(v.shape) % 3, v, v.dtype.type(0))
                    for k, v in feeds.items()}  # fmt: skip
        return feeds

    def nodes(self, source: str = "x", output: str = "y") -> list[onnx.NodeProto]:
        """The row's node, named for its operator, then a MatMul's bias, the join, or `then`."""
        biased = self.op == "MatMul" and "b" in self.inputs
        given = {k: v for k, v in self.inputs.items() if not (biased and k == "b")}
        names = ["" if v is None else source if k == "x" else k for k, v in given.items()]
        parts = [f"part{k}" for k in range(self.outputs)]
        alone = self.outputs == 1 and not biased and not self.then
        ends = [output] if alone else parts
        nodes = [helper.make_node(self.op, names, ends, self.op, **self.attributes)]
        if biased:
            nodes.append(helper.make_node("Add", [*parts, "b"], [output], "Add"))
        if self.outputs > 1:
            axis = self.attributes.get("axis", 0)
            nodes.append(helper.make_node("Concat", parts[::-1], [output], "join", axis=axis))
        if self.then:
            nodes.append(helper.make_node(self.then, parts, [output], self.then))
        return nodes

    def model(self) -> onnx.ModelProto:
        return self._model(self.nodes())

    def _model(self, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
        return model_of(
            nodes, self.constants(), self.activations, self.symbolic, self.opset, dtype=self.dtype
        )

    def between_relus(self) -> onnx.ModelProto:
        """Relu → the node → Relu, so that the signs of its input and output are known."""
        nodes = [helper.make_node("Relu", ["x"], ["before"], "before"),
                 *self.nodes("before", "z"),
                 helper.make_node("Relu", ["z"], ["y"], "behind")]  # fmt: skip
        return self._model(nodes)


def _short(value: object) -> str:
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"array{value.shape}".replace(" ", "")
    return str(value).replace(" ", "").replace("\n", "")


def _literal(value: object) -> Array:
    a = np.asarray(value)
    return a.astype(
        np.int64 if a.dtype.kind == "i" else np.float32 if a.dtype.kind == "f" else a.dtype
    )


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    inputs: Mapping[str, Sequence[int]],
    symbolic: Sequence[int] = (),
    opset: int = 18,
    output: str = "y",
    dtype: np.dtype = np.dtype("float32"),  # noqa: B008 (immutable)
) -> onnx.ModelProto:
    """A model of `nodes`; the inputs' `symbolic` axes have names (by size), not sizes."""
    shapes = {k: [f"axis{i}_{n}" if i in symbolic else n for i, n in enumerate(s)]
              for k, s in inputs.items()}  # fmt: skip
    element = helper.np_dtype_to_tensor_dtype(dtype)
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(k, element, s) for k, s in shapes.items()],
        [helper.make_tensor_value_info(output, element, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def network(
    body: str, x: Sequence[int], symbolic: Sequence[int] = (0,), **constants: object
) -> onnx.ModelProto:
    """A model `x -> y` from ONNX text, nodes named for their outputs; a tuple is random weights.

    `other`, where the text reads it and no constant has the name, is a second input like x.
    """
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    for node in nodes:
        node.name = node.output[0]
    rng = np.random.default_rng(zlib.crc32(body.encode()))
    drawn = {
        k: rng.standard_normal(v).astype(np.float32) if isinstance(v, tuple) else _literal(v)
        for k, v in constants.items()
    }
    read = any("other" in node.input for node in nodes) and "other" not in drawn
    others = {"other": x} if read else {}
    return model_of(nodes, drawn, {"x": x} | others, symbolic)


def normalized(model: ir.Model) -> ir.Model:
    """The model in the form that the compiler's other stages expect."""
    normalize(model)
    return model


def session(
    model: onnx.ModelProto, blocked: bool = True, exact_integers: bool = False
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A function from feeds to outputs by name, on ONNX Runtime's CPU provider with one thread.

    Without `blocked` it keeps the layout of the tensors: ONNX Runtime's blocked one (NCHWc) fails
    on an empty batch wherever two convolutions with few channels are added.  Without
    `exact_integers` sums of uint8 times int8 saturate on processors with AVX2 and no VNNI; with it
    ONNX Runtime refuses a graph of which two nodes share such a weight.
    """
    runtime = _opened(model.SerializeToString(deterministic=True), blocked, exact_integers)
    names = [o.name for o in runtime.get_outputs()]
    return lambda feeds: dict(zip(names, runtime.run(names, dict(feeds)), strict=True))


@lru_cache(maxsize=8)
def _opened(model: bytes, blocked: bool, exact_integers: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    if not blocked:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if exact_integers:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(model, options, ["CPUExecutionProvider"])


def run(
    model: onnx.ModelProto, feeds: Mapping[str, Array], exact_integers: bool = False
) -> dict[str, Array]:
    """Outputs by name of one call."""
    return session(model, exact_integers=exact_integers)(feeds)


def assert_close(
    actual: Array, expected: Array, tolerance: float = TOLERANCE["float32"], what: str = ""
) -> None:
    """max|Δ| ≤ tolerance · max|expected|, shapes equal, everything finite."""
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all(), "not finite"
    if expected.size == 0:
        return
    scale = np.abs(expected).max()
    error = np.abs(actual - expected).max()
    relative = error / scale if scale else error
    assert error <= tolerance * scale, (
        f"{what} max|d|/max|R| is {relative:.2e} (max|R| {scale:.3g})"
    )
