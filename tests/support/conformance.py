"""The verdict on a case of onnx's operator tests: its gradient compared with differences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from conformance_cases import JOINED, Joined, joined
from float64 import Float64Evaluator, float64
from models import session
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from reference_control import CONTROL
from slopes import Point

import lrp_onnx
from lrp_onnx.errors import ModelError, TargetError, UnsupportedError

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
TOLERANCE = {"float64": 1e-6, "float32": 2e-5, "float16": 4e-3, "bfloat16": 4e-2}
NOISE = 1e-10
"""Of a difference in float64 over STEP, where y is about 1."""
NAMED = re.compile(r"node '|opset \d+, and")
"""How a refusal names what it refuses."""


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


def judge(case: Any) -> Verdict:
    """Compile the case under `gradient` and compare with differences."""
    joint = joined(case)
    if not joint.differentiable:
        return Verdict(case.name, "none")
    try:
        compiled = lrp_onnx.compile(
            joint.model, "gradient", output=JOINED, target="seed", start="one", check=False
        )
    except Exception as e:
        return _stopped(case.name, joint, e)
    try:
        return _compared(case.name, joint, compiled.model)
    except Exception as e:
        return Verdict(case.name, "crashed", f"run: {type(e).__name__}: {e}")


def _stopped(name: str, joint: Joined, error: Exception) -> Verdict:
    """Refused, or nothing to explain: then no float input may change y."""
    why = f"{type(error).__name__}: {error}"
    independent = isinstance(error, TargetError) and "no input reaches" in str(error)
    by_name = isinstance(error, UnsupportedError | ModelError) and NAMED.search(str(error))
    try:
        flat = joint.point(name, coarse=not independent).flat
    except Exception:  # no forward to compare with
        flat = False
    if independent:
        return Verdict(name, "none" if flat else "wrong", why)
    if not by_name:
        return Verdict(name, "crashed", why)
    return Verdict(name, "none" if flat else "refused", why)


def runner(model: onnx.ModelProto) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """ONNX Runtime; the reference evaluator for element types that it has no kernels for."""
    types = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    if types <= NATIVE:
        try:
            return session(model)
        except Exception as e:
            if "NOT_IMPLEMENTED" not in str(e) and "INVALID_GRAPH" not in str(e):
                raise
    reference = ReferenceEvaluator(model, new_ops=CONTROL)
    names = reference.output_names
    return lambda feeds: dict(zip(names, reference.run(None, feeds), strict=True))


def _compared(name: str, joint: Joined, model: onnx.ModelProto) -> Verdict:
    point = joint.point(name)
    with np.errstate(all="ignore"):  # masked scores are -inf, in the reference evaluator too
        got = runner(model)({**point.feeds, f"{JOINED}_seed": point.seed})
    narrow = [np.asarray(v).dtype.name for v in (*point.feeds.values(), *got.values())]
    tolerance = max(TOLERANCE.get(kind, 0) for kind in narrow)
    if why := _forward_differs(got, point.outputs, tolerance):
        return Verdict(name, "wrong", why)
    explained = [n for n in joint.floats if f"{n}_relevance" in got]
    left_out = tuple(
        n for n, s in point.slopes.items() if n not in explained and s.smooth and not s.flat
    )
    if not explained and not left_out:
        return Verdict(name, "none", "derivative 0")
    for n in explained:
        if np.shape(got[f"{n}_relevance"]) != np.shape(point.feeds[n]):
            return Verdict(name, "wrong", f"{n}: relevance of shape {got[f'{n}_relevance'].shape}")
    why = _relevance_differs(got, explained, point, tolerance)
    if why and not _rounded_only(model, got, explained, point, tolerance):
        return Verdict(name, "wrong", why)
    return Verdict(name, "right", "", left_out)


def _relevance_differs(
    got: dict[str, Any], explained: list[str], point: Point, tolerance: float, noise: float = 0.0
) -> str:
    """Which relevance is not the slope."""
    for n in explained:
        there = point.slopes[n]
        along, scale = there.of(float64(got[f"{n}_relevance"]))
        error = np.abs(along - there.values).max(initial=0)
        if not error <= tolerance * scale + noise:
            return f"{n}: off by {error:.3g} of {scale:.3g}"
    return ""


def _rounded_only(
    model: onnx.ModelProto,
    got: dict[str, Any],
    explained: list[str],
    point: Point,
    tolerance: float,
) -> bool:
    """Whether only rounding is to blame, as where large relevances cancel or a tanh is saturated.

    The compiled model in float64 must have the slope, but for the rounding of differences, and the
    narrow relevance must be as near to it as its precision allows for what flows, the seed.
    """
    exact_model = Float64Evaluator(model)
    with np.errstate(all="ignore"):
        values = exact_model.run(None, {**point.feeds, f"{JOINED}_seed": point.seed})
    exact = dict(zip(exact_model.output_names, values, strict=True))
    largest = np.abs(point.seed).max(initial=0)
    if _relevance_differs(exact, explained, point, TOLERANCE["float64"], NOISE * largest):
        return False
    names = [f"{n}_relevance" for n in explained]
    apart = [np.abs(float64(got[n]) - exact[n]).max(initial=0) for n in names]
    return bool(max(apart) <= tolerance * largest)


def _forward_differs(got: dict[str, Any], expected: dict[str, Any], tolerance: float) -> str:
    """Which output of the compiled model is not the original's."""
    for n, e in expected.items():
        a, e = float64(np.asarray(got[n])), np.asarray(e)
        if a.shape != e.shape:
            return f"forward {n}: shape {a.shape}, expected {e.shape}"
        finite = np.isfinite(e) if e.dtype.kind == "f" else np.zeros(e.shape, bool)
        if not finite.any():
            continue
        scale, error = (np.abs(v).max() for v in (e[finite], a[finite] - e[finite]))
        if not error <= tolerance * scale:
            return f"forward {n}: off by {error:.3g} of {scale:.3g}"
    return ""
