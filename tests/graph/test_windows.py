"""How a window slides is read once: from attributes, from the weight, from a node of protobuf."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import helper

from lrp_onnx.graph.windows import shared_out, skips, window_of, window_of_proto


def conv(weight: list[int | None] | None = None, **attributes: object) -> ir.Node:
    shape = None if weight is None else ir.Shape(weight)
    values = [ir.Value(name="x"), ir.Value(name="w", shape=shape)]
    return ir.node("Conv", values, attributes)


def test_what_no_attribute_says() -> None:
    window = window_of(conv([None, 3, 5, 2]))
    assert (window.kernel, window.strides, window.dilations) == ((5, 2), (1, 1), (1, 1))
    assert (window.pads, window.output_padding) == ((0,) * 4, (0, 0))
    assert (window.mode, window.rounds_up, window.dilated, window.stays) == (
        *("NOTSET", False, False, True),
    )
    assert window_of(conv()).kernel is window_of(conv([4, 3, None])).kernel is None
    assert window_of(conv(), 3).strides == (1, 1, 1)


def test_what_attributes_say() -> None:
    window = window_of(conv([4, 3, 9, 9], kernel_shape=[3, 1], dilations=[2, 1], pads=[1, 0, 2, 0]))
    assert (window.kernel, window.reach) == ((3, 1), (5, 1))
    assert (window.padding(0), window.padding(1)) == ((1, 2), (0, 0))
    assert window.dilated
    assert not window.stays
    assert not window_of(conv([4, 3, 1], strides=[2])).stays


def test_a_pool_of_protobuf() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3], strides=[2], ceil_mode=1)
    window = window_of_proto(node)
    assert (window.kernel, window.strides, window.pads, window.rounds_up) == ((3,), (2,), (0, 0), 1)


@pytest.mark.parametrize(
    ("mode", "sides"), [("SAME_UPPER", (1, 2)), ("SAME_LOWER", (2, 1)), ("NOTSET", (2, 1))]
)
def test_the_odd_element_is_behind_for_same_upper_alone(mode: str, sides: tuple[int, int]) -> None:
    assert shared_out(3, mode) == sides


def test_a_stride_that_skips_elements() -> None:
    assert skips(None, 4, 2)
    assert skips(-2, 4, 2)
    assert not skips(-1, 4, 2)
    assert not skips(None, 3, 2)
