"""The activation functions of recurrent layers, each with its alpha and beta.

Spec: ONNX LSTM-14, GRU-14, RNN-14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.replacement import Build, attribute

__all__ = ["Function", "functions_of"]

Function = Callable[[Build, ir.Value], ir.Value]
"""What it makes of a value, written into the body of a step."""
Make = Callable[[float | None, float | None], Function]
"""The function with an alpha and a beta."""


def functions_of(node: ir.Node, defaults: list[str]) -> Iterator[Function]:
    """The node's activation functions in order, each with its own alpha and beta."""
    names = attribute(node, "activations", defaults)
    alphas = list(attribute(node, "activation_alpha", []))
    betas = list(attribute(node, "activation_beta", []))
    for name in names:
        known = next((k for k in FUNCTIONS if k.lower() == name.lower()), None)
        if known is None:
            raise UnsupportedError(f"its activation function {name!r} is unknown")
        alpha, beta, make = FUNCTIONS[known]
        a = alphas.pop(0) if alpha is not None and alphas else alpha
        b = betas.pop(0) if beta is not None and betas else beta
        yield make(a, b)


def _plain(op_type: str, **names: str) -> Make:
    """An operator, with alpha and beta as its attributes of these names."""

    def make(alpha: float | None, beta: float | None) -> Function:
        parameters = {"alpha": alpha, "beta": beta}
        attributes = {there: float(parameters[here] or 0.0) for here, there in names.items()}
        return lambda body, value: body.op(op_type, value, **attributes)

    return make


def _affine(alpha: float | None, beta: float | None) -> Function:
    """alpha·x + beta."""
    return lambda body, x: body.op("Add", _times(body, alpha, x), _number(body, beta))


def _scaled_tanh(alpha: float | None, beta: float | None) -> Function:
    """alpha·tanh(beta·x)."""
    return lambda body, x: _times(body, alpha, body.op("Tanh", _times(body, beta, x)))


def _number(body: Build, number: float | None) -> ir.Value:
    return body.like(number or 0.0, body.node.inputs[0])


def _times(body: Build, number: float | None, x: ir.Value) -> ir.Value:
    return body.op("Mul", x, _number(body, number))


FUNCTIONS: dict[str, tuple[float | None, float | None, Make]] = {
    "Relu": (None, None, _plain("Relu")),
    "Tanh": (None, None, _plain("Tanh")),
    "Sigmoid": (None, None, _plain("Sigmoid")),
    "Softsign": (None, None, _plain("Softsign")),
    "Softplus": (None, None, _plain("Softplus")),
    "LeakyRelu": (0.01, None, _plain("LeakyRelu", alpha="alpha")),
    "ThresholdedRelu": (1.0, None, _plain("ThresholdedRelu", alpha="alpha")),
    "Elu": (1.0, None, _plain("Elu", alpha="alpha")),
    "HardSigmoid": (0.2, 0.5, _plain("HardSigmoid", alpha="alpha", beta="beta")),
    "Affine": (1.0, 0.0, _affine),
    "ScaledTanh": (1.0, 1.0, _scaled_tanh),
}
"""Default alpha and beta (None where the function has none), and how it is spelled."""
