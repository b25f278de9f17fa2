"""Composite `auto`: which composite suits a network, by what stands on the explanation path.

What each kind of network gets was chosen by pixel flipping on photos, sentences, tables and sounds
(`model_zoo_scripts/README.md` has the figures and on what they were measured).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrp_onnx.analysis.depth import is_linear_layer
from lrp_onnx.analysis.pointwise import CONVOLUTION
from lrp_onnx.analysis.step import Step

__all__ = ["AUTO", "Choice", "composite_for"]

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """A composite and why it was taken."""

    composite: str
    reason: str


def composite_for(on_path: Sequence[Step], known_range: bool) -> Choice:
    """The composite that `auto` stands for on an explanation path.

    known_range: whether the least and the largest value of the input are known, as `zbox` needs.
    """
    steps = [inner for step in on_path for inner in step.within()]
    linear = [s for s in steps if s.kind == "linear"]
    windows = [s for s in linear if s.op.window and s.op_type == s.node.op_type]
    convolutions = len(windows) + sum(s.op_type == CONVOLUTION != s.node.op_type for s in linear)
    attention = sum(s.kind == "bilinear" for s in steps)
    recurrent = sum(s.kind in ("cell", "recurrent") and is_linear_layer(s) for s in steps)
    convs = _count(convolutions, "convolution")
    if attention and convolutions:
        return Choice("attnlrp-gamma", f"{convs} and {_count(attention, 'product')} of attention")
    if attention:
        return Choice("attnlrp", f"{_count(attention, 'product')} of attention, no convolution")
    if convolutions and _along_one_axis(windows):
        return Choice("zplus", f"{convs} along one axis, no attention")
    if convolutions:
        ranged = "the input's range is known" if known_range else "no range of the input is given"
        return Choice("graded-box" if known_range else "graded", f"{convs}, no attention; {ranged}")
    if recurrent:
        return Choice("epsilon", f"{_count(recurrent, 'recurrent layer')}, no convolution")
    return Choice("epsilon-relative", "dense layers, no convolution, no attention")


def _along_one_axis(convolutions: Sequence[Step]) -> bool:
    """Whether all slide along one axis alone, as over a sound; of a height of 1 nothing counts."""
    inputs = (step.node.inputs[0] for step in convolutions)
    shapes = [None if x is None else x.shape for x in inputs]
    known = [tuple(shape)[2:] for shape in shapes if shape is not None]
    axes = {sum(size != 1 for size in sizes) for sizes in known}
    return len(known) == len(shapes) and max(axes, default=0) == 1


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
