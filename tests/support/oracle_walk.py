"""The referee's walk through a network, node by node, summing where a tensor has several readers.

A linear step is an affine map of its one activation: its bias is f(0), the columns of its matrix
are f(e_i) − f(0) on basis vectors. Linear steps propagate by the rules of `oracle.RULES`, sums and
averages by `norm`, the rest by what the operator does with its values (move, select, pass).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper
from oracle import RELU_RULES, RULES, Linear, Rule, ratio
from reference import Network, evaluate, finite_difference

Array = np.ndarray

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SUMS = ("Add", "Sub", "Sum")
AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Mean", "Resize")
SELECTIONS = ("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin")
MOVES = ("Flatten", "Reshape", "Transpose", "Concat", "Split", "Slice", "Gather", "Pad", "Squeeze",
         "Unsqueeze", "Expand", "Tile", "Identity", "Cast", "DepthToSpace",
         "SpaceToDepth")  # fmt: skip
PASSES = ("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "Tanh",
          "Softplus", "Softsign", "HardSwish", "Gelu", "Mish", "Clip", "Erf", "Neg", "Dropout",
          "BatchNormalization")  # fmt: skip


def affine(
    f: Callable[[Array], Array], shape: Sequence[int], per_sample: bool
) -> tuple[Array, Array]:
    """(W, b) of f on inputs of `shape`; `per_sample` where f treats axis 0 as a batch."""
    bias = f(np.zeros(shape))
    if not per_sample:
        basis = np.eye(int(np.prod(shape)))
        return np.stack([(f(e.reshape(shape)) - bias).ravel() for e in basis], 1), bias.ravel()
    size = int(np.prod(shape[1:]))
    columns = f(np.eye(size).reshape(size, *shape[1:])) - bias[:1]
    return np.kron(np.eye(shape[0]), columns.reshape(size, -1).T), bias.ravel()


@dataclass(frozen=True)
class Step:
    """Nodes that propagate as one: a node alone, or a MatMul with the Add of its bias."""

    nodes: tuple[onnx.NodeProto, ...]
    sources: tuple[str, ...]  # the activations it reads, with repetitions

    @property
    def op(self) -> str:
        return self.nodes[0].op_type

    @property
    def output(self) -> str:
        return self.nodes[-1].output[0]


def steps_of(network: Network, sources: Sequence[str]) -> list[Step]:
    """The nodes that depend on `sources`, MatMul and a constant Add behind it taken together."""
    live, steps = set(sources), []
    for node in network.nodes:
        reads = tuple(n for n in node.input if n in live)
        if not reads or node.op_type == "Shape":
            continue
        live.update(node.output)
        last = steps[-1] if steps else None
        if last and last.op == "MatMul" and node.op_type == "Add" and reads == (last.output,):
            uses = sum(last.output in other.input for other in network.nodes)
            if uses == 1 and last.output not in network.outputs:
                steps[-1] = Step((*last.nodes, node), last.sources)
                continue
        steps.append(Step((node,), reads))
    return steps


def linear_of(network: Network, step: Step, values: Mapping[str, Array]) -> Linear:
    """The affine map of a step with one activation, and which entries of it are connected; once for
    a network and a shape.
    """
    key = step.op, step.output, values[step.sources[0]].shape
    if key not in network.layers:
        network.layers[key] = _linear_of(network, step, values)
    return network.layers[key]


def _linear_of(network: Network, step: Step, values: Mapping[str, Array]) -> Linear:
    constants = {n: values[n] for node in step.nodes for n in node.input
                 if n and n not in step.sources and n in values}  # fmt: skip
    ones = {n: np.ones_like(v) if v.dtype.kind == "f" else v for n, v in constants.items()}
    x = values[step.sources[0]]

    def run(fixed: Mapping[str, Array], x: Array) -> Array:
        tensors = dict(fixed) | {step.sources[0]: x}
        for node in step.nodes:
            tensors[node.output[0]] = evaluate(node, tensors, network.opset)[0]
        return tensors[step.output]

    per_sample = step.op in ("Conv", "ConvTranspose", "AveragePool", "GlobalAveragePool")
    weight, bias = affine(lambda x: run(constants, x), x.shape, per_sample)

    def read() -> Array:
        reached, _ = affine(lambda x: run(ones, x), x.shape, per_sample)
        return (reached != 0).astype(np.float64)

    return Linear(weight, bias, read)


def explain(
    model: onnx.ModelProto | Network,
    feeds: Mapping[str, Array],
    R: Array,
    rules: Mapping[str, Rule],
    output: str | None = None,
) -> dict[str, Array]:
    """Relevance of every tensor, starting with R at `output` (default: the first output).

    `rules` by node name, else operator, else '*' (linear operators only). Relevance of a tensor
    with several readers is summed before it goes on. A Network keeps its layers' matrices.
    """
    network = model if isinstance(model, Network) else Network(model)
    values = network.forward(feeds)
    relevance = {output or network.outputs[0]: np.asarray(R, np.float64)}
    for step in reversed(steps_of(network, list(feeds))):
        gathered = [relevance.get(n) for n in step.nodes[-1].output]
        if all(r is None for r in gathered):
            continue
        shares = propagate(network, step, values, gathered, rule_of(step, rules))
        for name, part in zip(step.sources, shares, strict=True):
            relevance[name] = relevance.get(name, 0.0) + part
    return relevance


def rule_of(step: Step, rules: Mapping[str, Rule]) -> Rule | None:
    default = rules.get("*") if step.op in LINEAR else None
    return rules.get(step.nodes[0].name) or rules.get(step.op) or default


def propagate(
    network: Network,
    step: Step,
    values: Mapping[str, Array],
    gathered: Sequence[Array | None],
    rule: Rule | None,
) -> list[Array]:
    """Relevance of each of the step's sources from the relevance of its outputs."""
    op, R, xs = step.op, gathered[0], [values[n] for n in step.sources]
    if op in MOVES:
        return _move(network, step, values, gathered)
    if op == "MaxPool" and rule is not None and rule[0] == "average":
        averaging = Step((_as_average(step.nodes[0]),), step.sources)
        return [_linear(linear_of(network, averaging, values), _norm(averaging), xs[0], R)]
    if op in SELECTIONS:
        return [_select(network, step, values, R)]
    if rule is not None and rule[0] == "gradient" and op not in LINEAR:
        return _differentiate(network, step, values, R)
    if op == "Relu":
        return [RELU_RULES[rule[0] if rule else "pass"](xs[0], R)]
    if op in LINEAR or (op in AVERAGES and len(xs) == 1):
        return [_linear(linear_of(network, step, values), rule or _norm(step), xs[0], R)]
    if op in (*SUMS, "Mean") and len(xs) > 1:
        s = ratio(R, values[step.output], 1e-6) / (len(xs) if op == "Mean" else 1)
        signs = [1.0] + [-1.0 if op == "Sub" else 1.0] * (len(xs) - 1)
        return [_fold(sign * x * s, x.shape) for sign, x in zip(signs, xs, strict=True)]
    if op == "Mul" and len(xs) == 2:
        return [_fold(R / 2, x.shape) for x in xs]
    if op == "Div" and len(xs) == 2:
        return [_fold(R, xs[0].shape), np.zeros_like(xs[1])]
    if len(xs) == 1 and op in (*PASSES, *SUMS, "Mul", "Div", "Pow"):
        return [_fold(R, xs[0].shape)]
    raise NotImplementedError(f"the oracle knows no rule for {op} of {len(xs)} activations")


def _norm(step: Step) -> Rule:
    if step.op in LINEAR:
        raise KeyError(f"no rule for {step.op} '{step.nodes[0].name}'")
    return "norm", {}


def _as_average(node: onnx.NodeProto) -> onnx.NodeProto:
    """Average pooling over the windows of a maximum (without padding or dilations)."""
    kept = {a.name: helper.get_attribute_value(a) for a in node.attribute
            if a.name in ("kernel_shape", "strides")}  # fmt: skip
    return helper.make_node("AveragePool", node.input, node.output[:1], node.name, **kept)


def _linear(layer: Linear, rule: Rule, x: Array, R: Array) -> Array:
    name, given = rule
    parameters = {k: spread(v, x.shape) for k, v in given.items()}
    return RULES[name](layer, x.ravel(), R.ravel(), **parameters).reshape(x.shape)


def spread(value: object, shape: Sequence[int], axis: int = 1) -> object:
    """A per-channel parameter, as a sequence, becomes one value per element of `shape`."""
    if not isinstance(value, list | tuple):
        return value
    broadcast = [1] * len(shape)
    broadcast[axis] = len(value)
    return np.broadcast_to(np.reshape(value, broadcast), shape).ravel()


def _fold(R: Array, shape: Sequence[int]) -> Array:
    """Undo broadcasting: sum over the axes along which an operand of `shape` was repeated."""
    R = R.sum(axis=tuple(range(R.ndim - len(shape))))
    grown = tuple(i for i, n in enumerate(shape) if n == 1 and R.shape[i] != 1)
    return R.sum(axis=grown, keepdims=True)


def _run(
    network: Network, step: Step, values: Mapping[str, Array], xs: Sequence[Array]
) -> list[Array]:
    """The step's outputs with its activations replaced by xs."""
    return evaluate(
        step.nodes[0], {**values, **dict(zip(step.sources, xs, strict=True))}, network.opset
    )


def _move(
    network: Network, step: Step, values: Mapping[str, Array], gathered: Sequence[Array | None]
) -> list[Array]:
    """Number the elements, run the operator on the numbers, and carry relevance back to them."""
    shapes = [values[n].shape for n in step.sources]
    bounds = np.cumsum([0, *[int(np.prod(s)) for s in shapes]])
    numbers = [np.arange(a + 1, b + 1, dtype=np.float64).reshape(s)
               for a, b, s in zip(bounds, bounds[1:], shapes, strict=False)]  # fmt: skip
    fill = {n: np.zeros_like(v) for n, v in values.items() if v.dtype.kind == "f"}
    total = np.zeros(bounds[-1] + 1)  # entry 0 takes what fell on padding and constants
    for index, R in zip(_run(network, step, {**values, **fill}, numbers), gathered, strict=False):
        if R is not None:
            np.add.at(total, index.astype(int).ravel(), R.ravel())
    return [total[a + 1 : b + 1].reshape(s)
            for a, b, s in zip(bounds, bounds[1:], shapes, strict=False)]  # fmt: skip


def _select(network: Network, step: Step, values: Mapping[str, Array], R: Array) -> Array:
    """Winner takes all. Distinct ranks replace the values; of equals the first ranks highest."""
    x = values[step.sources[0]]
    sign = -1 if step.op == "ReduceMin" else 1
    order = np.argsort(-sign * x.ravel(), kind="stable")
    ranks = np.empty(x.size)
    ranks[order] = np.arange(x.size, 0, -1) * sign
    won = _run(network, step, values, [ranks.reshape(x.shape)])[0].ravel()
    winners = order[x.size - np.abs(won).astype(int)]
    return np.bincount(winners, R.ravel(), x.size).reshape(x.shape)


def _differentiate(
    network: Network, step: Step, values: Mapping[str, Array], R: Array
) -> list[Array]:
    """Plain gradient of a node with respect to each of its activations."""
    xs = [values[n] for n in step.sources]

    def output(k: int, x: Array) -> Array:
        return _run(network, step, values, [*xs[:k], x, *xs[k + 1 :]])[0]

    return [finite_difference(lambda x, k=k: output(k, x), x, R) for k, x in enumerate(xs)]
