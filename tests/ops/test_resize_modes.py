"""Every Resize mode, and what only the run knows: starts, indices, pads, scales.

The forward of these rows is linear in x, so that the expected relevance under the composite
`gradient` is exact: the runtime's own Jacobian.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Case, assert_close, run
from onnx import helper, numpy_helper
from test_move_pool import explained, jacobian_product, seed_of

import lrp_onnx

Array = np.ndarray

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
               "asymmetric", "tf_crop_and_resize")  # fmt: skip
ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resize(mode: str, coordinates: str, *, sizes: bool = False, **attributes: object) -> Case:
    roi = [0.0, 0.0, 0.1, 0.0, 1.0, 1.0, 0.8, 1.0] if coordinates == "tf_crop_and_resize" else None
    inputs = {"scales": None, "sizes": [1, 2, 3, 6]} if sizes else {"scales": [1.0, 1.0, 1.6, 3.0]}
    attributes |= {"mode": mode, "coordinate_transformation_mode": coordinates}
    return Case("Resize", attributes, x=(1, 2, 4, 3), roi=roi, opset=19, **inputs)


RESIZES = [
    *[resize("nearest", c, nearest_mode=r) for c in COORDINATES for r in ROUNDING],
    *[resize(mode, c, sizes=given)
      for mode in ("linear", "cubic") for c in COORDINATES for given in (False, True)],
    resize("linear", "half_pixel", sizes=True, antialias=1),
    resize("cubic", "half_pixel", exclude_outside=1, cubic_coeff_a=-0.5),
    resize("linear", "tf_crop_and_resize", extrapolation_value=3.0),
    Case("Resize", {"mode": "linear", "axes": [-1, 2]},
         x=(1, 2, 4, 3), roi=None, scales=[2.0, 0.5]),
    Case("Resize", {"mode": "nearest"},
         x=(2, 1, 2, 3, 2), roi=None, scales=[1.0, 1.0, 1.5, 2.0, 3.0]),
    *[Case("Resize", {"mode": mode, "keep_aspect_ratio_policy": policy, "axes": axes},
           x=(1, 2, 4, 3), roi=None, scales=None, sizes=[5, 7])
      for mode in ("nearest", "linear", "cubic") for policy in ("not_larger", "not_smaller")
      for axes in ([2, 3], [3, 2])],
    *[Case("Resize", {"mode": "nearest", "keep_aspect_ratio_policy": policy},
           x=(1, 1, 2, 3), roi=None, scales=None, sizes=[4, 2, 5, 7])
      for policy in ("not_larger", "not_smaller")],
]  # fmt: skip


@pytest.mark.parametrize("case", [*RESIZES, *[row.unknown() for row in RESIZES]], ids=str)
def test_resize_is_the_runtimes_own(case: Case) -> None:
    feeds = case.feeds()
    seed = seed_of(run(case.model(), feeds)["y"].shape)
    found = explained(case.model(), feeds, seed)["x_relevance"]
    assert_close(found, jacobian_product(case.model(), feeds, seed))


# rows whose other inputs arrive at run time
AT_RUN_TIME = [
    Case("Slice", x=(3, 5, 4), starts=[1, -1], ends=[-1, -9], axes=[1, -1], steps=[1, -2]),
    Case("Slice", x=(3, 5), starts=[4], ends=[2], axes=[1]),  # nothing is read
    Case("Slice", x=(3, 5), starts=[-6], ends=[-9], axes=[1], steps=[-2]),  # the first element
    Case("Gather", {"axis": -2}, x=(2, 4, 3), indices=[[1, -1], [1, 0]]),
    Case("Gather", {"axis": 1}, x=(2, 4), indices=3),
    Case("Pad", x=(2, 4), pads=[1, -1, 0, 2]),
    Case("Pad", {"mode": "reflect"}, x=(2, 4), pads=[1, 0, 1, 3]),
    Case("Pad", {"mode": "edge"}, x=(2, 4), pads=[2, 1], value=None, axes=[-1]),
    Case("Tile", x=(2, 3), repeats=[2, 1]),
    Case("Expand", x=(2, 1, 3), shape=[2, 4, 3]),
    Case("Reshape", x=(2, 6), shape=[3, -1]),
    Case("Resize", {"mode": "linear"}, x=(1, 1, 4, 3), roi=None, scales=[1.0, 1.0, 1.5, 2.0]),
    Case("Resize", {"mode": "nearest"}, x=(1, 1, 4, 3), roi=None, scales=None, sizes=[1, 1, 6, 6]),
]  # fmt: skip
STAY_CONSTANT = ("steps", "axes", "roi")


def with_runtime_inputs(case: Case) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The row's model with its constants, but axes, as graph inputs, and what to feed."""
    model, feeds = case.model(), case.feeds()
    for tensor in list(model.graph.initializer):
        if tensor.name not in STAY_CONSTANT:
            feeds[tensor.name] = numpy_helper.to_array(tensor)
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(value)
            model.graph.initializer.remove(tensor)
    del model.graph.value_info[:]
    for size in model.graph.output[0].type.tensor_type.shape.dim:
        size.Clear()
    return onnx.shape_inference.infer_shapes(model, data_prop=True), feeds


@pytest.mark.parametrize("case", [*AT_RUN_TIME, *[r.unknown() for r in AT_RUN_TIME]], ids=str)
def test_what_the_run_decides(case: Case) -> None:
    model, feeds = with_runtime_inputs(case)
    seed = seed_of(run(model, feeds)["y"].shape)
    found = explained(model, feeds, seed)["x_relevance"]
    assert_close(found, jacobian_product(model, feeds, seed))


def test_scales_whose_number_only_the_run_knows() -> None:
    text = """<ir_version: 9, opset_import: ["": 18]>
    g (float[1,1,2,3] x, float[K] s) => (float[N,C,H,W] y) {
        r = Resize<mode="linear">(x, , s)
        y = Neg(r)
    }"""
    compiled = lrp_onnx.compile(
        onnx.parser.parse_model(text), "epsilon", explain="x", target="all"
    ).model
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    outputs = run(compiled, {"x": x, "s": np.float32([1, 1, 2, 2])})
    assert_close(outputs["x_relevance"].sum(), outputs["y"].sum())


def test_slice_backwards_from_before_the_first_element() -> None:
    case = AT_RUN_TIME[2]
    feeds, seed = case.feeds(), seed_of((3, 1))
    found = explained(case.model(), feeds, seed)["x_relevance"]
    assert_close(found, jacobian_product(case.model(), feeds, seed))


def test_jacobian_product_refuses_1_percent() -> None:
    case = AT_RUN_TIME[0]
    seed = seed_of(run(case.model(), case.feeds())["y"].shape)
    expected = jacobian_product(case.model(), case.feeds(), seed)
    with pytest.raises(AssertionError, match="max"):
        assert_close(1.01 * expected, expected)
