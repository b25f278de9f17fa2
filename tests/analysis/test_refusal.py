"""A refused model names every node that is in the way, once, in one paragraph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network
from onnx import helper

import lrp_onnx
from lrp_onnx.errors import TargetError, UnsupportedError


def chain(count: int) -> onnx.ModelProto:
    """`count` operators of nobody's one after the other."""
    nodes = [helper.make_node("Thing", [f"x{k}"], [f"x{k + 1}"], f"thing{k}", domain="com.acme")
             for k in range(count)]  # fmt: skip
    values = [helper.make_tensor_value_info(name, 1, [2, 3]) for name in ("x0", f"x{count}")]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def refusal_of(model: onnx.ModelProto, **request: object) -> UnsupportedError:
    with pytest.raises(UnsupportedError) as refusal:
        lrp_onnx.compile(model, "epsilon", check=False, **request)
    return refusal.value


def test_few_are_told_one_by_one() -> None:
    told = str(refusal_of(chain(2)))
    assert "2 nodes" in told
    for name in ("thing0", "thing1"):
        assert f"node '{name}' (com.acme.Thing): com.acme.Thing is not supported" in told


def test_many_alike_are_told_together() -> None:
    error = refusal_of(chain(12))
    assert "12 nodes of type com.acme.Thing (first 'thing0', last 'thing11'): com" in str(error)
    assert "'thing5'" not in str(error)
    assert len(error.reasons) == 12  # `inspect` shows each


def test_what_follows_from_another_node_is_not_told() -> None:
    """Nobody knows the rank of what an unknown operator makes."""
    model = chain(1)
    del model.graph.output[:]
    model.graph.node.append(helper.make_node("ArrayFeatureExtractor", ["x1", "k"], ["y"], "pick",
                                             domain="ai.onnx.ml"))  # fmt: skip
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "k"))
    model.graph.output.append(helper.make_tensor_value_info("y", 1, None))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    error = refusal_of(model)
    assert "through 1 node between" in str(error)
    assert "pick" not in str(error)
    assert list(error.reasons) == ["thing0", "pick"]  # `inspect` shows each


def test_what_only_the_walk_finds_is_collected() -> None:
    pool = "MaxPool<kernel_shape=[2], dilations=[2]>"
    model = network(f"a = {pool}(x) b = Relu(a) y = {pool}(b)", (1, 1, 9))
    error = refusal_of(model, rules={"MaxPool": "average"})
    assert list(error.reasons) == ["a", "y"]
    assert "node 'a' (MaxPool): " in str(error)


def test_a_target_behind_a_choice_alone_names_it() -> None:
    model = network("i = ArgMax(x) f = Cast<to=1>(i) y = Neg(f)", (2, 3))
    with pytest.raises(TargetError, match=r"but through 'i' \(ArgMax\), which carry no relevance"):
        lrp_onnx.compile(model, "epsilon", explain="x", check=False)


def test_selected_boxes_keep_their_relevance() -> None:
    """What non-maximum suppression chooses is an index; relevance goes to the boxes chosen."""
    model = network(
        """boxes = Reshape(x, shape) chosen = NonMaxSuppression(boxes, scores, most, over)
        rows = Gather<axis=1>(chosen, two) f = Gather<axis=1>(boxes, rows) y = Reshape(f, flat)""",
        (1, 12), symbolic=(), shape=[1, 3, 4], flat=[1, -1], two=2, most=[2], over=[0.5],
        scores=np.array([[[0.9, 0.8, 0.1]]], np.float32),
    )  # fmt: skip
    compiled = lrp_onnx.compile(model, "epsilon", target="all")
    x = np.array([[0, 0, 1, 1, 5, 5, 6, 6, 0, 0, 1, 1.1]], np.float32)
    relevance = lrp_onnx.Explainer(compiled)(x).relevance["x"]
    np.testing.assert_allclose(relevance[0], [*x[0, :8], 0, 0, 0, 0])


ENDS = {
    "neighbors": ("d = Sub(x, train)\n q = Mul(d, d)\n s = ReduceSum<keepdims=0>(q, axis)\n"
                  " v, i = TopK<largest=0>(s, one)\n y = Gather(labels, i)", "'v' (TopK)"),
    "steps": ("u = Less(x, edges)\n y = Where(u, labels, edges)", "'u' (Less)"),
    "votes": ("i = ArgMax<axis=1>(x)\n y = OneHot(i, depth, values)", "'i' (ArgMax)"),
    "rounded": ("r = Round(x)\n h = Mul(r, two)\n f = Floor(x)\n y = Add(h, f)", "'r' (Round)"),
}  # fmt: skip
CONSTANTS = {"train": (1, 5), "axis": [1], "one": [1], "labels": (5,), "edges": (5,),
             "depth": [3], "values": np.float32([0, 1]), "two": np.float32(2)}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_what_ends_every_path_is_named(name: str) -> None:
    """Neighbors, isotonic steps, votes: the inputs were not chosen by hand."""
    body, node = ENDS[name]
    used = {k: v for k, v in CONSTANTS.items() if k in body.replace("(", " ").replace(")", " ")
            .replace(",", " ").split()}  # fmt: skip
    model = network(body, (2, 5), (0,), **used)
    with pytest.raises(TargetError) as told:
        lrp_onnx.compile(model, "epsilon")
    assert node in str(told.value)
    assert "carry no relevance" in str(told.value)
