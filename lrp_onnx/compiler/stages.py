"""The stages in order: load → normalize → canonize → assign → analyze → propagate → rewrite →
lower → check.

`load_original`, `prepare` (normalize to assign) and `compile_prepared` (analyze to check) may be
called one by one: the command line reads its files when it knows the inputs. No stage runs twice.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.analysis.run_cost import is_short
from lrp_onnx.analysis.signs import signs
from lrp_onnx.compiler.accounts import accounts_of
from lrp_onnx.compiler.activations import Activations
from lrp_onnx.compiler.check import check_compiled
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.explanation import emit_relevance
from lrp_onnx.compiler.input_range import Ranges, input_ends
from lrp_onnx.compiler.named_target import with_class_numbers
from lrp_onnx.compiler.reference import Reference, read_reference, reference_outputs
from lrp_onnx.compiler.signature import takes_options
from lrp_onnx.compiler.unforeseen import told
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.frontend.normalize import normalize
from lrp_onnx.frontend.normalize.fixed_sizes import fix_sizes
from lrp_onnx.frontend.opset import OLDER
from lrp_onnx.frontend.opset.older import write_at
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.gradients.baseline import described, read_baselines
from lrp_onnx.graph import annotations as notes
from lrp_onnx.graph.limits import set_budget, set_short
from lrp_onnx.graph.model_file import Source, check_original, load, sha256_of
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.subgraphs import nodes_of
from lrp_onnx.graph.unused import remove_unused
from lrp_onnx.lowering.cast_like import cast_like_weights
from lrp_onnx.lowering.fold import fold_constants
from lrp_onnx.lowering.half_precision import halve_products
from lrp_onnx.lowering.lower import lower
from lrp_onnx.lowering.shared_weights import part_shared_weights
from lrp_onnx.lrp.assign import assign_outputs
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.options import CompileOptions
from lrp_onnx.propagation.conservation import Audit
from lrp_onnx.rewrites.rewrite import rewrite
from lrp_onnx.version import version

__all__ = [
    "STAGES",
    "Loaded",
    "Observer",
    "Prepared",
    "compile",
    "compile_prepared",
    "load_any",
    "load_original",
    "prepare",
    "run_stages",
]

STAGES = (
    "load",
    "normalize",
    "canonize",
    "assign",
    "analyze",
    "propagate",
    "rewrite",
    "lower",
    "check",
)

NOTHING_HALVED = (
    "precision float16 changes nothing: no product of the explanation has a stored float32 weight "
    "outside of loops."
)

Observer = Callable[[str, ir.Model, float, object], None]
"""Called after each stage with its name, the model, the seconds it took, and what it found out: the
Assignment of assign, the signs of analyze, of rewrite the nodes that got no cheaper form than
their rules say and why, else None.
"""


@takes_options(CompileOptions)
def compile(source: Source, options: CompileOptions) -> Compiled:
    """Compile an ONNX model into one that also computes its relevance.

    source: a path, bytes, an onnx.ModelProto or an onnx_ir.Model.
    {options}

    The methods, where g is the gradient of the explained value:

    {methods}

    What is repeatable is one name or a list of names. A baseline may be an array, too, or a
    dictionary by input name. With target top-K each relevance has an axis of length K behind the
    batch, and an output `<output>_topk_index` names the classes. Of several outputs each has
    relevance of its own, `<output>_<input>_relevance`.

    Relevance is in the unit of the explained output and shaped like the input. Raises LrpError:
    ModelError, UnsupportedError, RuleError, CompositeError, TargetError, or CheckError if the check
    fails.
    Source: Montavon et al. 2019, Layer-wise relevance propagation: an overview.
    """
    return run_stages(source, options)


def run_stages(
    source: Source, options: CompileOptions, observe: Observer | None = None
) -> Compiled:
    """Run every stage; `observe` sees the model after each."""
    method_of(options)  # what it cannot take is said before the model is read
    return compile_prepared(prepare(load_original(source, observe), options))


@dataclass
class Loaded:
    """A model as its file has it. `prepare` changes it."""

    source: Source
    model: ir.Model
    observe: Observer | None = None

    @contextmanager
    def stage(self, name: str, result: Callable[[], object] = lambda: None) -> Iterator[None]:
        """A block that is the stage of that name, timed for the observer."""
        began = time.perf_counter()
        yield
        if self.observe is not None:
            self.observe(name, self.model, time.perf_counter() - began, result())


@dataclass(frozen=True)
class Prepared:
    """A canonized model whose nodes have their rules."""

    loaded: Loaded
    ends: Ends
    assignment: Assignment
    prediction: Prediction
    activations: Activations

    def with_relevance_at(self, names: Iterable[str]) -> Prepared:
        """The same with the relevance of more tensors."""
        more = tuple(names)
        first, *others = (_with_relevance_at(one, more) for one in self.assignment.each)
        return replace(self, assignment=replace(first, others=tuple(others)))


def _with_relevance_at(assignment: Assignment, names: Iterable[str]) -> Assignment:
    options = assignment.options
    every = tuple(dict.fromkeys((*options.relevance_at, *names)))
    return replace(assignment, options=replace(options, relevance_at=every))


def load_original(source: Source, observe: Observer | None = None) -> Loaded:
    """Read a model. Raises ModelError for one that is compiled already."""
    loaded = load_any(source, observe)
    check_original(loaded.model)
    return loaded


def load_any(source: Source, observe: Observer | None = None) -> Loaded:
    """Read a model, or one that is compiled already."""
    began = time.perf_counter()
    with told(source):
        loaded = Loaded(source, load(source), observe)
    if observe is not None:
        observe("load", loaded.model, time.perf_counter() - began, None)
    return loaded


@contextmanager
def _older_objects_set_aside() -> Iterator[None]:
    """Garbage is searched for among new objects only: to look through those of every imported
    module again and again takes a quarter of the time of 5,000 nodes. What the application froze
    stays frozen.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect(1)  # what is set aside counts as old: garbage would be kept for long
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@_older_objects_set_aside()
def prepare(loaded: Loaded, options: CompileOptions, ranges: Ranges | None = None) -> Prepared:
    """Normalize, canonize and assign.

    ranges: of inputs where they are known; rules whose parameters follow from them need none.
    """
    with told(loaded.source):
        return _prepared(loaded, options, ranges or {})


def _prepared(loaded: Loaded, options: CompileOptions, ranges: Ranges) -> Prepared:
    fix_sizes(loaded.model, options.shape)
    ends = Ends(loaded.model)
    options = with_class_numbers(options, loaded.model)
    if method_of(options).path:
        options = replace(options, baseline=read_baselines(loaded.model, options.baseline))
    if options.reference is not None:
        options = replace(options, reference=read_reference(loaded.model, options.reference))
    with loaded.stage("normalize"):
        set_budget(loaded.model, options.budget or 1.0)
        prediction = normalize(loaded.model, options.opset)
        set_short(loaded.model, is_short(loaded.model.graph))
        activations = Activations(loaded.model, prediction, options.activation_at)
    notes.asked_for(loaded.model).update(options.relevance_at, options.conditions)
    with loaded.stage("canonize"):
        canonize(loaded.model)
    with loaded.stage("assign", lambda: assignment):
        of_input = input_ends(loaded.model, ranges)
        assignment = assign_outputs(loaded.model, options, of_input)
    return Prepared(loaded, ends, assignment, prediction, activations)


@_older_objects_set_aside()
def compile_prepared(prepared: Prepared, accounts: bool = False) -> Compiled:
    """Analyze, propagate, lower and check.

    accounts: whether the model also has an account of each node as an output, and of the steps of
    integrated gradients.
    """
    with told(prepared.loaded.source):
        return _compiled(prepared, accounts)


def _compiled(prepared: Prepared, accounts: bool) -> Compiled:
    loaded, assignment = prepared.loaded, prepared.assignment
    options = assignment.options
    portable = options.runtime == "portable"
    model, audits = loaded.model, _audits(assignment) if accounts else {}
    report = assignment.report(model.graph)
    references = reference_outputs(loaded.source, assignment)
    with loaded.stage("analyze", lambda: facts):
        facts = signs(model.graph)
    with loaded.stage("propagate"):
        emit = emit_relevance(model, assignment, facts, audits, references)
    with loaded.stage("rewrite", lambda: as_rules_say):
        as_rules_say = rewrite(emit)
    _stamp(model, loaded.source, assignment)  # lowering puts other values under the same names
    with loaded.stage("lower"):
        lower(model, emit)
        prepared.prediction.put_back(model)
        prepared.activations.add_to(model)
        half = options.precision == "float16"
        if options.fold == "always" or (options.fold == "auto" and (portable or half)):
            fold_constants(model, options.fold)
            remove_unused(model)
        cast_like_weights(model)
        products = halve_products(model) if half else None
        if portable:
            part_shared_weights(model.graph)
        if options.opset is not None and options.opset in OLDER:
            write_at(model, options.opset)
            remove_unused(model)  # axes that became attributes
        prepared.ends.restore(model, declares=not options.conditions)
    corrected = tuple(notes.corrections(model).values())
    told = (text for one in assignment.each for text in one.warnings)
    whole = (NOTHING_HALVED,) if products == 0 else ()
    warnings = tuple(dict.fromkeys((*corrected, *told, *whole)))
    compiled = Compiled(model, report, warnings, accounts_of(audits))
    if options.check:
        with loaded.stage("check"):
            compiled.warnings += check_compiled(loaded.source, compiled)
    return compiled


class Ends:
    """The original's inputs and outputs: their types and shapes come back as they were."""

    def __init__(self, model: ir.Model) -> None:
        values = (*model.graph.inputs, *model.graph.outputs)
        self.known = {v.name: (v.type, v.shape) for v in values}

    def restore(self, model: ir.Model, declares: bool) -> None:
        """Put back what shape inference refined, and leave the shapes in between out of the file
        but for those whose every size is a number or has a name: ONNX Runtime makes up a name for
        each size that it does not know, and the time in which it opens a file grows with the square
        of their number; with the names it removes what moves nothing (29 of 185 ReorderOutput in
        ResNet-50, 51 of 88 Reshape in MobileNetV2).

        declares: whether these names hold: a mask for more samples than the input has makes
        relevance of as many.  Inside bodies none are left, and where there is an If or a Loop none
        at all: what is not taken, or the next iteration, may be for other shapes.
        """
        nodes = list(nodes_of(model.graph))
        declares = declares and not any(node.op_type in ("If", "Loop") for node in nodes)
        ends = {*model.graph.inputs, *model.graph.outputs}
        for value in ends:
            if value.name in self.known and value.name not in notes.corrections(model):
                value.type, shape = self.known[value.name]
                value.shape = value.shape if shape is None else shape
        for node in nodes:
            outside = node.graph is model.graph
            for value in node.outputs:
                if value in ends or value.is_graph_output() or node.domain:
                    continue
                if not (declares and outside and _is_named(value)):
                    value.shape, value.type = None, None


def _is_named(value: ir.Value) -> bool:
    """Whether every size is a number or has a name."""
    if value.type is None or value.shape is None:
        return False
    return all(isinstance(d, int) or d.value is not None for d in value.shape)


def _stamp(model: ir.Model, source: Source, assignment: Assignment) -> None:
    """Record in the model's metadata where it comes from and what was asked."""
    options = assignment.options
    model.metadata_props.update(
        {
            notes.VERSION: version(),
            notes.SOURCE_SHA256: sha256_of(source),
            notes.TARGET: str(assignment.target),
            notes.METHOD: assignment.method.name,
            notes.RUNTIME: options.runtime,
            notes.PRECISION: options.precision,
            notes.OPTIMIZED: str(options.optimize).lower(),
            notes.CONDITIONS: json.dumps(list(options.conditions)),
            **_output_metadata(assignment),
            notes.EXPLAINED: json.dumps(
                [f"{one.prefix}{v.name}" for one in assignment.each for v in one.inputs]
            ),
        }
    )
    if assignment.others:
        each = [_one_of_several(model, one) for one in assignment.each]
        model.metadata_props[notes.OUTPUTS] = json.dumps(each)


def _output_metadata(assignment: Assignment) -> dict[str, str]:
    """What is said of each output by itself."""
    return {
        **_method_metadata(assignment),
        notes.COMPOSITE: assignment.composite_name,
        **_reference_metadata(assignment),
        notes.START: assignment.start,
        notes.OUTPUT: assignment.output.name or "",
        notes.STARTS_AT: "output" if assignment.logits is assignment.output else "logits",
        notes.CLASS_AXIS: "" if assignment.class_axis is None else str(assignment.class_axis),
        **({} if (head := assignment.target.head) is None else {notes.HEAD: head.stamp()}),
    }


def _one_of_several(model: ir.Model, assignment: Assignment) -> dict[str, str]:
    """One entry of OUTPUTS."""
    names = (*(str(v.name) for v in assignment.inputs), *assignment.options.relevance_at)
    present = {v.name for v in model.graph.outputs}
    relevance = [n for n in names if f"{assignment.prefix}{n}{notes.RELEVANCE}" in present]
    own = {
        notes.HEAD: "",  # of this output, whatever the first one has
        **_output_metadata(assignment),
        notes.EXPLAINED: json.dumps([v.name for v in assignment.inputs]),
    }
    return {
        **notes.stamp_of(own),
        "prefix": assignment.prefix,
        "relevance": json.dumps(list(dict.fromkeys(relevance))),
    }


def _audits(assignment: Assignment) -> dict[str, Audit]:
    return {str(one.output.name): Audit() for one in assignment.each}


def _reference_metadata(assignment: Assignment) -> dict[str, str]:
    reference = assignment.options.reference
    return {notes.REFERENCE: reference.said} if isinstance(reference, Reference) else {}


def _method_metadata(assignment: Assignment) -> dict[str, str]:
    """What only some methods are set by."""
    if assignment.layer is not None:
        return {notes.LAYER: tensor_name(assignment.layer)}
    if assignment.method.path:
        return {
            notes.STEPS: str(assignment.steps),
            notes.BASELINE: described(assignment.options.baseline),
        }
    if assignment.method.samples:
        return {notes.SAMPLES: str(assignment.samples), notes.NOISE: f"{assignment.noise:g}"}
    if assignment.chosen_because:
        return {notes.CHOSEN_BECAUSE: assignment.chosen_because}
    return {}
