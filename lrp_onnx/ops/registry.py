"""The table of operators: one record for each, with every fact that the compiler uses of it.

An operator is one function next to its facts:

    @op("Tanh", kind="activation", sign=same_sign)
    def tanh(emit, node, s, i):
        '''s · (1 - y²).  Spec: ONNX Tanh-13.'''

It returns the vector-Jacobian product c of the node with respect to its input `i`: `s` has the
shape of output 0 and c the shape of input `i`.  An operator of kind `linear` takes a fifth
argument, the weight to use in place of the node's own; one registered with `outputs="all"` gets a
list in `s`, one entry per output, None where nothing comes back.  Of an operator registered with
`broadcasts=True` c may have the output's shape: whoever calls sums it.

README.md beside this file says what the kinds are and how an operator is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.ops.bounds import Bound, Sign, any_range, same_range
from lrp_onnx.ops.samples import by_shape, same_rank

__all__ = ["KINDS", "MOVES", "REGISTRY", "SUPPORT", "Op", "expanded", "find", "never_propagates",
           "no_relevance", "op", "record", "refuse"]  # fmt: skip

KINDS = (
    *("linear", "sum", "activation", "scale", "product", "quotient", "bilinear", "softmax", "norm"),
    *("move", "maximum", "body", "cell", "recurrent", "none"),
)
SUPPORT = ("propagates", "none", "refused", "expanded")
MOVES = ("reorders", "joins", "selects", "repeats")

Vjp = Callable[..., ir.Value]


@dataclass(frozen=True)
class Op:
    """One operator's facts."""

    name: str
    kind: str | tuple[str, ...]
    """One of KINDS, or those that its uses can have; else one of SUPPORT but `propagates`."""
    domain: str = ""
    vjp: Vjp | None = None
    choose: Callable[[ir.Node, tuple[int, ...]], str] | None = None
    """The kind of one use, given the inputs that relevance goes to; it may `refuse` the use.  None:
    the first kind where it goes to one input, the second where it goes to more.
    """

    inputs: tuple[int, ...] | None = (0,)
    """Inputs through which relevance can go; None for all."""
    gates: tuple[int, ...] = ()
    """Inputs that only select or shape: relevance never goes there, even if they depend on the
    explained input.
    """
    signal: tuple[int, ...] | None = None
    """Where gates are constant, the inputs that relevance goes to: the others only shape it. None
    for all.
    """
    outputs: str = "first"
    constant_outputs: tuple[int, ...] = ()
    """Outputs that count as constants though they depend on the input: a scale, a range."""
    broadcasts: bool = False
    elementwise: bool = False
    """Whether each output element depends on one element of each input; so do activations, and what
    broadcasts, unless they say otherwise.
    """
    axes: Callable[[ir.Node], tuple[int, ...]] | None = None
    """The axes over which the elements of an output depend on each other, as of Softmax."""

    adds: bool = False
    """Whether it is the sum or the difference of its inputs."""
    multiplies: tuple[int, ...] = ()
    """Inputs of which each output element is a multiple, by constants or by the other inputs."""
    moves: str = ""
    """One of MOVES if every output element is an element of the input: each of them once
    (`reorders`; of all inputs: `joins`), some of them (`selects`), or several times (`repeats`).
    """
    statistic: bool = False
    """Whether it reduces, or lays out again what was reduced: by such steps and elementwise ones a
    signal makes its own gate.
    """
    numbered: bool = False
    """Whether composites count it as a layer though its kind is none that they count."""
    straight_through: bool = False
    """Whether it rounds, so that its gradient is an estimate."""

    weighted: bool = False
    """Whether it is linear with a weight: of the inputs 0 and 1 one is x and the other w."""
    biased: bool = False
    """Whether input 2 is a bias, added to the result."""
    window: str = ""
    """`kernel` (of weights) or `pool` if a window slides over the axes behind batch and
    channels."""
    cost: Callable[[tuple[int, ...]], int] = min
    """How many products make one output element, given the shape of the weight."""
    channel_axis: Callable[[ir.Node, int], int] = lambda node, i: 1
    """The axis of input `i` that the weight is contracted with."""
    one_sample: Callable[[ir.Node, int], bool] = lambda node, i: False
    """Whether every sample gives the same where input `i` is a constant, so that one is enough."""
    detached: bool = False
    """Whether its vector-Jacobian product takes `detached=True`: what it divides by is a constant
    then and the node linear, as rules made of shares take it; input 2 is a bias.
    """
    shared: Callable[..., ir.Value] | None = None
    """Shares relevance of the output's shape out in the input's shape, for a rule that keeps it;
    takes the builder, the node and the relevance.
    """
    read: Callable[..., ir.Value] = lambda emit, node: node.outputs[0]
    """Output 0 as rules of its own form read it."""

    sign: Sign | None = None
    """The sign of output 0, given those of the inputs; where `range` tells it, it is left out."""
    range: Bound | None = None
    """Between which numbers output 0 lies, given the ranges of the inputs."""
    samples_apart: Callable[[ir.Node, Sequence[int]], bool] = lambda node, inputs: False
    """Whether samples along axis 0 of these inputs do not meet, if the output has them there."""
    fills: bool = False
    """Whether it only repeats a constant where no input holds samples: they are then alike."""
    folds: bool = False
    """Whether onnx's reference implementation computes it where all inputs are known."""
    grows: bool = False
    """Whether the result may be larger than the inputs: it folds where its size is known."""

    reason: str = ""
    """Why it is refused."""
    about: str = ""
    """What it does, where no function of its own says so."""

    @property
    def support(self) -> str:
        """One of SUPPORT."""
        return str(self.kind) if self.kind in SUPPORT else "propagates"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that relevance can find it to be."""
        return tuple(kind for kind in KINDS if kind in self._declared and kind != "none")

    @property
    def _declared(self) -> tuple[str, ...]:
        return (self.kind,) if isinstance(self.kind, str) else self.kind

    def kind_of(self, node: ir.Node, active: tuple[int, ...]) -> str:
        """The kind of this use of the operator; UnsupportedError with the reason if it cannot be
        explained.
        """
        if self.choose is None:
            return self._declared[-1 if len(active) > 1 else 0]
        chosen = self.choose(node, active)
        assert chosen in self._declared, f"{self.name} declares no kind {chosen!r}"
        return chosen

    def carries(self, i: int) -> bool:
        """Whether relevance can go through input `i`."""
        return self.support == "propagates" and (self.inputs is None or i in self.inputs)


REGISTRY: dict[tuple[str, str], Op] = {}


def record(name: str, kind: str | tuple[str, ...], **facts: Any) -> Op:
    """The record of an operator, with what follows from other facts filled in."""
    facts.setdefault("elementwise", kind == "activation" or facts.get("broadcasts", False))
    if facts["elementwise"]:
        facts.setdefault("samples_apart", same_rank)
    if "moves" in facts:
        joins, repeats = (facts["moves"] == how for how in ("joins", "repeats"))
        own = {"range": any_range if joins else same_range, "folds": True, "grows": repeats}
        facts = {**own, "samples_apart": by_shape, **facts}
    return Op(name, kind, **facts)


def _register(operator: Op) -> None:
    key = operator.domain, operator.name
    assert key not in REGISTRY, f"{operator.name} is registered twice"
    REGISTRY[key] = operator


def op(name: str, kind: str | tuple[str, ...], **facts: Any) -> Callable[[Vjp], Vjp]:
    """Register the decorated function as the vector-Jacobian product of operator `name`."""

    def register(vjp: Vjp) -> Vjp:
        _register(record(name, kind, vjp=vjp, **facts))
        return vjp

    return register


def no_relevance(names: Iterable[str], **facts: Any) -> None:
    """Register operators that carry no relevance: integers, booleans, shapes, indices, random
    numbers.
    """
    for name in names:
        _register(record(name, "none", inputs=(), **facts))


def never_propagates(names: Iterable[str], reason: str, domain: str = "") -> None:
    """Register operators that are refused where relevance would have to go through them; `reason`
    is what the user reads behind the node's name.
    """
    for name in names:
        _register(record(name, "refused", inputs=(), reason=reason, domain=domain))


def expanded(names: Iterable[str], **facts: Any) -> None:
    """Register facts of operators that are expanded into others before relevance is looked for."""
    for name in names:
        _register(record(name, "expanded", inputs=(), **facts))


def find(node: ir.Node) -> Op | None:
    """The operator of a node, None if it is in no list."""
    return REGISTRY.get((node.domain, node.op_type))


def refuse(reason: str) -> UnsupportedError:
    """The error by which an operator's `choose` refuses a use, to be raised; the walk adds the
    node's name.
    """
    return UnsupportedError(reason)
