"""Which output is explained back to which inputs, and by which rule each node on the way
propagates; of several outputs that one file explains, each has its path, rules and start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.analysis.heads import Heads
from lrp_onnx.analysis.step import Step
from lrp_onnx.errors import CompositeError, RuleError, TargetError
from lrp_onnx.graph.constants import lift_weights
from lrp_onnx.graph.map_outputs import unzipped
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.subgraphs import graphs_of, name_bodies
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.lrp.auto import AUTO, Choice, composite_for
from lrp_onnx.lrp.composite import (
    Composite,
    Override,
    Selector,
    chosen_composite,
    load_composite,
)
from lrp_onnx.lrp.contrast import contrasted
from lrp_onnx.lrp.entry import open_entry
from lrp_onnx.lrp.explained_inputs import explained_inputs
from lrp_onnx.lrp.grad_cam_layer import grad_cam_layer
from lrp_onnx.lrp.located import located, of_score, sought
from lrp_onnx.lrp.logits import classes_of_softmax, logits_behind
from lrp_onnx.lrp.methods import Method, method_of
from lrp_onnx.lrp.path_warnings import (
    all_alike,
    common_shift,
    left_out,
    open_classes,
    other_activations,
    patches,
    resembling,
    straight_through,
    unreached_rules,
    unrecognized_nodes,
    written_in_place,
)
from lrp_onnx.lrp.start import chosen_start
from lrp_onnx.lrp.target import Target, check_entries, choose_output, class_axis_of, parse_target
from lrp_onnx.options import CompileOptions

__all__ = ["assign", "assign_outputs"]


def assign_outputs(
    model: ir.Model,
    options: CompileOptions,
    implied: Mapping[str, Override] | None = None,
    others: Sequence[CompileOptions] = (),
) -> Assignment:
    """What `assign` finds for the first output, with the other outputs, or what it finds by other
    options, beside it.

    Raises as `assign` does, TargetError for an output that is given twice, and CompositeError for a
    rule or parameter that no node takes on the way to any of them.
    """
    names = options.output or (None,)
    for name, count in Counter(names).items():
        if count > 1:
            raise TargetError(f"output {name!r} is given {count} times. Give it once.")
    assignments = [assign(model, replace(options, output=name), implied) for name in names]
    _check_used(options, assignments)
    if len(assignments) > 1:
        assignments = [replace(one, prefix=f"{one.output.name}_") for one in assignments]
    for number, other in enumerate(others, 1):
        assignments.append(replace(assign(model, other, implied), prefix=f"{number}."))
    return replace(assignments[0], others=tuple(assignments[1:]))


def _before_choice(name: str) -> Composite:
    """What says which inputs are reached: the composite, or what all have in common that `auto`
    takes.
    """
    return load_composite("base") if name == AUTO else chosen_composite(name)


def _choice(
    name: str, on_path: Sequence[Step], options: CompileOptions, implied: Mapping[str, Override]
) -> Choice:
    """The composite of that name, or the one that `auto` takes for the path."""
    if name != AUTO:
        return Choice(name, "")
    named = {key.rpartition(".")[2] for key in options.parameters}
    return composite_for(on_path, bool(implied) or named >= {"low", "high"})


def _contrasted(
    graph: ir.Graph, output: ir.Value, logits: ir.Value, axis: int | None, mixed: bool
) -> ir.Value:
    """The logits less their mean over the classes: those of the softmax, else those of the axis."""
    if classes_of_softmax(output, mixed):
        return logits_behind(graph, output, contrasted, mixed)
    if axis is None:
        raise TargetError(
            f"start 'contrast': output {output.name!r} of shape {output.shape} has one class, and "
            "no mean of others that it could be compared with. Choose --start logit."
        )
    return contrasted(graph, logits, axis)


@dataclass(frozen=True)
class _Asked:
    """What is explained of one output, and where its relevance starts."""

    output: ir.Value
    target: Target
    axis: int | None
    start: str
    logits: ir.Value
    start_at: ir.Value

    @classmethod
    def of(cls, graph: ir.Graph, options: CompileOptions, method: Method, composite: str) -> _Asked:
        """Find it; TargetError where the options do not fit the output."""
        heads = Heads(graph, [unzipped(v) for v in graph.outputs])
        named = options.output[0] if options.output else None
        output = choose_output(graph, named, heads.of_scores)
        target = parse_target(options.target)
        if target.kind == "top" and method.many_points:
            raise TargetError(
                f"target {target}: method {method.name!r} explains one class at a time. Choose "
                "argmax or a class, or another method."
            )
        if output.shape is None:  # an operator that is refused is said before the rank is asked for
            explained_inputs(graph, output, options.explain, _before_choice(composite))
        head = heads.of(output) if options.class_axis is None else None
        target = located(target, head, output, _fed(graph), options.class_axis)
        axis = (
            class_axis_of(output, options.class_axis, _fed(graph), target)
            if target.head is None
            else target.head.axis
        )
        check_entries(output, axis, target)
        mixed = of_score(target, head)
        classes = classes_of_softmax(output, mixed)
        start = chosen_start(options.start or method.start, target, classes, axis)
        logits = logits_behind(graph, output, mixed=mixed)
        contrast = start == "contrast"
        start_at = _contrasted(graph, output, logits, axis, mixed) if contrast else logits
        return cls(output, target, axis, start, logits, start_at)

    def check_stacked(self) -> None:
        """TargetError where several classes have no batch axis to be stacked behind."""
        target, output = self.target, self.output
        batched = self.axis != 0 and (target.head is None or target.head.batch)
        if target.kind == "top" and not batched:
            raise TargetError(
                f"target {target}: output {output.name!r} of shape {output.shape} has its classes "
                "along axis 0, and no batch axis behind which they could be stacked. Choose argmax "
                "or a class, or give the model a batch axis."
            )


def assign(
    model: ir.Model, options: CompileOptions, implied: Mapping[str, Override] | None = None
) -> Assignment:
    """Find the explanation path of one output and give each of its nodes a rule.

    implied: the least and the largest value of the input, by name of INPUT_ENDS. Parameters that
    stand for them take them where the user set none of these.
    Raises TargetError, CompositeError, RuleError or UnsupportedError; the last lists every node
    without a rule.
    """
    graph, method = model.graph, method_of(options)
    name_bodies(graph)
    name = options.composite or method.composite
    asked = _Asked.of(graph, options, method, name)
    for body in graphs_of(graph)[1:]:
        lift_weights(graph, body)
    inputs, on_path = explained_inputs(graph, asked.start_at, options.explain, _before_choice(name))
    choice = _choice(name, on_path, options, implied or {})
    composite = (
        chosen_composite(choice.composite)
        .with_rules(options.rules)
        .with_parameters(options.parameters, choice.reason)
    )
    implied = _lacking(composite, options, _implied(composite, implied or {}))
    composite = composite.with_parameters(implied)
    asked.check_stacked()
    every = tuple(inner for step in on_path for inner in step.within())
    selectors = [composite.selector_of(step) for step in every]
    _check_weights(every, selectors)
    taken = {k: v for k, v in implied.items() if _taken(k, selectors)}
    layer = grad_cam_layer(model, on_path, inputs, options.layer) if method.layer else None
    assignment = Assignment(
        options=options,
        method=method,
        composite=composite,
        chosen_because=choice.reason,
        parameters={**options.parameters, **taken},
        output=asked.output,
        logits=asked.logits,
        start_at=asked.start_at,
        target=asked.target,
        start=asked.start,
        class_axis=asked.axis,
        inputs=inputs,
        nodes=tuple(_assigned(composite, step) for step in on_path),
        layer=layer,
        warnings=(),
        unrecognized=unrecognized_nodes(composite, every),
    )
    return replace(assignment, warnings=_warnings(graph, assignment, on_path, selectors))


def _warnings(
    graph: ir.Graph, own: Assignment, on_path: Sequence[Step], selectors: Sequence[Selector]
) -> tuple[str, ...]:
    every = tuple(inner for step in on_path for inner in step.within())
    options, output, target = own.options, own.output, own.target
    return (
        *other_activations(own.composite, every),
        *unreached_rules(options, selectors),
        *straight_through(own.composite, every),
        *common_shift(own.method, own.inputs, on_path, own.start_at),
        *left_out(graph, own.start_at, own.inputs, options, own.composite),
        *(patches(on_path, own.layer) if options.layer is None else ()),
        *resembling(own.unrecognized),
        *all_alike(own.nodes),
        *open_classes(output, own.class_axis, target),
        *written_in_place(on_path, own.inputs, output, target),
        *(open_entry(target, output) if target.kind == "entry" else ()),
        *sought(target, output),
    )


def _fed(graph: ir.Graph) -> list[ir.Value]:
    """The inputs that are no weights."""
    return [v for v in graph.inputs if not v.is_initializer()]


def _check_used(options: CompileOptions, assignments: Sequence[Assignment]) -> None:
    """CompositeError for a rule or parameter of the user's that no node on a path takes."""
    steps = [(a.composite, step) for a in assignments for n in a.nodes for step in n.step.within()]
    selectors = [composite.selector_of(step) for composite, step in steps]
    for pattern in options.rules:
        if not any(
            selector.pattern == pattern and selector.selects(step)
            for composite, step in steps
            for selector in composite.selectors
        ):
            raise CompositeError(
                f"rule pattern {pattern!r}: no node on the explanation path has that name or "
                "operator type. `lrp-onnx inspect` lists them."
            )
    for key in options.parameters:
        if not _taken(key, selectors):
            raise CompositeError(
                f"parameter {key!r}: no node of this model gets a rule that takes it. Leave it out."
            )


def _check_weights(on_path: Sequence[Step], selectors: Sequence[Selector]) -> None:
    """RuleError that names every node whose rule modifies a weight that it does not have."""
    wrong = ", ".join(
        f"node {name_of(step.node)!r} ({step.node.op_type}), rule {selector.rule.name!r}"
        for step, selector in zip(on_path, selectors, strict=True)
        if selector.rule.modifies_weights and not (step.op.weighted and len(step.active) == 1)
    )
    if wrong:
        raise RuleError(
            f"{wrong}: it modifies weights, and the node has none. Choose another rule with "
            "--rule, such as norm."
        )


def _implied(composite: Composite, ends: Mapping[str, Override]) -> dict[str, Override]:
    """The parameters that stand for an end of the input's range, by `RULE.NAME`."""
    return {
        f"{selector.rule.name}.{name}": ends[parameter.implied]
        for selector in composite.selectors
        for name, parameter in selector.rule.parameters.items()
        if parameter.implied is not None and parameter.implied in ends
    }


def _lacking(
    composite: Composite, options: CompileOptions, implied: Mapping[str, Override]
) -> Mapping[str, Override]:
    """The implied parameters, if a rule lacks them that the user did not set either."""
    names = {key.rpartition(".")[2] for key in implied}
    if names & {key.rpartition(".")[2] for key in options.parameters}:
        return {}
    lack = [selector for selector in composite.selectors if not names & set(selector.parameters)]
    return {key: value for key, value in implied.items() if _taken(key, lack)}


def _taken(key: str, selectors: Sequence[Selector]) -> bool:
    rule_name, _, name = key.rpartition(".")
    return any(selector.takes(rule_name, name) for selector in selectors)


def _assigned(composite: Composite, step: Step) -> Assigned:
    selector = composite.selector_of(step)
    bodies = (tuple(_assigned(composite, inner) for inner in body.steps) for body in step.bodies)
    settings, reason = selector.rule.settings(selector.parameters), _reason(composite, selector)
    return Assigned(step, selector.rule, settings, reason, tuple(bodies))


def _reason(composite: Composite, selector: Selector) -> str:
    if selector.pattern:
        return f"{selector.pattern}={selector.rule.name} as given"
    base = "" if selector.own else "the base of "
    return f"{selector.describe()} in {base}{composite.name}"
