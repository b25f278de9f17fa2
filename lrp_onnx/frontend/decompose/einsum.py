"""Einsum as a chain of Einsums of two operands, without repeated labels and without ellipses.

The labels of an ellipsis are spelled out.  Of each operand the diagonals of repeated labels are
taken and the labels that nothing else has are summed; then the first two operands are contracted to
what is still needed, and so on.  Spec: ONNX Einsum-12.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

LAST = 2**31 - 1
ELLIPSIS = "..."

Operand = tuple[ir.Value, str]
"""A tensor and the labels of its axes."""


@decomposes("Einsum")
def einsum(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """The chain, None where the node is one; UnsupportedError where a rank is unknown that an
    ellipsis needs.
    """
    values = [v for v in node.inputs if v is not None]
    written = node.attributes.get_string("equation", "")
    terms, result = _spelled_out(written, values)
    known = [_sizes(v, term) for v, term in zip(values, terms, strict=True)]
    operands = []
    for k, (value, term) in enumerate(zip(values, terms, strict=True)):
        others = known[:k] + known[k + 1 :]
        value, term = _unbroadcast(build, value, term, others)
        operands.append(_alone(build, value, term, result + "".join(s for o in others for s in o)))
    if len(terms) == 2 and not build.nodes and written == f"{','.join(terms)}->{result}":
        return None
    while len(operands) > 1:
        a, b, *rest = operands
        needed = result + "".join(labels for _, labels in rest)
        labels = result if not rest else _union(a[1], b[1], needed)
        equation = f"{a[1]},{b[1]}->{labels}"
        operands = [(build.op("Einsum", a[0], b[0], equation=equation), labels), *rest]
    ((value, labels),) = operands
    if labels == result:
        return [value]
    return [build.op("Transpose", value, perm=[labels.index(label) for label in result])]


def _union(a: str, b: str, needed: str) -> str:
    return "".join(label for label in dict.fromkeys(a + b) if label in needed)


def _spelled_out(equation: str, values: Sequence[ir.Value]) -> tuple[list[str], str]:
    """The labels of each operand and of the result, those of an ellipsis included.

    Axes of ellipses are aligned from behind; without an arrow the result has theirs first and then
    the labels that occur once, in the order of the alphabet.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [label for label in string.ascii_letters if label not in left]
    counts = [_behind_ellipsis(t, v) for t, v in zip(terms, values, strict=True)]
    axes = "".join(free[: max(counts)])
    if not arrow:
        once = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        result = ELLIPSIS + "".join(once)
    spelled = [
        t.replace(ELLIPSIS, axes[len(axes) - n :]) for t, n in zip(terms, counts, strict=True)
    ]
    return spelled, result.replace(ELLIPSIS, axes)


def _behind_ellipsis(term: str, value: ir.Value) -> int:
    """How many axes an ellipsis in the term stands for."""
    if ELLIPSIS not in term:
        return 0
    if value.shape is None:
        raise UnsupportedError(
            f"the rank of {value.name!r} is unknown, which its ellipsis needs. Export the model "
            "with input shapes"
        )
    return len(value.shape) - len(term.replace(ELLIPSIS, ""))


def _sizes(value: ir.Value, labels: str) -> dict[str, object]:
    """What is known of the size of each label; of repeated ones the last."""
    return dict(zip(labels, value.shape or [None] * len(labels), strict=False))


def _unbroadcast(
    build: Build, value: ir.Value, labels: str, others: Sequence[Mapping[str, object]]
) -> Operand:
    """Without the axes of size 1 along which the value is broadcast to another operand."""
    own = _sizes(value, labels)
    ones = [k for k, label in enumerate(labels) if own[label] == 1
            and any(other.get(label, 1) != 1 for other in others)]  # fmt: skip
    if not ones:
        return value, labels
    rest = "".join(label for k, label in enumerate(labels) if k not in ones)
    return build.op("Squeeze", value, build.ints(*ones)), rest


def _alone(build: Build, value: ir.Value, labels: str, needed: str) -> Operand:
    """Diagonals of repeated labels taken, labels that nothing else needs summed."""
    while repeated := next((c for c in labels if labels.count(c) > 1), ""):
        value, labels = _diagonal(build, value, labels, repeated)
    summed = [k for k, label in enumerate(labels) if label not in needed]
    if summed:
        value = build.op("ReduceSum", value, build.ints(*summed), keepdims=0)
    return value, "".join(label for label in labels if label in needed)


def _diagonal(build: Build, value: ir.Value, labels: str, label: str) -> Operand:
    """The elements where the first two axes of the label have the same index, on one axis behind.

    Of two axes of size n taken as one they are n + 1 apart.
    """
    first = labels.index(label)
    second = labels.index(label, first + 1)
    others = [k for k in range(len(labels)) if k not in (first, second)]
    size = build.op("Shape", value, start=first, end=first + 1)
    behind = build.op("Transpose", value, perm=[*others, first, second])
    flat = build.op("Reshape", behind, build.ints(*[0] * len(others), -1))
    step = build.op("Add", size, build.ints(1))
    picked = build.op("Slice", flat, build.ints(0), build.ints(LAST), build.ints(-1), step)
    return picked, "".join(labels[k] for k in others) + label
