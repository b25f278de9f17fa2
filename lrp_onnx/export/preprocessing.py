"""Preparing a picture as an ONNX model: pixels in, the explained model's input out.

uint8 [height, width, 3] pixels, red first, of any size  ->  what `data/inputs.py` makes of the same
picture. Sizes are reckoned in float64, as Python does. ONNX's Resize with antialias is not Pillow's
(by ONNX Runtime 1.31 up to 19 of 255 differ), so the resampling is written as two products with
matrices of weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lrp_onnx.data.layout import batched_axes
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

__all__ = ["PIXELS", "preprocessing_model"]

PIXELS = "pixels"
KNOWN = ("nearest", "bilinear", "bicubic")
TYPES = {"float32": "float", "float64": "double", "float16": "float16", "uint8": "uint8"}


def preprocessing_model(want: Wanted, preprocess: Preprocess) -> onnx.ModelProto:
    """The model that prepares pictures for this input.

    Raises InputError where the input's size is open, or no operator resizes that way.
    """
    axes, height, width = _size(want, preprocess)
    if preprocess.interpolation not in KNOWN:
        raise InputError(
            f"preprocess '{preprocess.name}': interpolation {preprocess.interpolation!r} cannot be "
            f"written in operators yet. Choose {', '.join(KNOWN)}."
        )
    if str(want.dtype) not in TYPES:
        raise InputError(f"input {want.name!r} is {want.dtype}, and a picture is none of these.")
    channels = 3 if "C" not in axes else want.shape[axes.index("C")]
    lines = [
        "planar = Transpose <perm = [2, 0, 1]> (pixels)",
        *(_gray() if channels != 3 else ["colors = Identity(planar)"]),
        "stack = Unsqueeze(colors, first)",
        *_fitted(preprocess),
        *(["ordered = Gather <axis = 1> (fit, reversed)"] * (preprocess.order == "BGR")),
        *(["ordered = Identity(fit)"] * (preprocess.order != "BGR")),
        "exact = Cast <to = 11> (ordered)",
        "scaled = Mul(exact, scale)",
        "centered = Sub(scaled, mean)",
        "values = Div(centered, std)",
        *(["integers = Round(values)"] * (want.dtype.kind in "iu")),
        *(["integers = Identity(values)"] * (want.dtype.kind not in "iu")),
        f"typed = Cast <to = {onnx.helper.np_dtype_to_tensor_dtype(want.dtype)}> (integers)",
        *_laid_out(axes),
    ]
    shape = ", ".join(str({"N": 1, "C": channels, "H": height, "W": width}[a]) for a in axes)
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    preprocess (uint8[height, width, 3] pixels) => ({TYPES[str(want.dtype)]}[{shape}] "{want.name}")
    <{", ".join(_constants(preprocess, height, width))}> {{
    {chr(10).join(lines)}
    }}"""
    model = onnx.parser.parse_model(text.replace(f'"{want.name}"', "prepared"))
    _rename(model, want.name)
    used = {name for node in model.graph.node for name in node.input}
    constants = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    return model


def _rename(model: onnx.ModelProto, name: str) -> None:
    """The output gets the name of the model's input, which the text's grammar may not allow."""
    model.graph.output[0].name = model.graph.node[-1].output[0] = name


def _size(want: Wanted, preprocess: Preprocess) -> tuple[str, int, int]:
    if len(want.shape) != 4:
        raise InputError(
            f"input {want.name!r} of shape {list(want.shape)}: no batch of pictures, which has 4 "
            "axes. Prepare what it takes before it is sent."
        )
    axes = preprocess.layout or batched_axes(want.shape)
    sizes = preprocess.size or tuple(want.shape[axes.index(a)] for a in "HW" if a in axes)
    if len(sizes) != 2 or not all(isinstance(size, int) for size in sizes):
        raise InputError(
            f"input {want.name!r} of shape {list(want.shape)}: its height and width are open. Give "
            "--preprocess FILE.toml with size = [height, width]."
        )
    return axes, int(sizes[0] or 0), int(sizes[1] or 0)


def _gray() -> list[str]:
    """Pillow's L: red, green and blue by ITU-R 601-2 in 16 binary digits, rounded."""
    return [
        "wide = Cast <to = 6> (planar)",
        "weighed = Mul(wide, luma)",
        "summed = ReduceSum <keepdims = 1> (weighed, first)",
        "rounded = Add(summed, half)",
        "divided = Div(rounded, digits)",
        "colors = Cast <to = 2> (divided)",
    ]


def _fitted(preprocess: Preprocess) -> list[str]:
    resized = _resized(preprocess.interpolation)
    batch = "batch = Shape <start = 0, end = 2> (stack)"
    if preprocess.fit == "resize":
        return [batch, "new = Identity(target)", *resized, "fit = Identity(resized)"]
    letterbox = preprocess.fit == "letterbox"
    return [
        batch,
        "shape = Shape <start = 2, end = 4> (stack)",
        "own = Cast <to = 11> (shape)",
        "ratios = Div(wanted, own)",
        f"ratio = {'ReduceMin' if letterbox else 'ReduceMax'} <keepdims = 1> (ratios)",
        "part = Div(ratio, crop)",
        "large = Mul(own, part)",
        "round = Round(large)",
        "at_least = Max(round, one)",
        "new = Cast <to = 7> (at_least)",
        *resized,
        *(_padded() if letterbox else _cropped()),
    ]


def _resized(interpolation: str) -> list[str]:
    """Along the width, then along the height, to whole pixel values each time.

    Pillow 13 begins with the height of some tall pictures: then 1 or 2 of 255 differ in places.
    """
    lines = ["height, width = Split <num_outputs = 2> (new)", "in0 = Cast <to = 11> (stack)"]
    for k, (axis, place) in enumerate((("width", 3), ("height", 2))):
        lines += [
            f"count{k} = Cast <to = 11> ({axis})",
            f"last{k} = Squeeze(count{k})",
            f"at{k} = Range(zero, last{k}, step)",
            f"middle{k} = Add(at{k}, middle)",
            f"size{k} = Shape <start = {place}, end = {place + 1}> (in{k})",
            f"from{k} = Cast <to = 11> (size{k})",
            f"scale{k} = Div(from{k}, count{k})",
            f"where{k} = Mul(middle{k}, scale{k})",
            *(_nearest(k, place) if interpolation == "nearest" else _weighed(k, interpolation)),
        ]
    return [*lines, "resized = Cast <to = 2> (in2)"]


def _nearest(k: int, place: int) -> list[str]:
    """The pixel under the middle of the new one; places are added up one by one, as Pillow does."""
    return [
        f"start{k} = Mul(scale{k}, middle)",
        f"others{k} = Sub({('width', 'height')[k]}, unit)",
        f"steps{k} = Expand(scale{k}, others{k})",
        f"all{k} = Concat <axis = 0> (start{k}, steps{k})",
        f"walked{k} = CumSum(all{k}, axis)",
        f"under{k} = Cast <to = 7> (walked{k})",
        f"in{k + 1} = Gather <axis = {place}> (in{k}, under{k})",
    ]


def _weighed(k: int, interpolation: str) -> list[str]:
    """Weights of the filter, as wide as the scale where the picture shrinks, in 22 binary digits.

    The sums are integers below 2^53: float64 holds them exactly.
    """
    product = f"in{k}, turned{k}" if k == 0 else f"weights{k}, in{k}"
    return [
        f"end{k} = Squeeze(from{k})",
        f"every{k} = Range(zero, end{k}, step)",
        f"own{k} = Add(every{k}, middle)",
        f"column{k} = Unsqueeze(where{k}, second)",
        f"far{k} = Sub(own{k}, column{k})",
        f"broad{k} = Max(scale{k}, one)",
        f"narrow{k} = Reciprocal(broad{k})",
        f"distance{k} = Mul(far{k}, narrow{k})",
        f"x{k} = Abs(distance{k})",
        *(line.format(k=k) for line in FILTERS[interpolation]),
        f"total{k} = ReduceSum <keepdims = 1> (filter{k}, second)",
        f"share{k} = Div(filter{k}, total{k})",
        f"digits{k} = Mul(share{k}, precision)",
        f"nearly{k} = Add(digits{k}, middle)",
        f"weights{k} = Floor(nearly{k})",
        f"turned{k} = Transpose <perm = [1, 0]> (weights{k})",
        f"sum{k} = MatMul({product})",
        f"pixel{k} = Div(sum{k}, precision)",
        f"more{k} = Add(pixel{k}, middle)",
        f"whole{k} = Floor(more{k})",
        f"in{k + 1} = Clip(whole{k}, black, white)",
    ]


FILTERS = {
    "bilinear": ("falling{k} = Sub(one, x{k})", "filter{k} = Max(falling{k}, black)"),
    "bicubic": (
        # x < 1: (1.5 x - 2.5) x^2 + 1;  x < 2: -0.5 (((x - 5) x + 8) x - 4)
        "a{k} = Mul(x{k}, cubic_a)", "b{k} = Sub(a{k}, cubic_b)", "c{k} = Mul(b{k}, x{k})",
        "d{k} = Mul(c{k}, x{k})", "near{k} = Add(d{k}, one)",
        "e{k} = Sub(x{k}, five)", "f{k} = Mul(e{k}, x{k})", "g{k} = Add(f{k}, eight)",
        "h{k} = Mul(g{k}, x{k})", "i{k} = Sub(h{k}, four)", "away{k} = Mul(i{k}, cubic_c)",
        "is_near{k} = Less(x{k}, one)", "is_away{k} = Less(x{k}, double_one)",
        "outer{k} = Where(is_away{k}, away{k}, black)",
        "filter{k} = Where(is_near{k}, near{k}, outer{k})",
    ),
}  # fmt: skip
"""Pillow's filters of the distance x to the middle of the new pixel."""


def _padded() -> list[str]:
    """The picture in the middle of the fill; what is left over is halved, rounded down."""
    return [
        "free = Sub(target, new)",
        "before = Div(free, two)",
        "after = Sub(free, before)",
        "zeros = Sub(batch, batch)",
        "pads = Concat <axis = 0> (zeros, before, zeros, after)",
        "wider = Cast <to = 6> (resized)",
        "inner = Sub(wider, fill)",
        "padded = Pad(inner, pads)",
        "fit = Add(padded, fill)",
    ]


def _cropped() -> list[str]:
    """The middle; where an odd number is left over the first part is the larger, as in Python."""
    return [
        "over = Sub(new, target)",
        "more = Add(over, unit)",
        "begin = Div(more, two)",
        "end = Add(begin, target)",
        "fit = Slice(resized, begin, end, places)",
    ]


def _laid_out(axes: str) -> list[str]:
    if axes == "NCHW":
        return ["prepared = Identity(typed)"]
    return ["prepared = Transpose <perm = [0, 2, 3, 1]> (typed)"]


def _constants(preprocess: Preprocess, height: int, width: int) -> list[str]:
    return [
        f"double[1] scale = {{{preprocess.scale!r}}}",
        _per_channel("mean", preprocess.mean),
        _per_channel("std", preprocess.std),
        f"int64[2] target = {{{height}, {width}}}",
        f"double[2] wanted = {{{height}.0, {width}.0}}",
        f"double[1] crop = {{{preprocess.crop if preprocess.fit == 'center-crop' else 1.0!r}}}",
        "int64[1] first = {0}",
        "int64[1] second = {1}",
        "int64[2] places = {2, 3}",
        "int64 axis = {0}",
        "int64[1] two = {2}",
        "int64[1] unit = {1}",
        "double[1] one = {1.0}",
        "double zero = {0.0}",
        "double step = {1.0}",
        "double[1] middle = {0.5}",
        "double black = {0.0}",
        "double white = {255.0}",
        "double precision = {4194304.0}",
        "double cubic_a = {1.5}",
        "double cubic_b = {2.5}",
        "double cubic_c = {-0.5}",
        "double double_one = {2.0}",
        "double four = {4.0}",
        "double five = {5.0}",
        "double eight = {8.0}",
        "int64[3] reversed = {2, 1, 0}",
        "int32[3, 1, 1] luma = {19595, 38470, 7471}",
        "int32[1] half = {32768}",
        "int32[1] digits = {65536}",
        _fill(preprocess),
    ]


def _per_channel(name: str, values: Sequence[float]) -> str:
    listed = ", ".join(repr(float(v)) for v in values)
    return f"double[1, {len(values)}, 1, 1] {name} = {{{listed}}}"


def _fill(preprocess: Preprocess) -> str:
    listed = ", ".join(str(round(v)) for v in preprocess.fill)
    return f"int32[1, {len(preprocess.fill)}, 1, 1] fill = {{{listed}}}"
