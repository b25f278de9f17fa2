"""The referee: LRP rules in float64 with explicit matrices, slow and plain, nothing of lrp_onnx.

A linear layer is `y = W x + b`, everything flattened. Every entry of W is one weight (times Gemm's
alpha), so w⁺, w² and the like are taken entry by entry; `connected` marks the entries that the
operator reads at all, so that padding does not count where a rule replaces the weights by one.
`oracle_walk.py` finds the matrices and walks a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray
Rule = tuple[str, dict[str, object]]  # a name in RULES or RELU_RULES, and its parameters


@dataclass(frozen=True)
class Linear:
    """y = weight @ x + bias."""

    weight: Array
    bias: Array
    read: Callable[[], Array]
    """Computes `connected`, which costs as much as the weight and which one rule needs."""

    @cached_property
    def connected(self) -> Array:
        """One where the operator reads x_i for y_o."""
        return self.read()


def pos(a: Array) -> Array:
    return np.maximum(a, 0)


def neg(a: Array) -> Array:
    return np.minimum(a, 0)


def ratio(R: Array, z: Array, epsilon: object) -> Array:
    """R / (z + ε·sgn z) with sgn(0) = +1; 0 where that denominator is 0."""
    size = epsilon(z) if callable(epsilon) else epsilon
    stable = z + np.where(z < 0, -1.0, 1.0) * size
    return np.divide(R, stable, out=np.zeros_like(R), where=stable != 0)


def share(terms: Sequence[tuple[Array, Array, object]], R: Array, epsilon: object) -> Array:
    """Σ x'·W'ᵀ s with s = R / st(Σ W' x' + b'), over terms (x', W', b')."""
    s = ratio(R, sum(w @ x + b for x, w, b in terms), epsilon)
    return sum(x * (w.T @ s) for x, w, _ in terms)


def epsilon_rule(f: Linear, x: Array, R: Array, epsilon: object = 1e-6) -> Array:
    return share([(x, f.weight, f.bias)], R, epsilon)


def cell(f: Linear, x: Array, R: Array, epsilon: object = 1e-3) -> Array:
    return epsilon_rule(f, x, R, epsilon)


def recurrent(f: Linear, x: Array, R: Array, epsilon: object = 0.0) -> Array:
    return epsilon_rule(f, x, R, epsilon)


def zplus(f: Linear, x: Array, R: Array, epsilon: object = 1e-6) -> Array:
    terms = [(pos(x), pos(f.weight), pos(f.bias)), (neg(x), neg(f.weight), 0.0)]
    return share(terms, R, epsilon)


def alpha_beta(f: Linear, x: Array, R: Array, beta: float = 1.0, epsilon: object = 1e-6) -> Array:
    terms = [(pos(x), neg(f.weight), neg(f.bias)), (neg(x), pos(f.weight), 0.0)]
    return (1 + beta) * zplus(f, x, R, epsilon) - beta * share(terms, R, epsilon)


def gamma_rule(f: Linear, x: Array, R: Array, gamma: float = 0.25, epsilon: object = 1e-6) -> Array:
    w, b = f.weight, f.bias
    up, down = w + gamma * pos(w), w + gamma * neg(w)
    z = w @ x + b
    above = [(pos(x), up, b + gamma * pos(b)), (neg(x), down, 0.0)]
    below = [(pos(x), down, b + gamma * neg(b)), (neg(x), up, 0.0)]
    return share(above, R * (z > 0), epsilon) + share(below, R * (z < 0), epsilon)


def zbox(f: Linear, x: Array, R: Array, low: Array, high: Array, epsilon: object = 1e-6) -> Array:
    """`low` and `high` shaped like x (or scalar); the bias cancels since b = b⁺ + b⁻."""
    low, high = np.broadcast_to(low, x.shape), np.broadcast_to(high, x.shape)
    return share(
        [(x, f.weight, f.bias), (low, -pos(f.weight), -pos(f.bias)),
         (high, -neg(f.weight), -neg(f.bias))], R, epsilon)  # fmt: skip


def wsquare(f: Linear, x: Array, R: Array, epsilon: object = 1e-6) -> Array:
    return share([(np.ones_like(x), f.weight**2, f.bias**2)], R, epsilon)


def flat(f: Linear, x: Array, R: Array, epsilon: object = 1e-6) -> Array:
    return share([(np.ones_like(x), f.connected, 0.0)], R, epsilon)


def pass_rule(f: Linear, x: Array, R: Array) -> Array:
    if R.size != x.size:
        raise ValueError(f"pass needs as many outputs as inputs, not {R.size} and {x.size}")
    return R


def gradient(f: Linear, x: Array, R: Array) -> Array:
    return f.weight.T @ R


RULES: dict[str, Callable[..., Array]] = {
    "epsilon": epsilon_rule, "zplus": zplus, "alpha-beta": alpha_beta, "gamma": gamma_rule,
    "zbox": zbox, "wsquare": wsquare, "flat": flat, "norm": epsilon_rule, "pass": pass_rule,
    "gradient": gradient, "cell": cell, "recurrent": recurrent,
}  # fmt: skip

# what a ReLU does with relevance where a composite changes it: (x, R) -> R_in
RELU_RULES: dict[str, Callable[[Array, Array], Array]] = {
    "pass": lambda x, R: R,
    "gradient": lambda x, R: R * (x > 0),
    "guided": lambda x, R: R * (x > 0) * (R > 0),
    "deconvnet": lambda x, R: pos(R),
    "beta-smooth": lambda x, R: R / (1 + np.exp(-10 * x)),
}
