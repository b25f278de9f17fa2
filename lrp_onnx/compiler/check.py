"""The check stage: a valid graph in standard form, and a forward that is the original's.

The forward is compared on seeded random input in ONNX Runtime, without its own rewriting of graphs
so that both sides round alike; where it lacks a kernel (float64 Conv) or does not take the opset,
onnx's reference evaluator judges. The two sessions are never open at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from lrp_onnx.analysis.quantizer_step import quantizer_step
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.data.samples import is_added, random_feeds, wanted_by
from lrp_onnx.errors import CheckError, InputError, ModelError
from lrp_onnx.graph.annotations import CONDITION, OUTPUT
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.graph.model_file import Source, in_small
from lrp_onnx.graph.session import Array, Runtime, runtime_form

__all__ = [
    "TOLERANCES",
    "Differences",
    "Judge",
    "check_compiled",
    "extra_feeds",
    "forward_differences",
    "judge",
    "judged_on_random",
    "relative_difference",
]

TOLERANCES = {"float64": 1e-9, "float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}
"""Largest relative difference of an output, max|Δ| / max|y|, by its dtype; other dtypes must be
equal.
"""

Differences = dict[str, tuple[float, float]]
"""Per output: its relative difference and what is allowed."""


class Judge(Protocol):
    """What runs a model to judge it."""

    outputs: tuple[str, ...]

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name."""


class _Reference:
    """onnx's reference evaluator behind the interface of `Runtime`."""

    def __init__(self, form: str | bytes) -> None:
        proto = onnx.load(form) if isinstance(form, str) else onnx.load_from_string(form)
        try:
            self.evaluator = ReferenceEvaluator(proto)
        except (NotImplementedError, TypeError, ValueError, KeyError) as e:
            raise ModelError(f"onnx's reference evaluator cannot take the model: {e}.") from e
        self.outputs = tuple(self.evaluator.output_names)

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name; InputError with the evaluator's reason."""
        wanted = self.outputs if names is None else tuple(names)
        try:
            with np.errstate(all="ignore"):
                values = self.evaluator.run(list(wanted), dict(feeds))
        except (
            NotImplementedError,
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            RuntimeError,
        ) as e:
            raise InputError(f"onnx's reference evaluator cannot run the model: {e}.") from e
        return dict(zip(wanted, values, strict=True))


def judge(form: str | bytes, plain: bool = True) -> Judge:
    """ONNX Runtime on the CPU; the reference evaluator where that lacks a kernel or the opset."""
    try:
        return Runtime(form, ["CPUExecutionProvider"], plain)
    except ModelError as e:
        try:
            return _Reference(form)
        except ModelError as second:
            raise e from second


def check_compiled(source: Source, compiled: Compiled, seed: int = 0) -> tuple[str, ...]:
    """Check a compiled graph and compare its forward with the original's; returns warnings.

    Raises CheckError naming the output and the difference.
    """
    check_graph(compiled.graph)
    warnings = weight_warnings(compiled.graph)
    judged = judged_on_random(source, compiled.graph, seed)
    if isinstance(judged, str):
        remedy = "Check it on real input: lrp-onnx verify MODEL INPUT"
        return (*warnings, f"the forward was not compared with the original's: {judged}. {remedy}.")
    feeds, expected = judged
    warnings += forget_false_shapes(compiled.graph, expected)
    for name, (difference, allowed) in forward_differences(compiled.graph, feeds, expected).items():
        if not difference <= allowed:
            raise CheckError(
                f"output {name!r}: the compiled graph differs from the original by "
                f"{difference:.2g} of its largest "
                f"value, {allowed:.0e} is allowed. This is a bug of lrp-onnx: report it with the "
                "model."
            )
    return warnings


def forget_false_shapes(model: ir.Model, outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Take the sizes that a run contradicts off the outputs that declare them; a sentence each."""
    warnings = []
    for value in model.graph.outputs:
        array, claim = outputs.get(str(value.name)), value.shape
        if array is None or claim is None or not isinstance(value.type, ir.TensorType):
            continue
        shape = np.shape(array)
        pairs = list(zip(claim, shape, strict=False))
        if len(claim) == len(shape) and all(d == n or not isinstance(d, int) for d, n in pairs):
            continue
        warnings.append(
            f"output {value.name!r}: the model declares the shape {claim}, and a run gives "
            f"{list(shape)}; the compiled model declares only what both agree on."
        )
        agreed = ir.Shape(d if d == n or not isinstance(d, int) else None for d, n in pairs)
        value.shape = agreed if len(claim) == len(shape) else ir.Shape([None] * len(shape))
    return tuple(warnings)


def check_graph(model: ir.Model) -> None:
    """Raise CheckError if onnx's checker, in full mode, refuses the graph."""

    try:
        onnx.checker.check_model(in_small(model)[0], full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        fact = str(e).strip().partition("\n")[0].rstrip(".")
        raise CheckError(
            f"the compiled graph is not valid: {fact}. This is a bug of lrp-onnx: report it with "
            "the model."
        ) from e


def weight_warnings(model: ir.Model) -> tuple[str, ...]:
    """A warning if weights hold NaN or infinities."""
    broken = [name for name, v in model.graph.initializers.items() if _not_finite(v.const_value)]
    if not broken:
        return ()
    more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
    return (
        f"weight {broken[0]!r}{more} holds NaN or infinity: so will the predictions. Mend the "
        "model.",
    )


def _not_finite(tensor: ir.TensorProtocol | None) -> bool:
    if tensor is None or not tensor.dtype.is_floating_point() or tensor.size == 0:
        return False
    # minimum and maximum pass NaN on, and need no copy of a large weight; -inf and inf are used
    # as limits of a Clip
    array = tensor.numpy()
    low, high = float(array.min()), float(array.max())
    return (
        np.isnan(low) or np.isnan(high) or (tensor.size > 1 and not np.isfinite([low, high]).all())
    )


def judged_on_random(
    source: Source, graph: ir.Model, seed: int = 0, batch: int | None = None
) -> tuple[dict[str, Array], dict[str, Array]] | str:
    """Random input that the original accepts, and its outputs; or why there is none.

    graph: the compiled graph, whose inputs say what the original wants.
    """
    try:
        inputs = wanted_by(graph)
    except TypeError as e:
        return f"no input could be made up ({e})"
    with runtime_form(source) as form:
        try:
            original = judge(form)
        except ModelError as e:
            return str(e).rstrip(".")
        return _first_accepted(original, random_feeds(inputs, seed, batch))


def _first_accepted(
    original: Judge, candidates: Iterable[dict[str, Array]]
) -> tuple[dict[str, Array], dict[str, Array]] | str:
    reason = ""
    for feeds in candidates:
        try:
            outputs = original.run(feeds)
        except InputError as e:
            reason = reason or str(e).rstrip(".")
            continue
        if all(np.size(value) for value in outputs.values()):
            return feeds, outputs
        reason = reason or "an output is empty"
    return f"the model accepts no made-up input ({reason})"


def forward_differences(
    model: ir.Model, feeds: Mapping[str, Array], expected: Mapping[str, Array]
) -> Differences:
    """Run the compiled graph's forward and compare each output with the original's."""
    with runtime_form(model) as form:
        outputs = judge(form).run({**extra_feeds(model, feeds, expected), **feeds}, list(expected))
    values = {str(v.name): v for v in model.graph.outputs}
    return {name: _difference(values[name], outputs[name], y) for name, y in expected.items()}


def _difference(output: ir.Value, actual: Array, expected: Array) -> tuple[float, float]:
    """The relative difference and what is allowed: one step of a quantizer, if there is one."""
    actual, expected = np.asarray(numbers_of(actual)), np.asarray(numbers_of(expected))
    difference, allowed = relative_difference(actual, expected)
    if not allowed or not np.size(expected):
        return difference, allowed
    largest = float(np.abs(np.asarray(expected, np.float64)).max())
    step = quantizer_step(output, expected)
    return difference, max(allowed, step / largest) if largest > 0 else allowed


def extra_feeds(
    model: ir.Model, feeds: Mapping[str, Array], expected: Mapping[str, Array]
) -> dict[str, Array]:
    """The inputs that the compiler added: class 0 for each sample, or a seed of ones, and masks of
    ones.
    """
    y = expected.get(model.metadata_props[OUTPUT])
    extra: dict[str, Array] = {}
    for value in model.graph.inputs:
        if not is_added(model, value) or value.name is None or value.name in feeds or y is None:
            continue
        if value.name == "target":
            size = value.shape[0] if value.shape is not None else None
            extra[value.name] = np.zeros(size if isinstance(size, int) else y.shape[0], np.int64)
        elif value.name.endswith(CONDITION):
            extra[value.name] = np.ones((1, _channels(value)), np.float32)
        else:
            double = value.dtype == ir.DataType.DOUBLE
            extra[value.name] = np.ones(y.shape, np.float64 if double else np.float32)
    return extra


def _channels(condition: ir.Value) -> int:
    """How many a condition's input has; where only the run knows, one that is broadcast."""
    size = None if condition.shape is None else condition.shape[1]
    return size if isinstance(size, int) else 1


def relative_difference(actual: Array, expected: Array) -> tuple[float, float]:
    """max|Δ| / max|expected| and what is allowed for the dtype; NaN and infinities must be where
    they were.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    allowed = TOLERANCES.get(str(expected.dtype), 0.0)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf"), allowed
    if not allowed:
        return float(np.mean(actual != expected)) if actual.size else 0.0, 0.0
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    special = ~np.isfinite(b)
    if not np.array_equal(a[special], b[special], equal_nan=True):
        return float("inf"), allowed
    a, b = a[~special], b[~special]
    if not a.size:
        return 0.0, allowed
    scale = float(np.abs(b).max())
    difference = float(np.abs(a - b).max())
    return (difference / scale if scale else difference), allowed
