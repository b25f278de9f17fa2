"""Errors that no check foresaw: is the model to blame, or the compiler?

onnx's checker takes much that no runtime does.  Where a stage stumbles, ONNX Runtime is asked: a
model that it does not open or run is refused in its words.  What is left is a fault of ours, and
names the node at which it came up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import numpy as np
import onnx
import onnx_ir as ir

from lrp_onnx.compiler.judge import Judge, judge
from lrp_onnx.data.samples import random_feeds, wanted_by
from lrp_onnx.errors import CheckError, InputError, InternalError, LrpError, ModelError, paragraph
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.limits import Budget, OverBudget, limited
from lrp_onnx.graph.model_file import ModelSource, load
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.session import CPU, Runtime, own_operators, runtime_form
from lrp_onnx.graph.small_model import in_small

__all__ = ["told"]

BUDGET = Budget(seconds=20.0, nbytes=4 * 10**9, nodes=0)
"""What ONNX Runtime may take to be asked."""


@contextmanager
def told(source: ModelSource) -> Iterator[None]:
    """Whatever is raised in the block as an LrpError: ModelError where the model is to blame,
    InternalError where lrp-onnx is.
    """
    try:
        yield
    except CheckError as e:
        if (reason := _why_not(source)) is not None:
            raise _invalid(reason) from e
        if (reason := _contradiction(source)) is not None:
            raise _invalid(reason, "is not valid") from e
        if (fact := _operator_of_the_runtime(source)) is not None:
            raise ModelError(fact) from e
        raise
    except LrpError as e:
        if not str(e).endswith((".", "?", ")")):  # a reason that elsewhere is a part of others
            e.args = (paragraph(f"{e}."),)
        raise
    except MemoryError as e:
        raise ModelError(
            "the model needs more memory than there is. Free some, or take a machine with more."
        ) from e
    except RecursionError as e:
        raise ModelError(
            "the model nests graphs or chains nodes deeper than can be followed. Export it without "
            "so many levels."
        ) from e
    except Exception as e:
        reason = _why_not(source)
        raise (_fault(e) if reason is None else _invalid(reason)) from e


def _invalid(reason: str, fact: str = "does not run") -> ModelError:
    return ModelError(f"the model {fact}: {reason.rstrip('. ')}. Export it again.")


def _fault(error: Exception) -> InternalError:
    node = _node_of(error.__traceback__)
    where = "" if node is None else f"node {name_of(node)!r} ({node.op_type}): "
    fact = " ".join(str(error).split())
    return InternalError(
        f"{where}{type(error).__name__}: {fact[:200].rstrip('.')}. This is a bug of lrp-onnx: run "
        "again with --debug, and report what it prints with the model."
    )


def _node_of(trace: TracebackType | None) -> ir.Node | None:
    """The node that the innermost function with a variable `node` was at."""
    node = None
    while trace is not None:
        candidate = trace.tb_frame.f_locals.get("node")
        node = candidate if isinstance(candidate, ir.Node) else node
        trace = trace.tb_next
    return node


def _why_not(source: ModelSource) -> str | None:
    """Why the model does not run; None if it does."""
    try:
        with runtime_form(source) as form:
            return limited(BUDGET, "a run of the model on made-up input", refusal_of, form)
    except (OverBudget, ModelError) as e:
        return str(e)


def _contradiction(source: ModelSource) -> str | None:
    """What onnx's checker says against the model itself when it infers every shape, as it does of
    the compiled graph; some of that runtimes do not look at.
    """
    try:
        onnx.checker.check_model(in_small(load(source))[0], full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        return str(e).strip().partition("\n")[0]
    return None


def _operator_of_the_runtime(source: ModelSource) -> str | None:
    """A function of the model in whose place ONNX Runtime computes an operator of its own."""
    own = own_operators()
    for domain, name, _ in load(source).functions:
        if (domain, name) in own:
            return (
                f"function {name!r} of domain {domain!r}: ONNX Runtime has an operator of that "
                "name, which computes something else, and takes that one. Rename the function."
            )
    return None


LACKS_KERNEL = "Could not find an implementation"
"""What it says of a valid model with an operator that it cannot compute in that type on a CPU."""


def refusal_of(form: str | bytes) -> str | None:
    """What ONNX Runtime, or where it lacks a kernel onnx's reference evaluator, says against a
    model, or against all input that is made up for it; None where it says nothing.
    """
    try:
        runtime: Judge = Runtime(form, [CPU], plain=True)
    except ModelError as e:
        if LACKS_KERNEL not in str(e):
            return str(e)
        try:
            runtime = judge(form)
        except ModelError:
            return None
    try:
        candidates = random_feeds(wanted_by(load(form)))
    except InputError:
        return None
    reason = None
    for feeds in candidates:
        try:
            outputs = runtime.run(feeds)
        except InputError as e:
            reason = reason or str(e)
        else:
            return _false_claim(runtime, outputs) if isinstance(runtime, Runtime) else None
    return reason


def _false_claim(runtime: Runtime, outputs: Mapping[str, Array]) -> str | None:
    """An output that has another shape than the model declares."""
    for value in runtime.session.get_outputs():
        claim, shape = value.shape, list(np.shape(outputs[value.name]))
        pairs = list(zip(claim or shape, shape, strict=False))
        if claim is not None and (
            len(claim) != len(shape) or any(isinstance(c, int) and c != n for c, n in pairs)
        ):
            return f"output {value.name!r} is declared as {claim}, and a run gives {shape}"
    return None
