"""What depends on weights alone is a weight in the compiled file, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx.errors import CompositeError
from lrp_onnx.lowering import fold

BOX = {"low": -2.0, "high": 2.0}
MODEL = network(
    "z = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b) s = Sigmoid(z) h = Mul(z, s) "
    "k = Conv<pads=[1,1,1,1]>(h, v) r = Relu(k) f = Flatten(r) t = Transpose(u) "
    "y = MatMul(f, t)",
    (1, 2, 6, 6), w=(8, 2, 3, 3), b=(8,), v=(8, 8, 3, 3), u=(5, 72),
)  # fmt: skip
COMPOSITES = {"epsilon": {}, "epsilon-plus-flat": {}, "epsilon-gamma-box": BOX, "wsquare": {}}


def compiled(composite, **options):
    parameters = COMPOSITES[composite]
    return lrp_onnx.compile(MODEL, composite, parameters=parameters, **options).model


def emitted_of_weights_alone(model):
    """The emitted nodes all of whose inputs are weights or come from such."""
    known, nodes = {t.name for t in model.graph.initializer}, []
    for node in model.graph.node:
        emitted = any(entry.key == "lrp.rule" for entry in node.metadata_props)
        if emitted and node.input and all(name in known for name in node.input if name):
            nodes.append(node)
            known.update(node.output)
    return nodes


def bytes_of_weights(model):
    return sum(len(t.raw_data) for t in model.graph.initializer)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_no_node_of_weights_alone_is_left(composite):
    assert emitted_of_weights_alone(compiled(composite, fold="never"))
    assert not emitted_of_weights_alone(compiled(composite))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_relevance_is_the_same(composite):
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)
    folded, apart = (run(compiled(composite, fold=how), {"x": x}) for how in ("always", "never"))
    assert_close(folded["x_relevance"], apart["x_relevance"])
    assert np.array_equal(folded["y"], apart["y"])


def test_the_largest_stay_nodes_where_the_file_would_grow_too_much(monkeypatch):
    monkeypatch.setattr(fold, "AT_LEAST", 0)
    monkeypatch.setattr(fold, "TIMES", 1.2)
    whole, within = (compiled("epsilon-gamma-box", fold=how) for how in ("always", "auto"))
    apart = compiled("epsilon-gamma-box", fold="never")
    assert bytes_of_weights(within) <= 1.2 * bytes_of_weights(apart) < bytes_of_weights(whole)
    sizes = [len(emitted_of_weights_alone(model)) for model in (whole, within, apart)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_only_the_portable_runtime_is_folded_for_unless_it_is_asked_for():
    assert emitted_of_weights_alone(compiled("epsilon", runtime="cpu"))
    assert not emitted_of_weights_alone(compiled("epsilon", runtime="cpu", fold="always"))


def test_another_word_is_refused():
    with pytest.raises(CompositeError, match="'often' is unknown"):
        compiled("epsilon", fold="often")
