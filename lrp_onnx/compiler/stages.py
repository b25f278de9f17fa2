"""The stages in order: load → normalize → canonize → assign → analyze → emit → optimize → check."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.analysis.signs import signs
from lrp_onnx.compiler.check import check_compiled
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.explanation import emit_relevance
from lrp_onnx.errors import CompositeError
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.frontend.normalize import normalize
from lrp_onnx.gradients.baseline import described, read_baselines
from lrp_onnx.graph.annotations import (
    BASELINE,
    CLASS_AXIS,
    COMPOSITE,
    CONDITIONS,
    DECLARED,
    EXPLAINED,
    METHOD,
    OPTIMIZED,
    OUTPUT,
    RUNTIME,
    SOURCE_SHA256,
    START,
    STARTS_AT,
    STEPS,
    TARGET,
    VERSION,
    corrections,
)
from lrp_onnx.graph.builder import RUNTIMES
from lrp_onnx.graph.model_file import Source, check_original, load, sha256_of
from lrp_onnx.lowering.lower import optimize
from lrp_onnx.lrp.assignment import Assignment, Request, assign
from lrp_onnx.lrp.composite import Override
from lrp_onnx.lrp.methods import PATH, settled
from lrp_onnx.propagation.conservation import Audit
from lrp_onnx.version import version

__all__ = ["STAGES", "Observer", "compile", "run_stages"]

STAGES = ("load", "normalize", "canonize", "assign", "analyze", "emit", "optimize", "check")

Observer = Callable[[str, ir.Model, float], None]
"""Called after each stage with its name, the model and the seconds it took."""


def compile(
    source: Source,
    composite: str | None = None,
    method: str = "lrp",
    parameters: Mapping[str, Override] | None = None,
    rules: Mapping[str, str] | None = None,
    output: str | None = None,
    explain: str | Sequence[str] | None = None,
    target: str | int = "argmax",
    class_axis: int | None = None,
    start: str | None = None,
    relevance_at: str | Sequence[str] = (),
    conditions: str | Sequence[str] = (),
    steps: int | None = None,
    baseline: object = None,
    runtime: str = "portable",
    opset: int | None = None,
    optimize: bool = True,
    check: bool = True,
) -> Compiled:
    """Compile an ONNX model into one that also computes its LRP relevance.

    source: a path, bytes, an onnx.ModelProto or an onnx_ir.Model.
    composite: a name of the library or the path of a .toml file; it gives every node a rule
        (default epsilon-plus-flat).
    method: "lrp", or without rules "gradient", "input-x-gradient", "saliency",
        "integrated-gradients" (see `lrp_onnx.lrp.methods`).
    parameters: values by `NAME` or `RULE.NAME`, numbers or one per channel.
    rules: rules by node name (with wildcards) or operator type, before the composite's own.
    output: the explained output, default the only one of a float type.
    explain: the explained inputs, default every float input the output depends on.
    target: "argmax", a class, "A-B", "top-K", "all", "max", "input" or "seed". With "top-K" each
        relevance has an axis of length K behind the batch, and an output `<output>_topk_index`
        names the classes.
    class_axis: default 1 for an output of rank 2, 4 or 5, the last for rank 3; 0 of an output [K]
        that cannot have the batch there, since no input has.
    start: "logit" (relevance sums to the explained value), default with lrp, or "one".
    relevance_at: inner tensors whose relevance becomes an output too.
    conditions: inner tensors that get an input `<tensor>_condition` [N or 1, C], by which the
        relevance of their channels is multiplied.
    steps: points on the path of integrated gradients, default 32.
    baseline: where that path begins: "zero" (default), "mean" (of the input itself, per channel),
        an array or a file, or one of these by input name.
    runtime: "portable" (runs everywhere), or what ONNX Runtime is fastest with: "cpu", "cuda".
    opset: of the compiled model, 18 to 21; default the model's own if it is one of these.
    optimize: exact simplifications; without them every rule is emitted as its file says.
    check: compare the compiled model's forward with the original on random input.

    Relevance is in the unit of the explained output and shaped like the input. Raises LrpError:
    ModelError, UnsupportedError, RuleError, CompositeError, TargetError, or CheckError if the check
    fails.
    Source: Montavon et al. 2019, Layer-wise relevance propagation: an overview.
    """
    if runtime not in RUNTIMES:
        raise CompositeError(
            f"runtime {runtime!r} is unknown. Choose one of {', '.join(RUNTIMES)}."
        )
    conditions, relevance_at = _names(conditions) or (), _names(relevance_at) or ()
    composite, start, points = settled(
        method,
        composite,
        rules or {},
        parameters or {},
        start,
        steps,
        baseline,
        conditions,
        relevance_at,
    )
    request = Request(
        composite=composite,
        parameters=parameters or {},
        rules=rules or {},
        output=output,
        explain=_names(explain),
        target=target,
        class_axis=class_axis,
        start=start,
        relevance_at=relevance_at,
        method=method,
        steps=points,
        baseline=baseline,
        conditions=conditions,
        optimize=optimize,
        runtime=runtime,
    )
    return run_stages(source, request, opset=opset, check=check)


def _names(given: str | Sequence[str] | None) -> Sequence[str] | None:
    """One name alone is a name, not its letters."""
    return (given,) if isinstance(given, str) else given


def run_stages(
    source: Source,
    request: Request,
    *,
    opset: int | None = None,
    check: bool = True,
    audit: Audit | None = None,
    observe: Observer | None = None,
) -> Compiled:
    """Run every stage; `audit` collects each node's account, `observe` sees the model after each
    stage.
    """
    with _without_collections():
        return _run_stages(source, request, opset, check, audit, observe)


@contextmanager
def _without_collections() -> Iterator[None]:
    """No search for garbage: what is made lives to the end, and looking through it again and again
    takes a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run_stages(
    source: Source,
    request: Request,
    opset: int | None,
    check: bool,
    audit: Audit | None,
    observe: Observer | None,
) -> Compiled:
    clock = _Clock(observe)
    with clock("load"):
        clock.model = model = load(source)
    check_original(model)
    signature = _Signature(model)
    if request.method == PATH:
        request = replace(request, baseline=read_baselines(model, request.baseline))
    with clock("normalize"):
        clock.model = model = normalize(model, opset)
    with clock("canonize"):
        canonize(model)
    with clock("assign"):
        assignment = assign(model, request)
    report = assignment.report(model.graph)
    with clock("analyze"):
        facts = signs(model.graph)
    with clock("emit"):
        emit_relevance(model, assignment, facts, audit)
    with clock("optimize"):
        optimize(model)
        signature.restore(model)
    _stamp(model, source, assignment)
    corrected = tuple(corrections(model).values())
    compiled = Compiled(model, report, (*corrected, *assignment.warnings))
    if check:
        with clock("check"):
            compiled.warnings += check_compiled(source, compiled)
    return compiled


class _Clock:
    """Times stages and shows their result to an observer."""

    def __init__(self, observe: Observer | None) -> None:
        self.observe = observe
        self.model: ir.Model | None = None

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if self.observe is not None and self.model is not None:
            self.observe(stage, self.model, time.perf_counter() - began)


class _Signature:
    """The original's inputs and outputs: their types and shapes come back as they were."""

    def __init__(self, model: ir.Model) -> None:
        values = (*model.graph.inputs, *model.graph.outputs)
        self.known = {v.name: (v.type, v.shape) for v in values}

    def restore(self, model: ir.Model) -> None:
        """Put back what shape inference refined, and forget the shapes of everything in between,
        but for what onnx cannot infer.
        """
        ends = {*model.graph.inputs, *model.graph.outputs}
        for value in ends:
            if value.name in self.known and value.name not in corrections(model):
                value.type, shape = self.known[value.name]
                value.shape = value.shape if shape is None else shape
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            for value in node.outputs:
                if value not in ends and not value.is_graph_output() and not node.domain:
                    if DECLARED in value.meta:
                        continue
                    value.shape, value.type = None, None


def _stamp(model: ir.Model, source: Source, assignment: Assignment) -> None:
    """Record in the model's metadata where it comes from and what was asked."""
    request = assignment.request
    model.metadata_props.update(
        {
            VERSION: version(),
            SOURCE_SHA256: sha256_of(source),
            COMPOSITE: request.composite,
            TARGET: str(assignment.target),
            START: request.start,
            METHOD: request.method,
            RUNTIME: request.runtime,
            OPTIMIZED: str(request.optimize).lower(),
            CONDITIONS: json.dumps(list(request.conditions)),
            **(_path_metadata(request) if request.method == PATH else {}),
            OUTPUT: assignment.output.name or "",
            STARTS_AT: _where(assignment),
            CLASS_AXIS: "" if assignment.class_axis is None else str(assignment.class_axis),
            EXPLAINED: json.dumps([v.name for v in assignment.inputs]),
        }
    )


def _where(assignment: Assignment) -> str:
    return "output" if assignment.start_at is assignment.output else "logits"


def _path_metadata(request: Request) -> dict[str, str]:
    return {STEPS: str(request.steps), BASELINE: described(request.baseline)}
