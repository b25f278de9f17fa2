"""What is told of an assignment: each function gives no warning or more."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.analysis.common_shift import ignores_common_shift
from lrp_onnx.analysis.rectifier import is_rectifier
from lrp_onnx.analysis.step import Step
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.annotations import RESEMBLES
from lrp_onnx.graph.dtypes import is_float, is_integer
from lrp_onnx.graph.names import name_of, tensor_name
from lrp_onnx.graph.subgraphs import captures
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.lrp.composite import RECTIFIER, Composite, Selector
from lrp_onnx.lrp.explained_inputs import reaching
from lrp_onnx.lrp.methods import Method
from lrp_onnx.lrp.report import RESEMBLING
from lrp_onnx.lrp.target import Target
from lrp_onnx.options import CompileOptions

__all__ = [
    "all_alike",
    "common_shift",
    "left_out",
    "open_classes",
    "other_activations",
    "patches",
    "resembling",
    "straight_through",
    "unreached_rules",
    "unrecognized_nodes",
]

RECTIFIERS = "rectifiers (Relu, ReLU6, Clip from 0)"


def open_classes(output: ir.Value, axis: int | None, target: Target) -> tuple[str, ...]:
    """A warning where only the run shows whether the class exists."""
    size = None if axis is None or output.shape is None else output.shape[axis]
    if axis is None or isinstance(size, int) or not target.classes:
        return ()
    return (
        f"target {target}: output {output.name!r} does not say how many classes it has; where "
        f"class {max(target.classes)} does not exist, its relevance is 0.",
    )


def written_in_place(
    on_path: Sequence[Step], inputs: Sequence[ir.Value], output: ir.Value, target: Target
) -> tuple[str, ...]:
    """A warning where a detector's scores may not be seen, since its boxes are decoded in place at
    places that only the run knows.
    """
    nodes = [step.node for step in on_path if step.node.op_type == "ScatterND"]
    places = [node.inputs[1] for node in nodes]
    unknown = any(v is not None and v.const_value is None for v in places)
    if target.head is not None or target.kind == "entry" or len(output.shape or ()) < 3:
        return ()
    shapes = {v.name: [*(v.shape or ())] for v in inputs}
    if not unknown or all(isinstance(d, int) for shape in shapes.values() for d in shape):
        return ()
    fixed = " ".join(
        f"--shape {name}={','.join(str(d) if isinstance(d, int) else '1' for d in shape)}"
        for name, shape in shapes.items()
    )
    return (
        f"output {output.name!r}: some of its numbers are written over in place, and which they "
        "are depends on the size of the input. If it is a detector's, its scores are found where "
        f"sizes are fixed: {fixed}",
    )


def unreached_rules(options: CompileOptions, selectors: Sequence[Selector]) -> tuple[str, ...]:
    """A warning where a parameter that is set without a rule's name leaves one on the path alone,
    though nothing in the rule's file says so.
    """
    told = []
    for name, value in ((k, v) for k, v in options.parameters.items() if "." not in k):
        untouched = {
            x.rule.name: x.rule.parameters[name].default
            for x in selectors
            if name in x.rule.parameters and not x.rule.parameters[name].by_rule_only
            if not x.takes("", name) and f"{x.rule.name}.{name}" not in options.parameters
        }
        others = [f"{rule} ({default})" for rule, default in untouched.items() if default != value]
        if others:
            told.append(
                f"--set {name}: it is for the composite's own rules; {', '.join(others)} keep "
                f"theirs. Give --set RULE.{name}=VALUE for these."
            )
    return tuple(told)


def straight_through(composite: Composite, on_path: tuple[Step, ...]) -> tuple[str, ...]:
    """A warning where a gradient goes through rounding, which has none."""
    rounded = [step for step in on_path if step.op.straight_through]
    if composite.constant_gates or not rounded:
        return ()
    return (
        f"composite {composite.name!r}: the gradient passes straight through {len(rounded)} "
        "quantizers, whose rounding has none; it is that of the values they stand for.",
    )


def left_out(
    graph: ir.Graph,
    start_at: ir.Value,
    inputs: Sequence[ir.Value],
    options: CompileOptions,
    composite: Composite,
) -> tuple[str, ...]:
    """Warnings that name texts and integer inputs beside others, if they lead to the target too."""
    if options.explain or not any(is_float(v) for v in inputs):
        return ()
    read = _behind(start_at)
    texts = [v for v in graph.inputs if v.dtype == ir.DataType.STRING and v not in inputs]
    lost = tuple(
        f"input {v.name!r}: texts, which relevance is not taken to, since what reads them has no "
        "rule; the other inputs are explained."
        for v in texts
        if v in read
    )
    return (*lost, *_integers_left_out(graph, start_at, inputs, composite))


def _behind(value: ir.Value) -> set[ir.Value]:
    """Every tensor that it is computed from, by whatever nodes."""
    pending, read = [value], {value}
    while pending:
        node = pending.pop().producer()
        inputs = [*node.inputs, *captures(node)] if node is not None else []
        pending += [v for v in inputs if v is not None and v not in read]
        read.update(pending)
    return read


def _integers_left_out(
    graph: ir.Graph, start_at: ir.Value, inputs: Sequence[ir.Value], composite: Composite
) -> tuple[str, ...]:
    integers = [v for v in graph.inputs if is_integer(v) and v not in inputs]
    try:
        reached, _ = reaching(graph, start_at, integers, composite)
    except UnsupportedError:  # nor could they be explained
        return ()
    if not reached:
        return ()
    ids = ", ".join(repr(v.name) for v in reached)
    also = " ".join(f"--explain {v.name}" for v in (*inputs, *reached))
    return (f"input {ids}: integers, left out beside inputs of floats; {also} takes both.",)


def common_shift(
    method: Method, inputs: Sequence[ir.Value], on_path: Sequence[Step], target: ir.Value
) -> tuple[str, ...]:
    """A warning where a token's gradient, the sum over its embedding, is 0 but for rounding."""
    if not method.signed:
        return ()
    ids = [v for v in inputs if is_integer(v)]
    blind = [repr(v.name) for v in ids if ignores_common_shift(on_path, v, target)]
    if not blind:
        return ()
    return (
        f"method {method.name!r}, input {', '.join(blind)}: its embeddings are read by LayerNorms "
        "alone, which a shift of a whole embedding does not change; so the gradient, summed over "
        "an embedding, is 0, and what is left is rounding. Take input-x-gradient, saliency or lrp.",
    )


def patches(on_path: Sequence[Step], layer: ir.Value | None) -> tuple[str, ...]:
    """A warning where grad-cam's last convolution cuts the patches of a transformer."""
    maker = next(
        (step for step in on_path if layer is not None and layer in step.node.outputs), None
    )
    attention = sum(s.kind == "bilinear" for s in maker.behind()) if maker is not None else 0
    if layer is None or not attention or maker is None or maker.op.window != "kernel":
        return ()
    return (
        f"method 'grad-cam': behind the last convolution, {tensor_name(layer)!r}, "
        f"attention mixes its positions in {attention} product{'s' * (attention > 1)}, as in a "
        "vision transformer, and the map says little. Take lrp, or name a tensor with positions "
        "nearer to the output with --layer.",
    )


def unrecognized_nodes(composite: Composite, on_path: tuple[Step, ...]) -> tuple[str, ...]:
    """What looks like a softmax or a norm and was not recognized as one; a gradient needs not."""
    alike = [step.node for step in on_path if RESEMBLES in step.node.meta]
    return tuple(f"{name_of(n)!r} ({n.op_type})" for n in alike if composite.constant_gates)


def resembling(alike: Sequence[str]) -> tuple[str, ...]:
    """A warning that names them."""
    return (f"{', '.join(alike)}: {RESEMBLING}; check whether that is meant.",) if alike else ()


def all_alike(nodes: Sequence[Assigned]) -> tuple[str, ...]:
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


def other_activations(composite: Composite, on_path: tuple[Step, ...]) -> tuple[str, ...]:
    """A warning where the path has other activations than those that the composite is meant for."""
    if not composite.activations:
        return ()
    by_rectifier = RECTIFIER in composite.activations
    met = [s for s in on_path if not (by_rectifier and is_rectifier(s.node))]
    types = {s.node.op_type for s in met if s.kind == "activation"} - {*composite.activations}
    others = ", ".join(sorted(types))
    if by_rectifier and len(met) == len(on_path):
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
