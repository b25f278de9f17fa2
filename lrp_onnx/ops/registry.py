"""The table of operators: what each is, and its vector-Jacobian product.

An operator is one function next to its facts:

    @op("Tanh", kind="activation")
    def tanh(emit, node, s, i):
        '''s · (1 - y²).  Spec: ONNX Tanh-13.'''

It returns the vector-Jacobian product c of the node with respect to its input `i`: `s` has the
shape of output 0 and c the shape of input `i`.  An operator of kind `linear` takes a fifth
argument, the weight to use in place of the node's own; one registered with `outputs="all"` gets a
list in `s`, one entry per output, None where nothing comes back.  Of an operator registered with
`broadcasts=True` c may have the output's shape: whoever calls sums it.

Kinds decide which rules of a composite apply:
`linear` (in one input, with a weight), `sum` (linear without weight: sums, averages), `activation`
(elementwise), `scale` (by constants: Mul, Add, a BatchNormalization that stands alone), `product`
and `quotient` of two activations, `bilinear` (MatMul of two activations), `softmax`, `norm` (minus
the mean, over the deviation: LayerNormalization), `move` (data is rearranged or copied), `maximum`
(a winner takes all), `cell` and `recurrent` (the sums and weights of a recurrent cell's signal),
`body` (If, Loop and Scan: the nodes in their bodies propagate), `none` (carries no relevance),
`refused` (known, and why no relevance goes through it)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit

__all__ = [
    "KINDS",
    "REGISTRY",
    "STANDS",
    "Op",
    "find",
    "never_propagates",
    "no_relevance",
    "op",
    "refuse",
]

KINDS = (
    *("linear", "sum", "activation", "scale", "product", "quotient", "bilinear", "softmax", "norm"),
    *("move", "maximum", "body", "cell", "recurrent", "none"),
)
STANDS = ("propagates", "none", "refused")

Kind = str | Callable[[ir.Node, tuple[int, ...]], str]
Vjp = Callable[..., ir.Value]


@dataclass(frozen=True)
class Op:
    """One operator's facts; `kind_of` may refuse a use of it."""

    name: str
    kind: Kind
    vjp: Vjp | None = None
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
    shared: Callable[[Emit, ir.Node, ir.Value], ir.Value] | None = None
    """Shares relevance of the output's shape out in the input's shape, for a rule that keeps it."""
    weighted: bool = False
    """Whether it is linear with a weight: of the inputs 0 and 1 one is x and the other w, and 2 is
    a bias.
    """
    channel_axis: Callable[[ir.Node, int], int] = lambda node, i: 1
    """The axis of input `i` that the weight is contracted with."""
    samples_apart: Callable[[ir.Node, int], bool] = lambda node, i: False
    """Whether axis 0 of input `i` is a batch whose entries do not meet."""
    held: Vjp | None = None
    """For rules made of shares, which take the node as linear: its vector-Jacobian product with the
    deviation that it divides by held constant; input 2 is then a bias.
    """
    axes: Callable[[ir.Node], tuple[int, ...]] | None = None
    """The axes over which the elements of an output depend on each other, as of Softmax."""
    read: Callable[..., ir.Value] = lambda emit, node: node.outputs[0]
    """Output 0 as rules of its own form read it."""

    reason: str = ""
    """Why it is refused."""
    about: str = ""
    """What it does, where no function of its own says so."""

    @property
    def stand(self) -> str:
        """One of STANDS."""
        return str(self.kind) if self.kind in ("none", "refused") else "propagates"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that relevance can find it to be; where it depends on the use, those that
        its function names.
        """
        named = self.kind.__code__.co_consts if callable(self.kind) else (self.kind,)
        return tuple(kind for kind in KINDS if kind in named and kind != "none")

    def kind_of(self, node: ir.Node, active: tuple[int, ...]) -> str:
        """The kind of this use of the operator; UnsupportedError with the reason if it cannot be
        explained.
        """
        return self.kind(node, active) if callable(self.kind) else self.kind

    def carries(self, i: int) -> bool:
        """Whether relevance can go through input `i`."""
        return self.stand == "propagates" and (self.inputs is None or i in self.inputs)


REGISTRY: dict[tuple[str, str], Op] = {}


def op(name: str, kind: Kind, domain: str = "", **facts: Any) -> Callable[[Vjp], Vjp]:
    """Register the decorated function as the vector-Jacobian product of operator `name`."""

    elementwise = kind == "activation" or facts.get("broadcasts", False)

    def register(vjp: Vjp) -> Vjp:
        assert (domain, name) not in REGISTRY, f"{name} is registered twice"
        REGISTRY[domain, name] = Op(name, kind, vjp, **{"elementwise": elementwise, **facts})
        return vjp

    return register


def no_relevance(names: Iterable[str], domain: str = "") -> None:
    """Register operators that carry no relevance: integers, booleans, shapes, indices, random
    numbers.
    """
    for name in names:
        REGISTRY[domain, name] = Op(name, "none", inputs=())


def never_propagates(names: Iterable[str], reason: str, domain: str = "") -> None:
    """Register operators that are refused where relevance would have to go through them; `reason`
    is what the user reads behind the node's name.
    """
    for name in names:
        REGISTRY[domain, name] = Op(name, "refused", inputs=(), reason=reason)


def find(node: ir.Node) -> Op | None:
    """The operator of a node, None if it is in no list."""
    return REGISTRY.get((node.domain, node.op_type))


def refuse(reason: str) -> UnsupportedError:
    """The error by which an operator's `kind` refuses a use, to be raised; the walk adds the node's
    name.
    """
    return UnsupportedError(reason)
