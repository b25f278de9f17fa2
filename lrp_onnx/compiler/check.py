"""The check stage: a valid graph in standard form, a forward that is the original's, and relevance
that is finite.

The forward is compared on seeded random input (`judge`).  What an output may differ by follows from
the coarsest arithmetic on the way to it, not from its own element type.  The two sessions are never
open at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import inf

import numpy as np
import onnx
import onnx_ir as ir

from lrp_onnx.analysis.run_cost import endless_loop
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.differences import extra_feeds, forward_differences
from lrp_onnx.compiler.judge import Judge, judge, run_plain
from lrp_onnx.data.samples import random_feeds, wanted_by
from lrp_onnx.errors import CheckError, InputError, ModelError
from lrp_onnx.graph.annotations import EXPLAINED, METHOD, RELEVANCE
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.limits import Breakdown, OverBudget, limit_of_run
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.session import CPU, OutOfMemory, Runtime, runtime_form
from lrp_onnx.graph.small_model import in_small
from lrp_onnx.lrp.methods import METHODS

__all__ = [
    "check_compiled",
    "check_graph",
    "judged_on_random",
    "weight_warnings",
]


MOST_ENDS = 20_000
"""Inputs and outputs of a model that is run to be checked: to open it takes their square."""


def check_compiled(source: ModelSource, compiled: Compiled) -> tuple[str, ...]:
    """Check a compiled graph and compare its forward with the original's; returns warnings.

    Raises CheckError naming the output and the difference.
    """
    check_graph(compiled.graph)
    warnings = weight_warnings(compiled.graph)
    judged = judged_on_random(source, compiled.graph)
    if isinstance(judged, str):
        remedy = "Check it on real input: lrp-onnx verify MODEL INPUT"
        return (*warnings, f"the forward was not compared with the original's: {judged}. {remedy}.")
    feeds, expected = judged
    warnings += forget_false_shapes(compiled.graph, expected)
    try:
        differences = forward_differences(source, compiled.graph, feeds, expected)
    except (OverBudget, OutOfMemory) as e:
        return (*warnings, f"the forward was not compared with the original's: {e}")
    for name, (difference, allowed) in differences.items():
        if not difference <= allowed:
            raise CheckError(
                f"output {name!r}: the compiled graph differs from the original by "
                f"{difference:.2g} of its largest "
                f"value, {allowed:.0e} is allowed. This is a bug of lrp-onnx: report it with the "
                "model."
            )
    return (*warnings, *_finite_warnings(compiled.graph, feeds, expected))


def _finite_warnings(
    model: ir.Model, feeds: Mapping[str, Array], expected: Mapping[str, Array]
) -> tuple[str, ...]:
    """A warning where the prediction is finite and its relevance is not; that along a path, of
    which each step takes as long as one gradient, is left to `explain` if all weights are finite.
    """
    metadata, fed = model.metadata_props, {**extra_feeds(model, feeds, expected), **feeds}
    names = [f"{name}{RELEVANCE}" for name in json.loads(metadata[EXPLAINED])]
    weights = [name for name, v in model.graph.initializers.items() if _breaks(v)]
    long = METHODS[metadata[METHOD]].many_points and not weights
    predictions = (y for y in expected.values() if np.asarray(y).dtype.kind == "f")
    if long or len(fed) < len(model.graph.inputs) or not all(map(_is_finite, predictions)):
        return ()
    with runtime_form(model) as form:
        try:
            maps = run_plain(form, fed, names, limit_of_run(model))
        except (OverBudget, OutOfMemory) as e:
            return (f"whether relevance is finite was not seen: {e}",)
        except ModelError:  # float64 without a kernel, or an opset of its own
            return ()
    broken = [name for name, r in maps.items() if not _is_finite(r)]
    if not broken:
        return ()
    why = f", as weight {weights[0]!r} does" if weights else ""
    return (
        f"{broken[0]!r} holds NaN or infinity on made-up input{why}. Mend the model, or see where "
        "with lrp-onnx verify MODEL INPUT.",
    )


def _is_finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())


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


FALSE_ALARM = "Number of elements of input 'sizes' (0) must be same as rank"
"""What onnx 1.23 says of a Resize in a body that computes its sizes there."""


def check_graph(model: ir.Model) -> None:
    """Raise CheckError if onnx's checker, in full mode, refuses the graph; where it raises a false
    alarm ONNX Runtime decides.
    """
    try:
        try:
            onnx.checker.check_model(in_small(model)[0], full_check=True)
        except onnx.shape_inference.InferenceError as e:
            if FALSE_ALARM not in str(e):
                raise
            onnx.checker.check_model(in_small(model)[0])
            with runtime_form(model) as form:
                Runtime(form, [CPU], plain=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ModelError) as e:
        fact = str(e).strip().partition("\n")[0].rstrip(".")
        raise CheckError(
            f"the compiled graph is not valid: {fact}. This is a bug of lrp-onnx: report it with "
            "the model."
        ) from e


def weight_warnings(model: ir.Model) -> tuple[str, ...]:
    """A warning if weights hold NaN; infinities limit a Clip, or mask attention."""
    broken = [name for name, v in model.graph.initializers.items() if "nan" in _odd(v)]
    if not broken:
        return ()
    more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
    return (f"weight {broken[0]!r}{more} holds NaN: so will the predictions. Mend the model.",)


def _breaks(value: ir.Value) -> bool:
    """Whether it may make relevance so: -inf in more than a bias masks scores."""
    ends, tensor = _odd(value), value.const_value
    masks = ends == {"-inf"} and tensor is not None and len(tensor.shape) > 1
    return bool(ends) and not masks


def _odd(value: ir.Value) -> set[str]:
    """`nan`, `inf` and `-inf`, as far as a weight holds them."""
    tensor = value.const_value
    if tensor is None or not tensor.dtype.is_floating_point() or tensor.size == 0:
        return set()
    # minimum and maximum pass NaN on, and need no copy of a large weight
    array = tensor.numpy()
    return {str(float(end)) for end in (array.min(), array.max()) if not np.isfinite(float(end))}


def judged_on_random(
    source: ModelSource, graph: ir.Model, seed: int = 0, batch: int | None = None
) -> tuple[dict[str, Array], dict[str, Array]] | str:
    """Random input that the original accepts, and its outputs; or why there is none.

    graph: the compiled graph, whose inputs say what the original wants.
    """
    ends = len(graph.graph.inputs) + len(graph.graph.outputs)
    if ends > MOST_ENDS:
        return f"ONNX Runtime takes minutes to open a model with {ends} inputs and outputs"
    if (loop := endless_loop(graph.graph)) is not None:
        return f"node {name_of(loop)!r}: its trips take longer than any budget"
    try:
        inputs = wanted_by(graph)
    except InputError as e:
        return f"no input could be made up ({str(e).partition(':')[0]})"
    with runtime_form(source) as form:
        try:
            original = judge(form, budget=limit_of_run(graph))
            return _first_accepted(original, random_feeds(inputs, seed, batch))
        except Breakdown:  # so would every run of whoever has the model
            raise
        except ModelError as e:
            return str(e).rstrip(".")


def _first_accepted(
    original: Judge, candidates: Iterable[dict[str, Array]]
) -> tuple[dict[str, Array], dict[str, Array]] | str:
    reason, most = "", inf
    for feeds in candidates:
        size = sum(x.size for x in feeds.values())
        if size >= most:  # so much took more memory than there is
            continue
        try:
            outputs = original.run(feeds)
        except InputError as e:
            most = size if isinstance(e, OutOfMemory) else most
            reason = reason or str(e).rstrip(".")
            continue
        if all(np.size(value) for value in outputs.values()):
            return feeds, outputs
        reason = reason or "an output is empty"
    return f"the model accepts no made-up input ({reason or 'it is too large'})"
