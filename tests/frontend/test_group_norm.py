"""A GroupNorm spelled by InstanceNormalization is one norm, whose bias absorbs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from canonical import as_proto, assert_same_forward, canonized, counts
from models import assert_close, network, run
from test_canonize import positive, signed

import lrp_onnx

PYTORCH = (
    "a = Reshape(x, groups) b = InstanceNormalization<epsilon=0.01>(a, one, zero) "
    "s = Shape(x) c = Reshape(b, s) d = Mul(c, g) y = Add(d, h)"
)
SIZED = PYTORCH.replace("s = Shape(x) ", "").replace("(b, s)", "(b, sizes)")
CONSTANTS = {
    "groups": [0, 2, -1], "sizes": [2, 4, 3, 2], "one": np.ones(2, np.float32),
    "zero": np.zeros(2, np.float32), "g": positive(4, 1, 1), "h": signed(4, 1, 1),
}  # fmt: skip
SHAPE = (2, 4, 3, 2)
ROWS = {
    "PyTorch": (PYTORCH, CONSTANTS, ()),
    "sizes given": (SIZED, CONSTANTS, ()),
    "unknown sizes": (PYTORCH, CONSTANTS, (0, 2, 3)),
    "no bias": (PYTORCH.replace("Add(d, h)", "Identity(d)"), CONSTANTS, (0,)),
    "no affine": (PYTORCH.replace("d = Mul(c, g) y = Add(d, h)", "y = Neg(c)"), CONSTANTS, ()),
    "another scale inside": (PYTORCH, {**CONSTANTS, "one": positive(2)}, ()),
    "constants first": (PYTORCH.replace("(c, g)", "(g, c)").replace("(d, h)", "(h, d)"),
                        CONSTANTS, ()),
}  # fmt: skip
ONE_GROUP = PYTORCH.replace("groups", "group")
STAY = {
    "scale of another axis": (PYTORCH, {**CONSTANTS, "g": positive(3, 1)}),
    "another shape behind": (SIZED.replace("d = Mul(c, g) y = Add(d, h)", "y = Neg(c)"),
                             {**CONSTANTS, "sizes": [2, 4, 6]}),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_it_is_one_norm(name: str) -> None:
    body, constants, symbolic = ROWS[name]
    model = network(body, SHAPE, symbolic, **constants)
    result = canonized(model)
    assert counts(result)["GroupNormalization"] == 1
    assert not set(counts(result)) & {"InstanceNormalization", "Mul", "Reshape"}
    assert_same_forward(model, as_proto(result), {"x": SHAPE})


@pytest.mark.parametrize("name", STAY)
def test_what_is_none_stays(name: str) -> None:
    model = network(STAY[name][0], SHAPE, **STAY[name][1])
    result = canonized(model)
    assert set(counts(result)) & {"InstanceNormalization", "Mul"}
    assert_same_forward(model, as_proto(result), {"x": SHAPE})


@pytest.mark.parametrize("composite", ["attnlrp", "gradient", "epsilon"])
@pytest.mark.parametrize("name", ["PyTorch", "unknown sizes", "sizes given"])
def test_relevance_is_that_of_the_operator(name: str, composite: str) -> None:
    body, constants, symbolic = ROWS[name]
    spelled = network(body + " z = Tanh(y)", SHAPE, symbolic, **constants)
    direct = network("y = Identity(x) z = Tanh(y)", SHAPE, g=positive(4), h=signed(4))
    direct.opset_import[0].version = 21
    direct.graph.node[0].CopyFrom(
        onnx.helper.make_node("GroupNormalization", ["x", "g", "h"], ["y"], num_groups=2,
                              epsilon=0.01)
    )  # fmt: skip
    found = []
    for model in (spelled, direct):
        model.graph.output[0].name = "z"
        compiled = lrp_onnx.compile(model, composite, target="all", check=False)
        found.append(run(compiled.model, {"x": signed(*SHAPE)})["x_relevance"])
    assert_close(found[0], found[1])


@pytest.mark.parametrize("composite", ["attnlrp", "gradient"])
def test_one_group_of_unknown_sizes(composite: str) -> None:
    """γ and β vary along the channels alone, whatever the other sizes."""
    given = {**CONSTANTS, "group": [0, 1, -1], "one": np.ones(1, np.float32),
             "zero": np.zeros(1, np.float32)}  # fmt: skip
    used = {k: v for k, v in given.items() if k not in ("groups", "sizes")}
    found = []
    for symbolic in ((), (0, 2, 3)):
        model = network(ONE_GROUP + " z = Tanh(y)", SHAPE, symbolic, **used)
        model.graph.output[0].name = "z"
        compiled = lrp_onnx.compile(model, composite, target="all", check=False)
        assert "norm" in {line.kind for line in compiled.report}
        found.append(run(compiled.model, {"x": signed(*SHAPE)})["x_relevance"])
    assert_close(*found)
