"""Parallel linear branches of one tensor that end in a sum are one linear node.

A sum's own rule between them would share relevance out by terms that cancel; their sum is one map,
as it is where a network was merged before export:

    Σᵢ ±(Wᵢ ∗ x + bᵢ) = (Σᵢ ±Wᵢ) ∗ x + Σᵢ ±bᵢ.

A branch is a convolution, its kernel padded with zeros to the largest; a scale and shift of the
channels, the identity among them, whose kernel is a unit one; or an average over windows.  Groups
become as few as the branches need.  A convolution of a part of x's channels is one of x whose other
weights are 0; one of a part of its rows has windows that begin later, as where one product for each
tap of a kernel is added up.  x beside one branch alone is a residual sum and stays one.
Source: Ding et al. 2021, RepVGG: making VGG-style ConvNets great again, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.affine import Affine, affine_of
from lrp_onnx.frontend.canonize.batchnorm import fold_batchnorm_behind
from lrp_onnx.frontend.canonize.sums import (
    Term,
    common_inputs,
    cropped,
    fits,
    is_own,
    selected,
    sums_of,
    terms_of,
    write_sum,
)
from lrp_onnx.graph.constants import Float, array_of
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.unused import remove_unused
from lrp_onnx.graph.windows import Window, window_of

__all__ = ["merge_branches"]

Windows = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Strides, and rows of padding at the beginning and at the end."""


@dataclass(frozen=True)
class _Branch:
    """One linear map of x: kernel (M, C/group, *size), bias (M,), and where its windows stand."""

    x: ir.Value
    weight: Float
    bias: Float
    group: int
    windows: Windows

    def in_groups(self, group: int) -> Float:
        """The kernel for as many groups, a divisor of its own."""
        parts = self.group // group
        rows, columns = self.weight.shape[:2]
        wide = np.zeros((rows, columns * parts, *self.weight.shape[2:]))
        for k in range(self.group):
            of = slice(k * rows // self.group, (k + 1) * rows // self.group)
            start = k % parts * columns
            wide[of, start : start + columns] = self.weight[of]
        return wide


def merge_branches(model: ir.Model) -> bool:
    """Each sum of branches of one tensor becomes a convolution, and what is left; what scales and
    shifts the sum is taken in.
    """
    changed = False
    while sum(_merged(model.graph, root) for root in sums_of(model.graph)) > 0:
        remove_unused(model)
        fold_batchnorm_behind(model)  # the sum may be a branch of another one then
        changed = True
    return changed


def _merged(graph: ir.Graph, root: ir.Node) -> bool:
    terms = terms_of(root)
    for x in common_inputs(terms):
        read = [_of(x, _convolution(value)) if is_own(value) else None for value, _ in terms]
        like = next((branch for branch in read if branch is not None and branch.x is x), None)
        if like is None:
            continue
        own = [
            branch if branch is not None and branch.x is x else _scaled(value, like)
            for (value, _), branch in zip(terms, read, strict=True)
        ]
        parts = [(b, sign) for b, (_, sign) in zip(own, terms, strict=True) if b is not None]
        beside = [
            term for term, b in zip(terms, own, strict=True) if b is not None and term != (x, 1)
        ]
        total = _total(parts) if len(beside) > 1 else None
        if total is not None and fits(x.dtype, total.weight, total.bias):
            rest = [term for term, b in zip(terms, own, strict=True) if b is None]
            _write(graph, root, total, rest)
            return True
    return False


def _of(x: ir.Value, branch: _Branch | None) -> _Branch | None:
    """A branch of a part of x's channels as one of x; others as they are."""
    while branch is not None and branch.x is not x:
        if (rows := _of_rows(branch)) is not None:
            branch = rows
            continue
        part = selected(branch.x, 1) if is_own(branch.x) else None
        if part is None:
            return branch
        whole, start, stop, size = part
        weight = np.zeros((len(branch.weight), size, *branch.weight.shape[2:]))
        weight[:, start:stop] = branch.in_groups(1)
        branch = replace(branch, x=whole, weight=weight, group=1)
    return branch


def _of_rows(branch: _Branch) -> _Branch | None:
    """A branch of a part of a tensor's rows as one of the whole, which it reads further inside."""
    strides, begin, end = branch.windows
    part = cropped(branch.x)
    if part is None or max(*begin, *end) > 0:
        return None  # zeros of its own stand where the whole has rows
    x, before, behind = part
    if any(before[:2]) or any(behind[:2]):
        return None
    begin, end = (
        tuple(n - inside for n, inside in zip(rows, left_out[2:], strict=True))
        for rows, left_out in ((begin, before), (end, behind))
    )
    return replace(branch, x=x, windows=(strides, begin, end))


def _convolution(value: ir.Value) -> _Branch | None:
    """A Conv, or an AveragePool whose windows all count alike."""
    node = made_by(value, "Conv", "AveragePool")
    x = None if node is None else node.inputs[0]
    if node is None or x is None:
        return None
    if node.op_type == "AveragePool":
        return _average(node, x)
    weight = array_of(node.inputs[1])
    if weight is None:
        return None
    biased = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = array_of(node.inputs[2]) if biased else np.zeros(len(weight))
    window = window_of(node, weight.ndim - 2)
    if bias is None or window.mode != "NOTSET":
        return None
    group = node.attributes.get_int("group", 1)
    return _Branch(x, _spread(weight, window.dilations), bias, group, _sides(window))


def _average(node: ir.Node, x: ir.Value) -> _Branch | None:
    window, channels = window_of(node), x.shape[1] if x.shape is not None else None
    if window.kernel is None or window.mode != "NOTSET" or not isinstance(channels, int):
        return None
    if any(window.pads) and not node.attributes.get_int("count_include_pad", 0):
        return None
    if window.rounds_up or window.dilated:
        return None
    weight = np.full((channels, 1, *window.kernel), 1 / np.prod(window.kernel))
    return _Branch(x, weight, np.zeros(channels), channels, _sides(window))


def _sides(window: Window) -> Windows:
    half = len(window.pads) // 2
    return window.strides, window.pads[:half], window.pads[half:]


def _spread(weight: Float, dilations: tuple[int, ...]) -> Float:
    """The kernel with its dilation's gaps as zeros."""
    if all(d == 1 for d in dilations):
        return weight
    sizes = [d * (n - 1) + 1 for d, n in zip(dilations, weight.shape[2:], strict=True)]
    wide = np.zeros((*weight.shape[:2], *sizes))
    places: tuple[Any, ...] = (..., *(slice(None, None, d) for d in dilations))
    wide[places] = weight
    return wide


def _scaled(value: ir.Value, like: _Branch) -> _Branch | None:
    """x itself, or its channels scaled and shifted, as a unit kernel."""
    channels, rank, x = like.weight.shape[1] * like.group, like.weight.ndim - 2, like.x
    total = Affine.identity(channels)
    while value is not x:
        node = value.producer()
        if node is None or not is_own(value):
            return None
        at = next(
            (k for k, v in enumerate(node.inputs) if v is not None and array_of(v) is None), 0
        )
        step = affine_of(node, at, 1, channels) if node.inputs else None
        before = node.inputs[at] if node.inputs else None
        if step is None or before is None:
            return None
        total, value = step.then(total), before
    none = (0,) * rank
    weight = total.scale.reshape(channels, 1, *[1] * rank)
    return _Branch(x, weight, total.shift, channels, ((1,) * rank, none, none))


def _total(parts: list[tuple[_Branch, int]]) -> _Branch | None:
    """The sum of branches; None where their windows do not stand alike."""
    first = parts[0][0]
    strides, rank, rows = first.windows[0], len(first.windows[0]), len(first.weight)
    begin = [max(b.windows[1][k] for b, _ in parts) for k in range(rank)]
    reach = [max(begin[k] - b.windows[1][k] + b.weight.shape[2 + k] for b, _ in parts)
             for k in range(rank)]  # fmt: skip
    ends = {tuple(reach[k] - begin[k] + b.windows[1][k] + b.windows[2][k] - b.weight.shape[2 + k]
                  for k in range(rank)) for b, _ in parts}  # fmt: skip
    alike = all(b.windows[0] == strides and len(b.weight) == rows for b, _ in parts)
    if len(ends) != 1 or not alike or min(*begin, *(end := ends.pop())) < 0:
        return None
    group = gcd(*(b.group for b, _ in parts))
    channels = {b.weight.shape[1] * b.group for b, _ in parts}
    if len(channels) != 1:
        return None
    weight = np.zeros((rows, channels.pop() // group, *reach))
    for b, sign in parts:
        before = [begin[k] - b.windows[1][k] for k in range(rank)]
        behind = [reach[k] - before[k] - b.weight.shape[2 + k] for k in range(rank)]
        around = [(0, 0), (0, 0), *zip(before, behind, strict=True)]
        weight += sign * np.pad(b.in_groups(group), around)
    bias = np.sum([sign * b.bias for b, sign in parts], 0)
    return _Branch(first.x, weight, bias, group, (strides, tuple(begin), end))


def _write(graph: ir.Graph, root: ir.Node, total: _Branch, rest: list[Term]) -> None:
    build, dtype = Build(graph, root, "merged"), total.x.dtype
    assert dtype is not None
    parts = {"weight": total.weight, "bias": total.bias}
    constants = [build.constant(array, dtype, part) for part, array in parts.items()]
    strides, begin, end = total.windows
    own = {"strides": strides, "pads": begin + end, "group": total.group, "named": root.name}
    write_sum(build, build.op("Conv", total.x, *constants, like=root.outputs[0], **own), rest)
