"""How many nodes an explanation takes: a lost simplification is a failing row.

Counted are the nodes of the compiled graph that an inference runs, so not those that only depend on
weights, which runtimes compute when they load the model.
`python tests/compiler/test_counts.py` prints the table as it is.
"""

from __future__ import annotations

import math
from collections import Counter

import onnx
import pytest
from models import network

import lrp_onnx

VGG = network(
    "z1 = Conv<pads=[1,1,1,1]>(x, w1, b1) a1 = Relu(z1) z2 = Conv<pads=[1,1,1,1]>(a1, w2, b2) "
    "a2 = Relu(z2) p1 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a2) "
    "z3 = Conv<pads=[1,1,1,1]>(p1, w3, b3) a3 = Relu(z3) "
    "p2 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a3) f = Flatten(p2) "
    "z4 = Gemm<transB=1>(f, w4, b4) a4 = Relu(z4) y = Gemm<transB=1>(a4, w5, b5)",
    (1, 3, 8, 8), w1=(8, 3, 3, 3), b1=(8,), w2=(8, 8, 3, 3), b2=(8,), w3=(16, 8, 3, 3), b3=(16,),
    w4=(32, 64), b4=(32,), w5=(5, 32), b5=(5,),
)  # fmt: skip
RESNET = network(
    "z1 = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w1, b1) a1 = Relu(z1) "
    "p = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(a1) "
    "z2 = Conv(p, w2, b2) a2 = Relu(z2) z3 = Conv<pads=[1,1,1,1]>(a2, w3, b3) a3 = Relu(z3) "
    "z4 = Conv(a3, w4, b4) d = Conv(p, wd, bd) s1 = Add(z4, d) a4 = Relu(s1) "
    "z5 = Conv(a4, w5, b5) a5 = Relu(z5) z6 = Conv<pads=[1,1,1,1]>(a5, w6, b6) a6 = Relu(z6) "
    "z7 = Conv(a6, w7, b7) s2 = Add(z7, a4) a7 = Relu(s2) g = GlobalAveragePool(a7) "
    "f = Flatten(g) y = Gemm<transB=1>(f, w8, b8)",
    (1, 3, 16, 16), w1=(8, 3, 3, 3), b1=(8,), w2=(8, 8, 1, 1), b2=(8,), w3=(8, 8, 3, 3), b3=(8,),
    w4=(32, 8, 1, 1), b4=(32,), wd=(32, 8, 1, 1), bd=(32,), w5=(8, 32, 1, 1), b5=(8,),
    w6=(8, 8, 3, 3), b6=(8,), w7=(32, 8, 1, 1), b7=(32,), w8=(5, 32), b8=(5,),
)  # fmt: skip
MOBILENET = network(
    "z1 = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w1, b1) a1 = Clip(z1, low, six) "
    "z2 = Conv<pads=[1,1,1,1], group=8>(a1, w2, b2) a2 = Clip(z2, low, six) l1 = Conv(a2, w3, b3) "
    "z4 = Conv(l1, w4, b4) a4 = Clip(z4, low, six) "
    "z5 = Conv<pads=[1,1,1,1], group=32, strides=[2,2]>(a4, w5, b5) a5 = Clip(z5, low, six) "
    "l2 = Conv(a5, w6, b6) z7 = Conv(l2, w7, b7) a7 = Clip(z7, low, six) "
    "z8 = Conv<pads=[1,1,1,1], group=32>(a7, w8, b8) a8 = Clip(z8, low, six) "
    "l3 = Conv(a8, w9, b9) s = Add(l2, l3) z10 = Conv(s, w10, b10) a10 = Clip(z10, low, six) "
    "g = GlobalAveragePool(a10) f = Flatten(g) y = Gemm<transB=1>(f, w11, b11)",
    (1, 3, 16, 16), w1=(8, 3, 3, 3), b1=(8,), w2=(8, 1, 3, 3), b2=(8,), w3=(8, 8, 1, 1), b3=(8,),
    w4=(32, 8, 1, 1), b4=(32,), w5=(32, 1, 3, 3), b5=(32,), w6=(8, 32, 1, 1), b6=(8,),
    w7=(32, 8, 1, 1), b7=(32,), w8=(32, 1, 3, 3), b8=(32,), w9=(8, 32, 1, 1), b9=(8,),
    w10=(16, 8, 1, 1), b10=(16,), w11=(5, 16), b11=(5,), low=0.0, six=6.0,
)  # fmt: skip
EFFICIENTNET = network(
    "z1 = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w1, b1) g1 = Sigmoid(z1) a1 = Mul(z1, g1) "
    "z2 = Conv<pads=[1,1,1,1]>(a1, w2, b2) g2 = Sigmoid(z2) a2 = Mul(z2, g2) l1 = Conv(a2, w3, b3) "
    "z4 = Conv(l1, w4, b4) g4 = Sigmoid(z4) a4 = Mul(z4, g4) "
    "z5 = Conv<pads=[1,1,1,1], group=40>(a4, w5, b5) g5 = Sigmoid(z5) a5 = Mul(z5, g5) "
    "l2 = Conv(a5, w6, b6) s = Add(l1, l2) z7 = Conv(s, w7, b7) g7 = Sigmoid(z7) a7 = Mul(z7, g7) "
    "p = GlobalAveragePool(a7) f = Flatten(p) y = Gemm<transB=1>(f, w8, b8)",
    (1, 3, 16, 16), w1=(8, 3, 3, 3), b1=(8,), w2=(40, 8, 3, 3), b2=(40,), w3=(40, 40, 1, 1),
    b3=(40,), w4=(40, 40, 1, 1), b4=(40,), w5=(40, 1, 3, 3), b5=(40,), w6=(40, 40, 1, 1), b6=(40,),
    w7=(40, 40, 1, 1), b7=(40,), w8=(5, 40), b8=(5,),
)  # fmt: skip
NETWORKS = {"vgg": VGG, "resnet": RESNET, "mobilenet": MOBILENET, "efficientnet": EFFICIENTNET}
COMPOSITES = ("epsilon", "epsilon-plus-flat", "epsilon-alpha2-beta1", "epsilon-gamma-box")
COUNTED = ("Conv", "ConvTranspose", "Where", "Div", "Transpose", "Min")
TABLE = {
    ("vgg", "epsilon"): (5, 1, 0, 5, 0, 0),
    ("vgg", "epsilon-plus-flat"): (7, 1, 0, 5, 0, 0),
    ("vgg", "epsilon-alpha2-beta1"): (10, 1, 0, 8, 0, 0),
    ("vgg", "epsilon-gamma-box"): (7, 1, 0, 5, 0, 0),
    ("resnet", "epsilon"): (15, 1, 0, 12, 0, 0),
    ("resnet", "epsilon-plus-flat"): (22, 1, 0, 12, 0, 0),
    ("resnet", "epsilon-alpha2-beta1"): (33, 2, 0, 20, 0, 0),
    ("resnet", "epsilon-gamma-box"): (25, 2, 0, 12, 0, 0),
    ("mobilenet", "epsilon"): (22, 1, 0, 13, 0, 0),
    ("mobilenet", "epsilon-plus-flat"): (31, 1, 0, 13, 0, 0),
    ("mobilenet", "epsilon-alpha2-beta1"): (49, 2, 0, 26, 0, 0),
    ("mobilenet", "epsilon-gamma-box"): (34, 2, 0, 13, 0, 0),
    ("efficientnet", "epsilon"): (13, 1, 0, 10, 0, 0),
    ("efficientnet", "epsilon-plus-flat"): (21, 1, 0, 10, 0, 0),
    ("efficientnet", "epsilon-alpha2-beta1"): (32, 2, 0, 18, 0, 0),
    ("efficientnet", "epsilon-gamma-box"): (25, 2, 0, 10, 0, 0),
}
"""By network and composite, in the order of COUNTED.  Of these ONNX Runtime's CPU provider runs
Where and Min on one thread; arithmetic and Clip take their place where they can."""


def counts(name: str, composite: str, **options: object) -> tuple[int, ...]:
    """How many nodes of each kind in COUNTED run at every inference."""
    box = {"low": -2.0, "high": 2.0} if "box" in composite else {}
    compiled = lrp_onnx.compile(
        NETWORKS[name], composite, parameters=box, check=False, **options
    ).model
    found = Counter(node.op_type for node in running(compiled.graph))
    return tuple(found[op] for op in COUNTED)


WEIGHTS = {
    "epsilon": 2.0,
    "epsilon-plus-flat": 3.98,
    "epsilon-alpha2-beta1": 6.18,
    "epsilon-gamma-box": 3.98,
}
"""How often an explanation of a network without ReLU convolves with as many weights as it has: two
convolutions of one input that are written as one with twice the channels cost twice as much."""


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_network_without_relu_convolves_so_often(composite: str) -> None:
    def weights(graph: onnx.GraphProto) -> int:
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
        layers = [node for node in running(graph) if "Conv" in node.op_type]
        return sum(sizes[node.input[1]] for node in layers)

    box = {"low": -2.0, "high": 2.0} if "box" in composite else {}
    compiled = lrp_onnx.compile(EFFICIENTNET, composite, parameters=box, check=False).model
    assert weights(compiled.graph) / weights(EFFICIENTNET.graph) == pytest.approx(
        WEIGHTS[composite], abs=0.01
    )


def running(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that depend on an input."""
    alive, nodes = {value.name for value in graph.input}, []
    for node in graph.node:
        if alive & set(node.input):
            alive |= set(node.output)
            nodes.append(node)
    return nodes


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_explanation_takes_so_many_nodes(name: str, composite: str) -> None:
    assert counts(name, composite) == TABLE[name, composite]


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_without_optimization_it_takes_more(name: str, composite: str) -> None:
    fewest, plain = (counts(name, composite, optimize=o) for o in (True, False))
    assert sum(plain) > sum(fewest)
    if composite in ("epsilon-alpha2-beta1", "epsilon-gamma-box"):
        assert sum(plain[:2]) > sum(fewest[:2])


if __name__ == "__main__":
    for name in NETWORKS:
        for composite in COMPOSITES:
            print(f'    ("{name}", "{composite}"): {counts(name, composite)},')
