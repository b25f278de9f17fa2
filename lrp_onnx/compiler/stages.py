"""The stages in order: load → normalize → canonize → assign → analyze → propagate → rewrite →
lower → check.

`load_original`, `prepare` (normalize to assign) and `compile_prepared` (analyze to check) may be
called one by one: the command line reads its files when it knows the inputs. No stage runs twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.analysis.run_cost import is_short
from lrp_onnx.analysis.signs import signs
from lrp_onnx.compiler.activations import Activations
from lrp_onnx.compiler.check import check_compiled
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.ends import Ends
from lrp_onnx.compiler.explanation import accounts_of, emit_relevance
from lrp_onnx.compiler.garbage import note_made, older_objects_set_aside
from lrp_onnx.compiler.input_range import Ranges, input_ends
from lrp_onnx.compiler.named_target import with_class_numbers
from lrp_onnx.compiler.reference import read_reference, reference_outputs
from lrp_onnx.compiler.signature import takes_options
from lrp_onnx.compiler.stamp import stamp
from lrp_onnx.compiler.unforeseen import told
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.frontend.normalize import normalize
from lrp_onnx.frontend.normalize.fixed_sizes import fix_sizes
from lrp_onnx.frontend.opset import OLDER
from lrp_onnx.frontend.opset.older import write_at
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.gradients.grad_cam import grad_cam
from lrp_onnx.gradients.integrated_gradients import integrated_gradients
from lrp_onnx.gradients.smooth_grad import smooth_grad
from lrp_onnx.graph import annotations as notes
from lrp_onnx.graph.limits import set_budget, set_short
from lrp_onnx.graph.model_file import ModelSource, check_original, load
from lrp_onnx.graph.subgraphs import bodies_of
from lrp_onnx.graph.unused import remove_unused
from lrp_onnx.lowering.cast_like import cast_like_weights
from lrp_onnx.lowering.fold import fold_constants
from lrp_onnx.lowering.half_precision import halve_products
from lrp_onnx.lowering.lower import lower
from lrp_onnx.lowering.part_half_products import part_half_products
from lrp_onnx.lowering.shared_weights import part_shared_weights
from lrp_onnx.lrp.assign import assign_outputs
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.options import CompileOptions
from lrp_onnx.propagation.conservation import Accounts
from lrp_onnx.rewrites.rewrite import rewrite
from lrp_onnx.runtimes import RUNTIMES

__all__ = [
    "STAGES",
    "Canonized",
    "Loaded",
    "Observer",
    "Prepared",
    "canonized",
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

LOOP_IN_LOOP = (
    "the explanation holds a loop in a loop, since the network has one and its points are taken "
    "one after the other. ONNX Runtime runs it. OpenVINO 2026.4 opens no such file and tract 0.23 "
    "computes it wrong. Run it in ONNX Runtime; compiled with --runtime cpu, this is not said."
)

GRADIENT_METHODS = {
    "grad-cam": grad_cam,
    "integrated-gradients": integrated_gradients,
    "smooth-grad": smooth_grad,
}
"""Methods that differentiate at more than one point, or at another layer than the input."""

Observer = Callable[[str, ir.Model, float, object], None]
"""Called after each stage with its name, the model, the seconds it took, and what it found out: the
Assignment of assign, the signs of analyze, of rewrite the nodes that got no cheaper form than
their rules say and why, else None.
"""


@takes_options(CompileOptions)
def compile(source: ModelSource, options: CompileOptions) -> Compiled:
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
    source: ModelSource, options: CompileOptions, observe: Observer | None = None
) -> Compiled:
    """Run every stage; `observe` sees the model after each."""
    method_of(options)  # what it cannot take is said before the model is read
    return compile_prepared(prepare(load_original(source, observe), options))


@dataclass
class Loaded:
    """A model as its file has it. `prepare` changes it."""

    source: ModelSource
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
class Canonized:
    """A canonized model, for which nothing is chosen yet."""

    loaded: Loaded
    options: CompileOptions
    """Those it was canonized with, classes by number."""
    ends: Ends
    prediction: Prediction
    activations: Activations

    def assigned(
        self, options: CompileOptions, ranges: Ranges, others: Sequence[CompileOptions] = ()
    ) -> Prepared:
        """What is explained, and a rule for each node; by other options again, until what it gives
        is compiled.
        """
        model = self.loaded.model
        with told(self.loaded.source), self.loaded.stage("assign", lambda: assignment):
            first, *more = (_read(model, one) for one in (options, *others))
            assignment = assign_outputs(model, first, input_ends(model, ranges), more)
        return Prepared(self.loaded, self.ends, assignment, self.prediction, self.activations)


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


def load_original(source: ModelSource, observe: Observer | None = None) -> Loaded:
    """Read a model. Raises ModelError for one that is compiled already."""
    loaded = load_any(source, observe)
    check_original(loaded.model)
    return loaded


def load_any(source: ModelSource, observe: Observer | None = None) -> Loaded:
    """Read a model, or one that is compiled already."""
    began = time.perf_counter()
    with told(source):
        loaded = Loaded(source, load(source), observe)
    if observe is not None:
        observe("load", loaded.model, time.perf_counter() - began, None)
    return loaded


@older_objects_set_aside()
def prepare(
    loaded: Loaded,
    options: CompileOptions,
    ranges: Ranges | None = None,
    others: Sequence[CompileOptions] = (),
) -> Prepared:
    """Normalize, canonize and assign.

    ranges: of inputs where they are known; rules whose parameters follow from them need none.
    others: of further explanations of the same output in the same graph, whose relevances are named
        `1.<input>_relevance` and so on.
    """
    with told(loaded.source):
        return _prepared(loaded, [options, *others], ranges or {})


def _prepared(loaded: Loaded, every: Sequence[CompileOptions], ranges: Ranges) -> Prepared:
    fix_sizes(loaded.model, every[0].shape)
    options, *others = (with_class_numbers(one, loaded.model) for one in every)
    return _canonized(loaded, options).assigned(options, ranges, others)


@older_objects_set_aside()
def canonized(loaded: Loaded, options: CompileOptions) -> Canonized:
    """Normalize and canonize, for explanations that have in common what changes the model: its
    sizes, opset, budget, and inner tensors.
    """
    with told(loaded.source):
        fix_sizes(loaded.model, options.shape)
        return _canonized(loaded, with_class_numbers(options, loaded.model))


def _canonized(loaded: Loaded, options: CompileOptions) -> Canonized:
    ends = Ends(loaded.model)
    with loaded.stage("normalize"):
        set_budget(loaded.model, options.budget or 1.0)
        prediction = normalize(loaded.model, options.opset)
        set_short(loaded.model, is_short(loaded.model.graph))
        activations = Activations(loaded.model, prediction, options.activation_at)
    notes.asked_for(loaded.model).update(options.relevance_at, options.conditions)
    with loaded.stage("canonize"):
        canonize(loaded.model)
    return Canonized(loaded, options, ends, prediction, activations)


def _read(model: ir.Model, options: CompileOptions) -> CompileOptions:
    """The options with the arrays of the files that they name."""
    if method_of(options).integrates:
        options = replace(options, baseline=read_baselines(model, options.baseline))
    if options.reference is not None:
        options = replace(options, reference=read_reference(model, options.reference))
    return options


@older_objects_set_aside()
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
    ahead = RUNTIMES[options.runtime].computes_ahead
    model, booked = loaded.model, _empty_accounts(assignment) if accounts else {}
    report = assignment.report(model.graph)
    references = reference_outputs(loaded.source, assignment)
    with loaded.stage("analyze", lambda: facts):
        facts = signs(model.graph)
    with loaded.stage("propagate"):
        emit = emit_relevance(model, assignment, facts, GRADIENT_METHODS, booked, references)
    with loaded.stage("rewrite", lambda: as_rules_say):
        as_rules_say = rewrite(emit)
    stamp(model, loaded.source, assignment)  # lowering puts other values under the same names
    with loaded.stage("lower"):
        lower(model, emit)
        prepared.prediction.put_back(model)
        prepared.activations.add_to(model)
        half = options.precision == "float16"
        if options.fold == "always" or (options.fold == "auto" and (half or not ahead)):
            fold_constants(model, options.fold)
            remove_unused(model)
        cast_like_weights(model)
        part_half_products(model)
        products = halve_products(model) if half else None
        if not ahead:
            part_shared_weights(model.graph)
        if options.opset is not None and options.opset in OLDER:
            write_at(model, options.opset)
            remove_unused(model)  # axes that became attributes
        prepared.ends.restore(model, declares=not options.conditions)
    corrected = tuple(notes.corrections(model).values())
    told = (text for one in assignment.each for text in one.warnings)
    whole = [NOTHING_HALVED] if products == 0 else []
    whole += [LOOP_IN_LOOP] if not ahead and any(map(_loops_in_a_loop, model.graph)) else []
    warnings = tuple(dict.fromkeys((*corrected, *told, *whole)))
    note_made(model.graph)
    compiled = Compiled(model, report, warnings, accounts_of(booked))
    if options.check:
        with loaded.stage("check"):
            compiled.warnings += check_compiled(loaded.source, compiled)
    return compiled


def _loops_in_a_loop(node: ir.Node) -> bool:
    """Whether it is an emitted loop whose body holds another."""
    emitted = notes.RULE in node.metadata_props and node.op_type == "Scan"
    inner = (n for body in bodies_of(node) for n in body) if emitted else ()
    return any(n.op_type in ("Scan", "Loop") for n in inner)


def _empty_accounts(assignment: Assignment) -> dict[str, Accounts]:
    return {str(one.output.name): Accounts() for one in assignment.each}
