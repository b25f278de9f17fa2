"""Give the light_* models of the onnx package seeded random weights, in memory.

Their files hold every large weight as ConstantOfShape(0.02), so that all channels are equal and the
output is constant whatever the input. Each such node becomes an initializer of random numbers whose
spread keeps the activations of a deep network near 1: variance gain / fan-in for weights (gain 2,
or 0.7 where residual Sums add up), 0.8 to 1.2 for factors, ±0.1 for the shifts of a
BatchNormalization, ±0.05 for other vectors.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["randomize"]

UNIT, NORM, SHIFT = (0.8, 1.2), (-0.1, 0.1), (-0.05, 0.05)
ROLES = {  # what a vector is, by the operator that reads it and the place where it does
    ("BatchNormalization", 1): UNIT,
    ("BatchNormalization", 2): NORM,
    ("BatchNormalization", 3): NORM,
    ("BatchNormalization", 4): UNIT,
    ("Mul", 0): UNIT,
    ("Mul", 1): UNIT,
}


def readers(graph: onnx.GraphProto) -> dict[str, tuple[str, int]]:
    """Return who reads each tensor, as (operator, place); Unsqueeze is looked through."""
    found: dict[str, tuple[str, int]] = {}
    for node in reversed(graph.node):
        for place, name in enumerate(node.input):
            seen_through = node.op_type == "Unsqueeze" and node.output[0] in found
            found[name] = found[node.output[0]] if seen_through else (node.op_type, place)
    return found


def draw(
    rng: np.random.Generator, shape: list[int], role: tuple[str, int], gain: float
) -> NDArray[np.float32]:
    """Return one random tensor; rank 2 and more are weights with the outputs first."""
    if len(shape) < 2:
        low, high = ROLES.get(role, SHIFT)
        return rng.uniform(low, high, shape).astype(np.float32)
    spread = np.float32(math.sqrt(gain / math.prod(shape[1:])))
    return rng.standard_normal(shape, dtype=np.float32) * spread


def randomize(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Return the same model, changed: ConstantOfShape nodes are now random initializers."""
    graph, rng = model.graph, np.random.default_rng(seed)
    shapes = {t.name: numpy_helper.to_array(t).tolist() for t in graph.initializer if t.dims}
    roles = readers(graph)
    gain = 0.7 if any(node.op_type == "Sum" for node in graph.node) else 2.0
    filled = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in filled:
        name = node.output[0]
        values = draw(rng, shapes[node.input[0]], roles[name], gain)
        graph.initializer.append(numpy_helper.from_array(values, name))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for field in (graph.initializer, graph.input):
        for item in [item for item in field if item.name not in used]:
            field.remove(item)
    weights = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)
    model.ir_version = 4
    return model
