"""Padding that an attribute names becomes padding in numbers."""

from __future__ import annotations

import pytest
from canonical import as_proto, canonized
from models import Case, assert_close, network, run
from tables import LINEAR
from test_canonize import signed

import lrp_onnx
from lrp_onnx.errors import UnsupportedError

AUTO = [
    Case("MaxPool", {"auto_pad": "SAME_UPPER", "kernel_shape": [3, 2], "strides": [2, 2]},
         x=(1, 2, 6, 5)),
    Case("AveragePool", {"auto_pad": "SAME_LOWER", "kernel_shape": [3, 2], "strides": [2, 1]},
         x=(1, 2, 6, 5)),
    Case("AveragePool", {"auto_pad": "VALID", "kernel_shape": [2, 2]}, x=(1, 2, 6, 5)),
    Case("Conv", {"auto_pad": "SAME_UPPER"}, x=(1, 2, 6, 5), w=(3, 2, 4, 3)),
    Case("Conv", {"auto_pad": "SAME_LOWER", "strides": [1, 2]}, x=(1, 2, 7, 5), w=(3, 2, 2, 3)),
    Case("Conv", {"auto_pad": "SAME_LOWER", "strides": [3]}, x=(1, 2, 8), w=(3, 2, 4)),
    Case("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [3, 2]},
         x=(1, 2, 3, 4), w=(2, 1, 2, 3), sized=True),  # a stride longer than the kernel
    Case("ConvTranspose", {"output_shape": [8, 7], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
         x=(1, 1, 3, 3), w=(1, 2, 4, 4)),
    Case("ConvTranspose", {"output_shape": [7, 3], "strides": [2, 2]},
         x=(1, 1, 3, 3), w=(1, 2, 2, 2)),  # more rows, fewer columns than there are
]  # fmt: skip


@pytest.mark.parametrize("case", [*LINEAR, *AUTO], ids=str)
def test_linear_rows(case: Case) -> None:
    """Sizes known or not: no auto_pad, no output_shape, biases inside, the same results."""
    for variant in (case,) if case.sized else (case, case.unknown()):
        model = variant.model()
        result = canonized(model)
        attributes = {name for node in result.graph for name in node.attributes}
        allowed = {"auto_pad"} if variant.symbolic and "Pool" in case.op else set()
        allowed |= {"auto_pad"} if variant.symbolic and "output_shape" in case.attributes else set()
        allowed |= {"output_shape"} if variant.symbolic else set()
        assert not {"auto_pad", "output_shape", "alpha", "beta"} & attributes - allowed
        assert "Add" not in {n.op_type for n in result.graph} or "pads" in attributes
        assert_close(run(as_proto(result), case.feeds())["y"], run(model, case.feeds())["y"])


def test_same_padding_that_runtimes_read_differently_is_refused() -> None:
    case = Case("Conv", {"auto_pad": "SAME_UPPER", "strides": [4]}, x=(1, 1, 8), w=(1, 1, 1))
    for variant in (case, case.unknown()):
        with pytest.raises(UnsupportedError, match="auto_pad"):
            canonized(variant.model())


@pytest.mark.parametrize("composite", ["flat", "wsquare", "zbox"])
def test_same_padding_of_an_unknown_size_does_not_count(composite: str) -> None:
    """Where a rule puts constants in place of the input, padding stays 0 also if a Pad makes it."""
    found = []
    for symbolic in ((0,), (0, 2, 3)):
        model = network("c = Conv<auto_pad=\"SAME_UPPER\", strides=[2, 2]>(x, w) y = Relu(c)",
                        (2, 4, 5, 7), symbolic, w=(6, 4, 3, 3))  # fmt: skip
        box = {"low": -3.0, "high": 3.0} if composite == "zbox" else {}
        compiled = lrp_onnx.compile(model, composite, parameters=box, target="all").model
        found.append(run(compiled, {"x": signed(2, 4, 5, 7)})["x_relevance"])
    assert_close(found[1], found[0])
