"""Which inputs are explained, and the path from them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import onnx_ir as ir

from lrp_onnx.analysis.depth import set_depths
from lrp_onnx.analysis.path import ends_of_paths, explanation_path
from lrp_onnx.analysis.pointwise import set_pointwise
from lrp_onnx.analysis.step import Step
from lrp_onnx.errors import TargetError, UnsupportedError
from lrp_onnx.graph.dtypes import OF_TEXTS, is_float, is_integer
from lrp_onnx.lrp.composite import Composite

__all__ = ["explained_inputs", "of_categories", "path_under", "reaching"]


def explained_inputs(
    graph: ir.Graph, start_at: ir.Value, names: Sequence[str] | None, composite: Composite
) -> tuple[tuple[ir.Value, ...], tuple[Step, ...]]:
    """The explained inputs and the path: the named ones, else every float input on it and those
    of categories, else every integer one that indexes a table, else every integer one.
    """
    if names:
        inputs = tuple(_input(graph, name) for name in names)
        on_path = path_under(composite, graph, inputs, start_at)
        receiving = _receiving(on_path, start_at)
        for value in inputs:
            if value not in receiving:
                raise TargetError(
                    f"input {value.name!r}: output {start_at.name!r} does not depend on it. Leave "
                    "it out of --explain."
                )
        return inputs, on_path
    categories = of_categories(graph, start_at, composite)
    floats = [v for v in graph.inputs if is_float(v) or v in categories]
    integers = [v for v in graph.inputs if is_integer(v)]
    for candidates in (floats, integers):
        reached, on_path = reaching(graph, start_at, candidates, composite)
        if candidates is integers:  # beside token ids, what becomes floats is a mask or a length
            reached = _ids(graph, start_at, reached, composite) or reached
        if reached:
            every = len(reached) == len(candidates)
            return reached, on_path if every else path_under(composite, graph, reached, start_at)
    raise _unreached(graph, start_at, [*floats, *integers], composite)


def of_categories(graph: ir.Graph, start_at: ir.Value, composite: Composite) -> frozenset[ir.Value]:
    """Inputs of texts, and of whole numbers that an encoder of categories reads, which reach the
    target by a path that relevance can take: the columns of a table that hold no numbers.
    """
    reached = set[ir.Value]()
    for value in graph.inputs:
        read = any(node.op_type == "OneHotEncoder" for node, _ in value.uses())
        if value.dtype == ir.DataType.STRING or (is_integer(value) and read):
            with suppress(UnsupportedError):  # told by `left_out`
                reached.update(reaching(graph, start_at, [value], composite)[0])
    return frozenset(reached)


def path_under(
    composite: Composite, graph: ir.Graph, inputs: Sequence[ir.Value], target: ir.Value
) -> tuple[Step, ...]:
    """The explanation path with what the composite holds constant (see `analysis/path.py`)."""
    on_path = explanation_path(
        graph, inputs, target, composite.constant_gates, composite.constant_attention
    )
    set_depths(on_path)
    set_pointwise(on_path)
    return on_path


def _unreached(
    graph: ir.Graph, start_at: ir.Value, inputs: Sequence[ir.Value], composite: Composite
) -> TargetError:
    """The error for an output without a path, with the nodes at which all of them end."""
    own = [v for v in graph.inputs if not v.is_initializer()]
    if own and all(v.dtype == ir.DataType.STRING for v in own):
        return TargetError(f"input {own[0].name!r}: {OF_TEXTS}")
    listing = "; ".join(f"{v.name!r} {v.dtype} {v.shape}" for v in graph.inputs)
    through = ends_of_paths(graph, inputs, start_at, composite.constant_gates)
    return TargetError(
        f"output {start_at.name!r}: no input reaches it by a path that relevance can take{through}."
        f" Inputs: {listing}. Choose another --output."
    )


def reaching(
    graph: ir.Graph, start_at: ir.Value, candidates: Sequence[ir.Value], composite: Composite
) -> tuple[tuple[ir.Value, ...], tuple[Step, ...]]:
    """Those of the candidates that the target depends on, and the path from all of them."""
    if not candidates:
        return (), ()
    try:
        on_path = path_under(composite, graph, candidates, start_at)
    except TargetError:  # none of them leads there: the next kind of input is tried
        return (), ()
    receiving = _receiving(on_path, start_at)
    return tuple(v for v in candidates if v in receiving), on_path


def _ids(
    graph: ir.Graph, start_at: ir.Value, inputs: Sequence[ir.Value], composite: Composite
) -> tuple[ir.Value, ...]:
    """Those of the inputs that index a table, moved before or not."""
    return tuple(
        value
        for value in inputs
        if any(map(_indexes, path_under(composite, graph, (value,), start_at)))
    )


def _indexes(step: Step) -> bool:
    return step.node.op_type == "Gather" and step.active == (1,)


def _receiving(on_path: tuple[Step, ...], start_at: ir.Value) -> set[ir.Value]:
    return {start_at, *(v for step in on_path for v in step.receivers())}


def _input(graph: ir.Graph, name: str) -> ir.Value:
    for value in graph.inputs:
        if value.name == name:
            return value
    raise TargetError(
        f"input {name!r}: the model has none. Its inputs: "
        f"{', '.join(repr(v.name) for v in graph.inputs)}."
    )
