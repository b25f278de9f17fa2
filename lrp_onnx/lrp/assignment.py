"""Which output is explained back to which inputs, and by which rule each node on the way
propagates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.analysis.common_shift import ignores_common_shift
from lrp_onnx.analysis.heads import Heads
from lrp_onnx.analysis.path import ends_of_paths
from lrp_onnx.analysis.rectifier import is_rectifier
from lrp_onnx.analysis.step import Step
from lrp_onnx.errors import CompositeError, RuleError, TargetError, UnsupportedError
from lrp_onnx.graph.annotations import RESEMBLES
from lrp_onnx.graph.map_outputs import unzipped
from lrp_onnx.graph.names import name_bodies, name_of
from lrp_onnx.graph.tensors import outputs_of
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.lrp.auto import AUTO, Choice, composite_for
from lrp_onnx.lrp.composite import (
    RECTIFIER,
    Composite,
    Layer,
    Override,
    chosen_composite,
    load_composite,
)
from lrp_onnx.lrp.contrast import contrasted, is_copy
from lrp_onnx.lrp.entry import open_entry
from lrp_onnx.lrp.layer import layer_of
from lrp_onnx.lrp.located import located, of_score, sought
from lrp_onnx.lrp.logits import classes_of_softmax, logits_behind
from lrp_onnx.lrp.methods import Method, method_of
from lrp_onnx.lrp.start import chosen_start
from lrp_onnx.lrp.target import Target, choose_output, class_axis_of, parse_target
from lrp_onnx.options import CompileOptions

__all__ = ["Assignment", "NodeReport", "assign", "check_used"]


RESEMBLING = (
    "looks like a softmax or a norm, as it divides by what depends on the dividend, and behaves "
    "like none that is known, so that its parts are explained one by one"
)
RECTIFIERS = "rectifiers (Relu, ReLU6, Clip from 0)"


@dataclass(frozen=True)
class NodeReport:
    """One line of `Compiled.report`: a node of the canonized graph and what becomes of relevance
    there.
    """

    name: str
    op_type: str
    kind: str
    rule: str
    reason: str
    outputs: tuple[str, ...] = ()
    """The tensors that it computes."""


@dataclass(frozen=True)
class Assignment:
    """The explanation path with a rule on every node."""

    options: CompileOptions
    method: Method
    composite: Composite
    chosen_because: str
    """Why `auto` took that composite; empty where the user or the method names one."""
    parameters: Mapping[str, Override]
    """Those of the user, and the implied ones that a rule takes."""
    output: ir.Value
    logits: ir.Value
    """The output itself, or the logits behind a final softmax or sigmoid."""
    start_at: ir.Value
    """Where relevance starts: there, or at the logits less their mean."""
    target: Target
    start: str
    """What relevance sums to: logit, contrast or one."""
    class_axis: int | None
    inputs: tuple[ir.Value, ...]
    nodes: tuple[Assigned, ...]
    layer: ir.Value | None
    """The tensor that grad-cam is formed at."""
    warnings: tuple[str, ...]
    unrecognized: tuple[str, ...] = ()
    """The nodes on the path that look like a softmax or a norm and were not recognized as one."""
    others: tuple[Assignment, ...] = ()
    """Those of the other outputs that are explained in the same file."""
    prefix: str = ""
    """What stands in front of the names of its relevance: its output's, if there are others."""

    @property
    def each(self) -> tuple[Assignment, ...]:
        """One for each explained output."""
        return (self, *self.others)

    @property
    def composite_name(self) -> str:
        """The composite as the user or the method names it; of `auto` the one that it took."""
        name = self.options.composite or self.method.composite
        return self.composite.name if name == AUTO else name

    @property
    def steps(self) -> int:
        """How many steps a path takes."""
        return self.options.steps or self.method.steps

    @property
    def samples(self) -> int:
        """How many samples with noise are taken."""
        return self.options.samples or self.method.samples

    @property
    def noise(self) -> float:
        """Their standard deviation, as a part of the range."""
        return self.method.noise if self.options.noise is None else self.options.noise

    def report(self, graph: ir.Graph) -> list[NodeReport]:
        """A line for every node of the graph, in order; what other outputs change is in the
        reason.
        """
        nodes = {a.step.node: a for one in reversed(self.each) for a in one.nodes}
        lines = list(_lines(graph, tuple(nodes.values())))
        return [_with_others(line, self.each) for line in lines] if self.others else lines


def _with_others(line: NodeReport, assignments: Sequence[Assignment]) -> NodeReport:
    """The line, with the rules that the node has for other outputs."""
    rules = {
        str(one.output.name): a.rule.name
        for one in assignments
        for a in one.nodes
        if name_of(a.step.node) == line.name and a.rule.name != line.rule
    }
    also = "".join(f"; {rule} for output {output!r}" for output, rule in rules.items())
    return replace(line, reason=line.reason + also)


def _before_choice(name: str) -> Composite:
    """What says which inputs are reached: the composite, or what all have in common that `auto`
    takes.
    """
    return load_composite("base") if name == AUTO else chosen_composite(name)


def _choice(
    name: str, path: Sequence[Step], options: CompileOptions, implied: Mapping[str, Override]
) -> Choice:
    """The composite of that name, or the one that `auto` takes for the path."""
    if name != AUTO:
        return Choice(name, "")
    given = {key.rpartition(".")[2] for key in options.parameters}
    return composite_for(path, bool(implied) or given >= {"low", "high"})


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


def _lines(graph: ir.Graph, nodes: Sequence[Assigned]) -> Iterator[NodeReport]:
    """A line for every node of a graph, each followed by those of its bodies on the path."""
    by_node = {a.step.node: a for a in nodes}
    copies = {name_of(node): node for node in graph if is_copy(node)}
    for node in graph:
        if is_copy(node):
            continue
        assigned = by_node.get(copies.get(name_of(node), node))
        yield _line(node, assigned)
        if assigned is not None:
            pairs = zip(assigned.step.bodies, assigned.bodies, strict=True)
            for body, inner in pairs:
                yield from _lines(body.graph, inner)


def _line(node: ir.Node, assigned: Assigned | None) -> NodeReport:
    name, op_type, outputs = name_of(node), node.op_type, outputs_of(node)
    if assigned is None:
        return NodeReport(name, op_type, "", "", "no relevance passes here", outputs)
    kind, rule, reason = assigned.step.kind, assigned.rule.name, assigned.reason
    reason = f"{reason}; {RESEMBLING}" if RESEMBLES in node.meta else reason
    reason = f"{reason}; less the mean of all classes" if is_copy(assigned.step.node) else reason
    return NodeReport(name, op_type, kind, rule, reason, outputs)


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
    heads = Heads(graph, [unzipped(v) for v in graph.outputs])
    output = choose_output(graph, options.output[0] if options.output else None, heads)
    target = parse_target(options.target)
    if target.kind == "top" and method.many_points:
        raise TargetError(
            f"target {target}: method {method.name!r} explains one class at a time. Choose "
            "argmax or a class, or another method."
        )
    head = heads.of(output) if options.class_axis is None else None
    target = located(target, head, output, _fed(graph), options.class_axis)
    mixed = of_score(target, head)
    axis = (
        class_axis_of(output, options.class_axis, _fed(graph), target)
        if target.head is None
        else target.head.axis
    )
    classes = classes_of_softmax(output, mixed)
    start = chosen_start(options.start or method.start, target, classes, axis)
    logits = logits_behind(graph, output, mixed=mixed)
    start_at = _contrasted(graph, output, logits, axis, mixed) if start == "contrast" else logits
    name = options.composite or method.composite
    inputs, path = _explained(graph, start_at, options.explain, _before_choice(name))
    choice = _choice(name, path, options, implied or {})
    composite = (
        chosen_composite(choice.composite)
        .with_rules(options.rules)
        .with_parameters(options.parameters)
    )
    implied = _lacking(composite, options, _implied(composite, implied or {}))
    composite = composite.with_parameters(implied)
    if target.kind == "top" and (axis == 0 or not (target.head is None or target.head.batch)):
        raise TargetError(
            f"target {target}: output {output.name!r} of shape {output.shape} has its classes "
            "along axis 0, and no batch axis behind which they could be stacked. Choose argmax or "
            "a class, or give the model a batch axis."
        )
    every = tuple(inner for step in path for inner in step.within())
    layers = [composite.layer_of(step) for step in every]
    _check_weights(every, layers)
    parameters = {**options.parameters, **{k: v for k, v in implied.items() if _taken(k, layers)}}
    nodes = tuple(_assigned(composite, step) for step in path)
    alike = _unrecognized(composite, every)
    return Assignment(
        options=options,
        method=method,
        composite=composite,
        chosen_because=choice.reason,
        parameters=parameters,
        output=output,
        logits=logits,
        start_at=start_at,
        target=target,
        start=start,
        class_axis=axis,
        inputs=inputs,
        nodes=nodes,
        layer=layer_of(model, path, inputs, options.layer) if method.layer else None,
        warnings=(
            *_warnings(composite, every),
            *_unreached_rules(options, layers),
            *_straight_through(composite, every),
            *_common_shift(method, inputs, path, start_at),
            *_left_out(graph, start_at, inputs, options, composite),
            *_resembling(alike),
            *_all_alike(nodes),
            *_open_classes(output, axis, target),
            *(open_entry(target, output) if target.kind == "entry" else ()),
            *sought(target, output),
        ),
        unrecognized=alike,
    )


def _fed(graph: ir.Graph) -> list[ir.Value]:
    """The inputs that are no weights."""
    return [v for v in graph.inputs if not v.is_initializer()]


def check_used(options: CompileOptions, assignments: Sequence[Assignment]) -> None:
    """CompositeError for a rule or parameter of the user's that no node on a path takes."""
    steps = [(a.composite, step) for a in assignments for n in a.nodes for step in n.step.within()]
    layers = [composite.layer_of(step) for composite, step in steps]
    for pattern in options.rules:
        if not any(
            layer.pattern == pattern and layer.selects(step)
            for composite, step in steps
            for layer in composite.layers
        ):
            raise CompositeError(
                f"rule pattern {pattern!r}: no node on the explanation path has that name or "
                "operator type. `lrp-onnx inspect` lists them."
            )
    for key in options.parameters:
        if not _taken(key, layers):
            raise CompositeError(
                f"parameter {key!r}: no node of this model gets a rule that takes it. Leave it out."
            )


def _check_weights(path: Sequence[Step], layers: Sequence[Layer]) -> None:
    """RuleError that names every node whose rule modifies a weight that it does not have."""
    wrong = ", ".join(
        f"node {name_of(step.node)!r} ({step.node.op_type}), rule {layer.rule.name!r}"
        for step, layer in zip(path, layers, strict=True)
        if layer.rule.modifies_weights and not (step.op.weighted and len(step.active) == 1)
    )
    if wrong:
        raise RuleError(
            f"{wrong}: it modifies weights, and the node has none. Choose another rule with "
            "--rule, such as norm."
        )


def _implied(composite: Composite, ends: Mapping[str, Override]) -> dict[str, Override]:
    """The parameters that stand for an end of the input's range, by `RULE.NAME`."""
    return {
        f"{layer.rule.name}.{name}": ends[parameter.implied]
        for layer in composite.layers
        for name, parameter in layer.rule.parameters.items()
        if parameter.implied is not None and parameter.implied in ends
    }


def _lacking(
    composite: Composite, options: CompileOptions, implied: Mapping[str, Override]
) -> Mapping[str, Override]:
    """The implied parameters, if a rule lacks them that the user did not set either."""
    names = {key.rpartition(".")[2] for key in implied}
    if names & {key.rpartition(".")[2] for key in options.parameters}:
        return {}
    lack = [layer for layer in composite.layers if not names & set(layer.parameters)]
    return {key: value for key, value in implied.items() if _taken(key, lack)}


def _taken(key: str, layers: Sequence[Layer]) -> bool:
    rule_name, _, name = key.rpartition(".")
    return any(layer.takes(rule_name, name) for layer in layers)


def _assigned(composite: Composite, step: Step) -> Assigned:
    layer = composite.layer_of(step)
    bodies = (tuple(_assigned(composite, inner) for inner in body.steps) for body in step.bodies)
    settings, reason = layer.rule.settings(layer.parameters), _reason(composite, layer)
    return Assigned(step, layer.rule, settings, reason, tuple(bodies))


def _reason(composite: Composite, layer: Layer) -> str:
    if layer.pattern:
        return f"{layer.pattern}={layer.rule.name} as given"
    return (
        f"{layer.describe()} in {composite.name if layer.own else f'the base of {composite.name}'}"
    )


def _explained(
    graph: ir.Graph, start_at: ir.Value, names: Sequence[str] | None, composite: Composite
) -> tuple[tuple[ir.Value, ...], tuple[Step, ...]]:
    """The explained inputs and the path: the named ones, else every float input on it, else every
    integer one that indexes a table, else every integer one.
    """
    if names:
        inputs = tuple(_input(graph, name) for name in names)
        path = composite.path(graph, inputs, start_at)
        for value in inputs:
            if not _reached(path, start_at, value):
                raise TargetError(
                    f"input {value.name!r}: output {start_at.name!r} does not depend on it. Leave "
                    "it out of --explain."
                )
        return inputs, path
    floats = [v for v in graph.inputs if v.dtype is not None and v.dtype.is_floating_point()]
    integers = [v for v in graph.inputs if v.dtype is not None and v.dtype.is_integer()]
    for candidates in (floats, integers):
        reached, path = _reaching(graph, start_at, candidates, composite)
        if candidates is integers:  # beside token ids, what becomes floats is a mask or a length
            reached = _ids(graph, start_at, reached, composite) or reached
        if reached:
            every = len(reached) == len(candidates)
            return reached, path if every else composite.path(graph, reached, start_at)
    raise _unreached(graph, start_at, [*floats, *integers], composite)


def _unreached(
    graph: ir.Graph, start_at: ir.Value, inputs: Sequence[ir.Value], composite: Composite
) -> TargetError:
    """The error for an output without a path, with the nodes at which all of them end."""
    listing = "; ".join(f"{v.name!r} {v.dtype} {v.shape}" for v in graph.inputs)
    through = ends_of_paths(graph, inputs, start_at, composite.constant_gates)
    return TargetError(
        f"output {start_at.name!r}: no input reaches it by a path that relevance can take{through}."
        f" Inputs: {listing}. Choose another --output."
    )


def _reaching(
    graph: ir.Graph, start_at: ir.Value, candidates: Sequence[ir.Value], composite: Composite
) -> tuple[tuple[ir.Value, ...], tuple[Step, ...]]:
    """Those of the candidates that the target depends on, and the path from all of them."""
    if not candidates:
        return (), ()
    try:
        path = composite.path(graph, candidates, start_at)
    except TargetError:  # none of them leads there: the next kind of input is tried
        return (), ()
    return tuple(v for v in candidates if _reached(path, start_at, v)), path


def _ids(
    graph: ir.Graph, start_at: ir.Value, inputs: Sequence[ir.Value], composite: Composite
) -> tuple[ir.Value, ...]:
    """Those of the inputs that index a table, moved before or not."""
    return tuple(
        value for value in inputs if any(map(_indexes, composite.path(graph, (value,), start_at)))
    )


def _indexes(step: Step) -> bool:
    return step.node.op_type == "Gather" and step.active == (1,)


def _reached(path: tuple[Step, ...], start_at: ir.Value, value: ir.Value) -> bool:
    return value is start_at or any(value in step.receivers() for step in path)


def _input(graph: ir.Graph, name: str) -> ir.Value:
    for value in graph.inputs:
        if value.name == name:
            return value
    raise TargetError(
        f"input {name!r}: the model has none. Its inputs: "
        f"{', '.join(repr(v.name) for v in graph.inputs)}."
    )


def _open_classes(output: ir.Value, axis: int | None, target: Target) -> tuple[str, ...]:
    """A warning where only the run shows whether the class exists."""
    size = None if axis is None or output.shape is None else output.shape[axis]
    if axis is None or isinstance(size, int) or not target.classes:
        return ()
    return (
        f"target {target}: output {output.name!r} does not say how many classes it has; where "
        f"class {max(target.classes)} does not exist, its relevance is 0.",
    )


def _unreached_rules(options: CompileOptions, layers: Sequence[Layer]) -> tuple[str, ...]:
    """A warning where a parameter that is set without a rule's name leaves one on the path alone,
    though nothing in the rule's file says so.
    """
    told = []
    for name, value in ((k, v) for k, v in options.parameters.items() if "." not in k):
        kept = {
            x.rule.name: x.rule.parameters[name].default
            for x in layers
            if name in x.rule.parameters and not x.rule.parameters[name].by_rule_only
            if not x.takes("", name) and f"{x.rule.name}.{name}" not in options.parameters
        }
        others = [f"{rule} ({default})" for rule, default in kept.items() if default != value]
        if others:
            told.append(
                f"--set {name}: it is for the composite's own rules; {', '.join(others)} keep "
                f"theirs. Give --set RULE.{name}=VALUE for these."
            )
    return tuple(told)


def _straight_through(composite: Composite, path: tuple[Step, ...]) -> tuple[str, ...]:
    """A warning where a gradient goes through rounding, which has none."""
    rounded = [step for step in path if step.op.straight_through]
    if composite.constant_gates or not rounded:
        return ()
    return (
        f"composite {composite.name!r}: the gradient passes straight through {len(rounded)} "
        "quantizers, whose rounding has none; it is that of the values they stand for.",
    )


def _left_out(
    graph: ir.Graph,
    start_at: ir.Value,
    inputs: Sequence[ir.Value],
    options: CompileOptions,
    composite: Composite,
) -> tuple[str, ...]:
    """A warning that names integer inputs beside float ones, if they lead to the target too."""
    if options.explain or not any(_is_float(v) for v in inputs):
        return ()
    integers = [v for v in graph.inputs if v.dtype is not None and v.dtype.is_integer()]
    try:
        reached, _ = _reaching(graph, start_at, integers, composite)
    except UnsupportedError:  # nor could they be explained
        return ()
    if not reached:
        return ()
    ids = ", ".join(repr(v.name) for v in reached)
    also = " ".join(f"--explain {v.name}" for v in (*inputs, *reached))
    return (f"input {ids}: integers, left out beside inputs of floats; {also} takes both.",)


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _common_shift(
    method: Method, inputs: Sequence[ir.Value], path: Sequence[Step], target: ir.Value
) -> tuple[str, ...]:
    """A warning where a token's gradient, the sum over its embedding, is 0 but for rounding."""
    if method.name not in ("gradient", "smooth-grad"):
        return ()
    ids = [v for v in inputs if v.dtype is not None and v.dtype.is_integer()]
    found = [repr(v.name) for v in ids if ignores_common_shift(path, v, target)]
    if not found:
        return ()
    return (
        f"method {method.name!r}, input {', '.join(found)}: its embeddings are read by LayerNorms "
        "alone, which a shift of a whole embedding does not change; so the gradient, summed over "
        "an embedding, is 0, and what is left is rounding. Take input-x-gradient, saliency or lrp.",
    )


def _unrecognized(composite: Composite, path: tuple[Step, ...]) -> tuple[str, ...]:
    """What looks like a softmax or a norm and was not recognized as one; a gradient needs not."""
    alike = [step.node for step in path if RESEMBLES in step.node.meta]
    return tuple(f"{name_of(n)!r} ({n.op_type})" for n in alike if composite.constant_gates)


def _resembling(alike: Sequence[str]) -> tuple[str, ...]:
    """A warning that names them."""
    return (f"{', '.join(alike)}: {RESEMBLING}; check whether that is meant.",) if alike else ()


def _all_alike(nodes: Sequence[Assigned]) -> tuple[str, ...]:
    """A warning where a first layer over all features at once gives all the same share."""
    alike = [a for a in nodes if a.rule.uniform and _sees_all(a.step)]
    alike = [a for a in alike if not any(b.kind == "linear" for b in a.step.before())]
    if not alike:
        return ()
    names = ", ".join(repr(name_of(a.step.node)) for a in alike)
    return (
        f"{names}: the first layer is fully connected, and rule {alike[0].rule.name} gives "
        "all features that enter it the same share; --composite epsilon tells them apart.",
    )


def _sees_all(step: Step) -> bool:
    """Whether it is [N, features] times a matrix."""
    x = next(iter(step.receivers()), None)
    dense = step.kind == "linear" and step.node.op_type in ("Gemm", "MatMul")
    return dense and x is not None and x.shape is not None and len(x.shape) <= 2


def _warnings(composite: Composite, path: tuple[Step, ...]) -> tuple[str, ...]:
    """A warning where the path has other activations than those that the composite is meant for."""
    if not composite.activations:
        return ()
    by_rectifier = RECTIFIER in composite.activations
    met = [s for s in path if not (by_rectifier and is_rectifier(s.node))]
    types = {s.node.op_type for s in met if s.kind == "activation"} - {*composite.activations}
    others = ", ".join(sorted(types))
    if by_rectifier and len(met) == len(path):
        has = f"its activations are {others}" if others else "it has no activation"
        return (
            f"composite {composite.name!r} changes the gradient at rectifiers alone (Relu, ReLU6, "
            f"Clip from 0), and there is none on the path, {has}: the map is the plain gradient. "
            "Choose another composite.",
        )
    if not types:
        return ()
    known = [RECTIFIERS if name == RECTIFIER else name for name in composite.activations]
    return (
        f"composite {composite.name!r} is meant for {', '.join(known)}; the path also has "
        f"{others}.",
    )
