"""A case of onnx's operator tests as a model to explain, and the verdict on it.

Every float output is joined into one vector `y`, so that one seed weighs them all; inputs that are
sequences or optional become tensors that the model puts together.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from models import session
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from wide import Wide, wide

import lrp_onnx
from lrp_onnx.errors import LrpError, ModelError, TargetError, UnsupportedError

Array = np.ndarray

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
NATIVE = {
    helper.np_dtype_to_tensor_dtype(np.dtype(name))
    for name in (
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
    )
} | {TensorProto.STRING}
"""Element types that can be handed to ONNX Runtime from numpy."""
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
          "Multinomial"}  # fmt: skip
JOINED = "conformance_of_all"
STRUCTURAL = ("scales", "depth")
"""Float inputs that say how large the output is: constants, as in exported models."""
STEP = 1e-5
TOLERANCE = {"float64": 1e-6, "float32": 2e-5, "float16": 4e-3, "bfloat16": 4e-2}
FEW = 24
"""Inputs with no more elements are compared one by one."""
DIRECTIONS = 3
AMPLITUDES = (*[2e-2] * 6, 1e-3, 1e-4, 0.0)
"""How far inputs are moved off the kinks they may lie on, until the forward is smooth around."""


@dataclass
class Verdict:
    """right, wrong, crashed, refused or none (nothing to differentiate)."""

    name: str
    outcome: str
    why: str = ""
    left_out: tuple[str, ...] = ()
    """Float inputs without relevance on which the output depends."""

    @property
    def refused(self) -> tuple[str, ...]:
        """The operators that a refusal names."""
        named = re.findall(r"node '[^']*' \(([\w.]+)\)", self.why)
        return tuple(dict.fromkeys(named)) if self.outcome == "refused" else ()


@dataclass
class Joined:
    """The case's model with the output `y`, and its feeds."""

    model: onnx.ModelProto
    feeds: dict[str, Any]
    floats: list[str] = field(default_factory=list)
    """The float inputs."""
    differentiable: bool = True


def is_float(t: onnx.TypeProto) -> bool:
    return t.HasField("tensor_type") and t.tensor_type.elem_type in FLOATS


def array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if isinstance(value, list) or value is None else np.asarray(value)


def joined(case: Any) -> Joined:
    """The case with its float outputs in one vector and nothing but tensors for inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 18))
    inputs, outputs = case.data_sets[0]
    given = [v for v in model.graph.input if v.name]
    feeds: dict[str, Any] = {}
    before: list[onnx.NodeProto] = []
    declared: list[onnx.ValueInfoProto] = []
    for value, data in zip(given, map(array, inputs), strict=True):
        for v, d in _tensors(value, data, before):
            declared.append(v)
            feeds[v.name] = d
    for v in [v for v in declared if v.name in STRUCTURAL]:
        declared.remove(v)
        model.graph.initializer.append(numpy_helper.from_array(feeds.pop(v.name), v.name))
    del model.graph.input[:]
    model.graph.input.extend(declared)
    nodes = [*before, *model.graph.node]
    parts, dtypes = [], []
    for value, data in zip(list(model.graph.output), map(array, outputs), strict=True):
        for name, t in _results(value, data, nodes):
            parts.append(name)
            dtypes.append(t)
    common = TensorProto.DOUBLE if TensorProto.DOUBLE in dtypes else TensorProto.FLOAT
    flat = []
    for k, (name, t) in enumerate(zip(parts, dtypes, strict=True)):
        nodes.append(
            helper.make_node("Reshape", [name, "conformance_all"], [f"flat_{k}"], f"flat_{k}")
        )
        if t != common:
            nodes.append(
                helper.make_node("Cast", [f"flat_{k}"], [f"cast_{k}"], f"cast_{k}", to=common)
            )
        flat.append(nodes[-1].output[0])
    if flat:
        nodes.append(helper.make_node("Concat", flat, ["all_of_it"], "all_of_it", axis=0))
        # relevance would start before a Softmax at the end
        nodes.append(helper.make_node("Neg", ["all_of_it"], [JOINED], JOINED))
        whole = numpy_helper.from_array(np.array([-1]), "conformance_all")
        nodes.insert(
            0, helper.make_node("Constant", [], ["conformance_all"], "conformance_all", value=whole)
        )
        kept = [v for v in model.graph.output if v.type.HasField("tensor_type")]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        model.graph.output.append(helper.make_tensor_value_info(JOINED, common, None))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    floats = [v.name for v in declared if is_float(v.type)]
    random = any(n.op_type in RANDOM for n in model.graph.node)
    return Joined(model, feeds, floats, bool(floats and flat) and not random)


def _tensors(
    value: onnx.ValueInfoProto, data: Any, nodes: list[onnx.NodeProto]
) -> Iterator[tuple[onnx.ValueInfoProto, Any]]:
    """The tensors that an input is made of; the nodes that make it."""
    t = value.type
    if t.HasField("tensor_type"):
        yield value, data
        return
    optional = t.HasField("optional_type")
    inner = t.optional_type.elem_type if optional else t
    name = value.name
    made = f"{name}_inner" if optional else name
    if data is None:
        nodes.append(helper.make_node("Optional", [], [name], f"make_{name}", type=inner))
        return
    if inner.HasField("sequence_type"):
        element = inner.sequence_type.elem_type.tensor_type.elem_type
        names = [f"{name}_{k}" for k in range(len(data))]
        for n, d in zip(names, data, strict=True):
            yield helper.make_tensor_value_info(n, element, np.shape(d)), d
        op = "SequenceConstruct" if names else "SequenceEmpty"
        attributes = {} if names else {"dtype": element}
        nodes.append(helper.make_node(op, names, [made], f"make_{made}", **attributes))
    else:
        if isinstance(data, list):
            (data,) = data
        made = f"{name}_inner"
        source = made if optional else name
        yield (
            helper.make_tensor_value_info(source, inner.tensor_type.elem_type, np.shape(data)),
            data,
        )
    if optional:
        nodes.append(helper.make_node("Optional", [made], [name], f"make_{name}"))


def _results(
    value: onnx.ValueInfoProto, data: Any, nodes: list[onnx.NodeProto]
) -> Iterator[tuple[str, int]]:
    """The float tensors that an output holds."""
    t = value.type
    if is_float(t):
        yield value.name, t.tensor_type.elem_type
        return
    if t.HasField("tensor_type"):
        return
    name = value.name
    if t.HasField("optional_type"):
        t = t.optional_type.elem_type
        nodes.append(helper.make_node("OptionalGetElement", [name], [f"{name}_got"], f"{name}_got"))
        name = f"{name}_got"
    if t.HasField("tensor_type"):
        if t.tensor_type.elem_type in FLOATS:
            yield name, t.tensor_type.elem_type
        return
    element = t.sequence_type.elem_type.tensor_type.elem_type
    if element not in FLOATS:
        return
    for k in range(len(data)):
        at = f"{name}_at_{k}"
        constant = numpy_helper.from_array(np.array(k), at)
        nodes.append(
            helper.make_node("Constant", [], [f"{at}_index"], f"{at}_index", value=constant)
        )
        nodes.append(helper.make_node("SequenceAt", [name, f"{at}_index"], [at], at))
        yield at, element


def judge(case: Any) -> Verdict:
    """Compile the case under `gradient` and compare with differences."""
    joint = joined(case)
    if not joint.differentiable:
        return Verdict(case.name, "none")
    try:
        compiled = lrp_onnx.compile(
            joint.model, "gradient", output=JOINED, target="seed", start="one", check=False
        )
    except TargetError as e:
        if "no input reaches" in str(e) or "does not depend" in str(e):
            return _independent(case.name, joint)
        return Verdict(case.name, "crashed", f"TargetError: {e}")
    except (UnsupportedError, ModelError) as e:
        named = "node '" in str(e) or "opset" in str(e)
        why = f"{type(e).__name__}: {e}"
        if named and _is_flat(case.name, joint):
            return Verdict(case.name, "none", f"derivative 0, {why}")
        return Verdict(case.name, "refused" if named else "crashed", why)
    except LrpError as e:
        return Verdict(case.name, "crashed", f"{type(e).__name__}: {e}")
    except Exception as e:
        return Verdict(case.name, "crashed", f"{type(e).__name__}: {e}")
    return _compared(case.name, joint, compiled.model)


def _is_flat(name: str, joint: Joined) -> bool:
    """Whether no float input changes y, as far as the forward can be computed."""
    try:
        _, slopes, _ = _point(joint, np.random.default_rng(zlib.crc32(name.encode())))
    except Exception:
        return False
    return slopes.smooth and all(np.abs(slopes(n)).max(initial=0) <= 1e-9 for n in joint.floats)


def _independent(name: str, joint: Joined) -> Verdict:
    """Nothing reaches y, says the compiler: then no input may change it."""
    try:
        _, slopes, _ = _point(joint, np.random.default_rng(zlib.crc32(name.encode())))
    except Exception as e:
        return Verdict(name, "wrong", f"said not to depend on any input; no forward: {e}")
    moved = [n for n in joint.floats if np.abs(slopes(n)).max(initial=0) > 1e-9]
    return (
        Verdict(name, "wrong", f"said not to depend on {moved}")
        if moved
        else Verdict(name, "none", "derivative 0")
    )


def runner(model: onnx.ModelProto) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """ONNX Runtime; the reference evaluator for element types that it has no kernels for."""
    types = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    if types <= NATIVE:
        try:
            return session(model)
        except Exception as e:
            if "NOT_IMPLEMENTED" not in str(e) and "INVALID_GRAPH" not in str(e):
                raise
    reference = ReferenceEvaluator(model)
    names = reference.output_names
    return lambda feeds: dict(zip(names, reference.run(None, feeds), strict=True))


def _compared(name: str, joint: Joined, model: onnx.ModelProto) -> Verdict:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    try:
        point, slopes, (outputs, seed) = _point(joint, rng)
    except Exception as e:
        return Verdict(name, "crashed", f"forward in float64: {type(e).__name__}: {e}")
    try:
        run = runner(model)
        got = run({**{k: np.asarray(v) for k, v in point.items()}, f"{JOINED}_seed": seed})
    except Exception as e:
        return Verdict(name, "crashed", f"run: {type(e).__name__}: {e}")
    kinds = [np.asarray(point[n]).dtype.name for n in joint.floats]
    tolerance = max(TOLERANCE.get(k, 2e-5) for k in kinds)
    tolerance = max(tolerance, *(TOLERANCE.get(np.asarray(v).dtype.name, 0) for v in got.values()))
    if why := _forward_differs(got, outputs, tolerance):
        return Verdict(name, "wrong", why)
    left_out = []
    for n in joint.floats:
        if f"{n}_relevance" not in got:
            if np.abs(slopes(n)).max(initial=0) > 1e-9:
                left_out.append(n)
            continue
        r = wide(got[f"{n}_relevance"])
        if r.shape != point[n].shape:
            return Verdict(name, "wrong", f"{n}: shape {r.shape}")
        expected = slopes(n)
        actual, scale = _along(r, slopes.directions[n])
        error = np.abs(actual - expected).max(initial=0)
        scale = max(scale, np.abs(expected).max(initial=0))
        if not error <= tolerance * scale:
            return Verdict(
                name, "wrong", f"{n}: off by {error:.3g} of {scale:.3g}", tuple(left_out)
            )
    if not any(f"{n}_relevance" in got for n in joint.floats) and not left_out:
        return Verdict(name, "none", "derivative 0")
    return Verdict(name, "right", "", tuple(left_out))


def _along(r: Array, directions: list[Array] | None) -> tuple[Array, float]:
    if directions is None:
        return r.ravel(), np.abs(r).max(initial=0)
    return np.array([np.sum(r * d) for d in directions]), float(np.linalg.norm(r))


def _forward_differs(got: dict[str, Any], expected: dict[str, Any], tolerance: float) -> str:
    for n, e in expected.items():
        if n not in got or isinstance(e, list):
            continue
        a, e = wide(np.asarray(got[n])), np.asarray(e)
        if a.shape != e.shape:
            return f"forward {n}: shape {a.shape}, expected {e.shape}"
        if e.dtype.kind not in "fiu" or not e.size:
            continue
        ok = np.isfinite(e)
        if e.dtype.kind == "f":
            scale = np.abs(e[ok]).max(initial=0)
            error = np.abs(a[ok] - e[ok]).max(initial=0)
            if not error <= tolerance * scale:
                return f"forward {n}: off by {error:.3g} of {scale:.3g}"
    return ""


class Slopes:
    """Central differences of Σ seed·y around a point, input by input."""

    def __init__(
        self,
        forward: Callable[[dict[str, Any]], Array],
        point: dict[str, Any],
        seed: Array,
        rng: Any,
    ) -> None:
        self.forward, self.point, self.seed, self.rng = forward, point, seed, rng
        self.directions: dict[str, list[Array] | None] = {}
        self.found: dict[str, Array] = {}
        self.smooth = True

    def __call__(self, name: str) -> Array:
        if name in self.found:
            return self.found[name]
        x = wide(self.point[name])
        finite = np.isfinite(x)
        directions = []
        if x.size <= FEW:
            self.directions[name] = None
            for k in range(x.size):
                d = np.zeros(x.size)
                d[k] = 1
                directions.append(d.reshape(x.shape) * finite)
        else:
            directions = [self.rng.standard_normal(x.shape) * finite for _ in range(DIRECTIONS)]
            self.directions[name] = directions
        slopes = [[self._slope(name, x, d, h) for h in (STEP, STEP / 3)] for d in directions]
        both = np.array(slopes).reshape(-1, 2)
        scale = np.abs(both).max(initial=0)
        self.smooth &= bool(np.isfinite(both).all()) and bool(
            np.abs(both[:, 0] - both[:, 1]).max(initial=0) <= 1e-5 * scale + 1e-8
        )
        self.found[name] = both[:, 0]
        return both[:, 0]

    def _slope(self, name: str, x: Array, d: Array, h: float) -> float:
        safe = np.where(np.isfinite(x), x, 0)
        del safe
        above, below = (self.forward({**self.point, name: x + s * h * d}) for s in (1, -1))
        if above.shape != self.seed.shape or below.shape != self.seed.shape:
            return np.nan
        with np.errstate(all="ignore"):
            change = above - below
        change = np.where(self.seed == 0, 0, change)
        return float(np.sum(self.seed * change) / (2 * h))


def _point(
    joint: Joined, rng: np.random.Generator
) -> tuple[dict[str, Any], Slopes, tuple[dict[str, Any], Array]]:
    """Feeds around which the forward is smooth, its slopes there, its outputs and a seed."""
    evaluator = Wide(joint.model)
    names = evaluator.output_names
    last: Exception | None = None
    found = None
    with np.errstate(all="ignore"):
        given = evaluator.run([JOINED], joint.feeds)[0]
    wanted, lost = given.shape, np.sum(~np.isfinite(given))
    for amplitude in AMPLITUDES:
        point = {}
        for n, v in joint.feeds.items():
            if n in joint.floats:
                v = np.asarray(v)
                moved = v.astype(np.float64) + amplitude * rng.uniform(-1, 1, v.shape)
                v = moved.astype(v.dtype)
            point[n] = v
        try:
            with np.errstate(all="ignore"):
                outputs = dict(zip(names, evaluator.run(None, point), strict=True))
            y = outputs[JOINED]
            if y.shape != wanted or (amplitude and lost < np.sum(~np.isfinite(y))):
                raise ValueError(f"the output's shape is {y.shape} or it is not finite")
            seed = rng.standard_normal(y.shape).astype(np.float32)
            seed = np.where(np.isfinite(y), seed, 0).astype(
                np.float32 if _is_single(joint) else np.float64
            )

            def forward(feeds: dict[str, Any]) -> Array:
                with np.errstate(all="ignore"):
                    return evaluator.run([JOINED], feeds)[0]

            slopes = Slopes(forward, point, seed, rng)
            for n in joint.floats:
                slopes(n)
        except Exception as e:
            last = e
            continue
        found = point, slopes, (outputs, seed)
        if slopes.smooth:
            return found
    if found is None:
        assert last is not None
        raise last
    return found


def _is_single(joint: Joined) -> bool:
    (y,) = (v for v in joint.model.graph.output if v.name == JOINED)
    return y.type.tensor_type.elem_type == TensorProto.FLOAT
