"""Where an input becomes a float tensor, the leaf that gradients are taken at.

A float input is its own leaf.  An integer one (token ids, bytes of a picture) becomes one or
several by Gather, Cast or DequantizeLinear, perhaps after it was reshaped or sliced.  So the path
is cut at the leaves: behind them it is differentiated, before them relevance only moves.  Integers
that a quantizer makes of floats inside the network lie behind, too.  Ids that are given as floats
and become integers before anything is computed with them are integers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.errors import TargetError, UnsupportedError
from lrp_onnx.lrp.assigned import Assigned

__all__ = ["Cut", "check_apart", "cut_at_leaves"]


@dataclass(frozen=True)
class Cut:
    """The path in two parts, each in topological order."""

    behind: tuple[Assigned, ...]
    """From the leaves to the target."""
    before: tuple[Assigned, ...]
    """From the integer inputs to the leaves, which these nodes' outputs are."""
    floats: tuple[ir.Value, ...]
    """Float inputs."""
    embedded: tuple[ir.Value, ...]
    """The float tensors that integer inputs become."""

    @property
    def leaves(self) -> tuple[ir.Value, ...]:
        """Every tensor that gradients are taken at."""
        return tuple(dict.fromkeys((*self.floats, *self.embedded)))


def cut_at_leaves(inputs: Sequence[ir.Value], nodes: Sequence[Assigned]) -> Cut:
    """Cut the path from the explained inputs at their leaves."""
    behind, before = list[Assigned](), list[Assigned]()
    embedded = list[ir.Value]()
    ids = {v for x in inputs if not _is_integer(x) for v in _float_ids(x, nodes)}
    floats = tuple(v for v in inputs if not _is_integer(v) and v not in ids)
    differentiable = set(floats)  # integers too: what a quantizer made of floats
    for site in nodes:
        if site.step.bodies and any(
            _is_integer(v) and v not in differentiable for v in site.step.receivers()
        ):
            raise UnsupportedError(
                f"node {site.step.node.name!r} ({site.step.node.op_type}): the integers that are "
                "explained become floats inside its body, and gradients are taken where they do. "
                "Choose method lrp, or other inputs with --explain"
            )
        read, written = site.step.node.inputs, site.step.node.outputs
        if site.step.node.op_type == "ExplainedBy" and read[1] in embedded:
            # what stands for it in the forward may be computed where it cannot be, as one-hot rows
            # times a table for ids outside of the table
            before.append(site)
            embedded[embedded.index(read[1])] = written[0]
            differentiable.update(written)
            continue
        integers = tuple(
            i
            for i in site.step.active
            if (_is_integer(read[i]) or read[i] in ids) and read[i] not in differentiable
        )
        others = tuple(i for i in site.step.active if i not in integers)
        if integers:
            before.append(_with_active(site, integers))
            embedded += [v for v in written if not _is_integer(v) and v not in ids]
        if others or site.step.captured:
            behind.append(_with_active(site, others))
            differentiable.update(written)
        differentiable.update(v for v in written if not _is_integer(v) and v not in ids)
    return Cut(tuple(behind), tuple(before), floats, tuple(embedded))


def _float_ids(x: ir.Value, nodes: Sequence[Assigned]) -> set[ir.Value]:
    """The float input and what it is moved to, if all of that becomes integers; else nothing."""
    ids, read = {x}, set[ir.Value]()
    for site in nodes:
        node = site.step.node
        values = set(site.step.receivers())
        if not values & ids:
            continue
        written = [v for v in node.outputs if not _is_integer(v)]
        only_moves = site.step.kind == "move" and (written or node.op_type in ("Cast", "CastLike"))
        if not only_moves or not values <= ids:
            return set()
        ids.update(written)
        read |= values
    return ids if ids == read else set()


def check_apart(cut: Cut) -> None:
    """Refuse a table that is explained beside the token ids that choose from it."""
    for site in cut.behind:
        for value in site.step.node.outputs:
            if value in cut.embedded:
                raise TargetError(
                    f"tensor {value.name!r} depends on explained inputs of integers and of floats "
                    "at once. Choose one of them with --explain."
                )


def _with_active(site: Assigned, active: tuple[int, ...]) -> Assigned:
    return replace(site, step=replace(site.step, active=active))


def _is_integer(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and not value.dtype.is_floating_point()
