"""Options shared by several explanations: each takes what fits it, and none is of no use."""

from __future__ import annotations

import pytest

from lrp_onnx.compiler.fitting import check_of_use, fitted
from lrp_onnx.errors import CompositeError, LrpError, TargetError
from lrp_onnx.options import CompileOptions

BASE = CompileOptions(
    parameters={"low": 0, "zbox.high": 1, "gamma": 0.5}, rules={"conv1": "flat"}, start="one",
    steps=4, layer="relu3", target=3,
)  # fmt: skip


def test_each_takes_what_fits_it() -> None:
    box = fitted(BASE, "epsilon-gamma-box", "lrp")
    assert box.parameters == BASE.parameters
    assert fitted(BASE, "zbox", "lrp").parameters == {"low": 0, "zbox.high": 1}
    assert fitted(BASE, "epsilon", "lrp").parameters == {}
    for lrp in (box, fitted(BASE, "epsilon", "lrp")):
        assert (lrp.rules, lrp.start, lrp.steps, lrp.layer) == (
            {"conv1": "flat"},
            "one",
            None,
            None,
        )
    path = fitted(BASE, None, "integrated-gradients")
    assert (path.steps, path.layer, path.rules, path.parameters) == (4, None, {}, {})
    assert (path.start, path.composite) == (None, None)
    assert fitted(BASE, None, "grad-cam").layer == "relu3"
    assert fitted(BASE, None, "gradient").target == 3


UNFIT: dict[str, tuple[list[tuple[str | None, str]], type[LrpError], str]] = {
    "a parameter": ([("epsilon", "lrp")], CompositeError, "'low'"),
    "a method's own": ([("epsilon-gamma-box", "lrp")], TargetError, "integrated-gradients"),
    "one of several": (
        [("gamma", "lrp"), (None, "integrated-gradients"), (None, "grad-cam")],
        CompositeError,
        "'low'",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_fits_none_is_said(name: str) -> None:
    explanations, error, text = UNFIT[name]
    base = BASE if name != "a parameter" else CompileOptions(parameters={"low": 0})
    with pytest.raises(error, match=text):
        check_of_use(base, [fitted(base, *each) for each in explanations])


def test_what_fits_one_is_of_use() -> None:
    each = [("epsilon-gamma-box", "lrp"), (None, "integrated-gradients"), (None, "grad-cam")]
    check_of_use(BASE, [fitted(BASE, *one) for one in each])


def test_what_there_is_not_is_said() -> None:
    with pytest.raises(TargetError, match="method 'lime' is unknown"):
        fitted(BASE, None, "lime")
    with pytest.raises(CompositeError, match="best"):
        fitted(BASE, "best", "lrp")
