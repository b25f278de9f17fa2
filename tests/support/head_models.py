"""Small models with the heads of detectors, segmenters and rankers, spelled as exporters do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
Choice = tuple[int, ...] | None
X = (2, 3, 8, 8)
CLASSES = 3


@dataclass(frozen=True)
class Row:
    """A model as ONNX text, with its weights; `scores` are the indices of class scores along
    `axis`.
    """

    body: str
    outputs: Sequence[str] = ("y",)
    weights: Mapping[str, Any] = field(default_factory=dict)
    explained: str = "y"
    axis: int | None = 1
    scores: tuple[int, int] | None = None
    objectness: int | None = None
    compared: bool = False
    batch: bool = True
    x: tuple[int, ...] = X
    logits: bool = True
    """Whether relevance starts at the logit of the entry."""
    integers: Sequence[str] = ()
    half: bool = True
    """Whether the runtime has all its operators in half precision."""


def conv(*channels: int) -> dict[str, Any]:
    """Weights v0, v1, … of convolutions with that many channels."""
    return {f"v{k}": (n, 3, 3, 3) for k, n in enumerate(channels)}


def maps(*names: str) -> str:
    """A convolution of x for each weight."""
    return " ".join(f"{name} = Conv<pads=[1,1,1,1]>(x, v{k}) " for k, name in enumerate(names))


DECODE = "d0 = Mul(b, stride) d1 = Add(d0, anchors) "
GRID = {"stride": np.float32(8), "anchors": np.arange(64, dtype=np.float32).reshape(1, 1, 64) * 3}
V8 = (
    maps("m0", "m1") + "m = Concat<axis=1>(m0, m1) f = Reshape(m, flat) "
    "b, s = Split<axis=1>(f, parts) " + DECODE + "p = Sigmoid(s) "
)
V8_WEIGHTS = {**conv(4, CLASSES), **GRID, "flat": [0, 4 + CLASSES, -1], "parts": [4, CLASSES]}
V5 = (
    maps("m") + "r = Reshape(m, five) t = Transpose<perm=[0,1,3,4,2]>(r) p = Sigmoid(t) "
    "xy, wh, c = Split<axis=4>(p, parts) x0 = Mul(xy, two) x1 = Add(x0, stride) x2 = Mul(x1, "
    "stride) w0 = Mul(wh, two) w1 = Mul(w0, w0) w2 = Mul(w1, stride) "
    "o = Concat<axis=4>(x2, w2, c) "
)


def v5(classes: int) -> dict[str, Any]:
    return {**conv(3 * (5 + classes)), "two": np.float32(2), "stride": np.float32(8),
            "five": [0, 3, 5 + classes, 8, 8], "parts": [2, 2, 1 + classes],
            "flat": [0, -1, 5 + classes]}  # fmt: skip


V5_IN_PLACE = V5.replace("o = Concat<axis=4>(x2, w2, c) ", "") + (
    "o1 = ScatterND(p, at_xy, x2) o = ScatterND(o1, at_wh, w2) "
)


def places(*columns: int) -> Array:
    """The indices of some numbers of every box, as PyTorch writes an assignment to them."""
    grid = np.meshgrid(*map(np.arange, (2, 3, 8, 8)), columns, indexing="ij")
    return np.stack(grid, -1).astype(np.int64)


V5_PLACES = {"at_xy": places(0, 1), "at_wh": places(2, 3)}
X5 = maps("b0", "o0", "c0") + (
    "b = Mul(b0, stride) o = Sigmoid(o0) c = Sigmoid(c0) m = Concat<axis=1>(b, o, c) "
)
PLACES = maps("m0", "m1") + (
    "t0 = Transpose<perm=[0,2,3,1]>(m0) t1 = Transpose<perm=[0,2,3,1]>(m1) "
)
SSD = PLACES + "boxes = Reshape(t0, of_box) c = Reshape(t1, of_class) "
SSD_WEIGHTS = {**conv(8, 6), "of_box": [0, -1, 4], "of_class": [0, -1, 3]}
QUERIES = maps("m") + (
    "f = Reshape(m, flat) k = Transpose<perm=[0,2,1]>(f) a0 = MatMul(queries, f) a = "
    "Softmax<axis=2>(a0) h = MatMul(a, k) c = MatMul(h, wc) b = MatMul(h, wb) boxes = Sigmoid(b) "
)
QUERIES_WEIGHTS = {**conv(5), "flat": [0, 5, -1], "queries": (1, 6, 5), "wc": (5, 3), "wb": (5, 4)}
SUPPRESSED = SSD.replace("boxes =", "all =") + (
    "p = Sigmoid(c) s = Transpose<perm=[0,2,1]>(p) "
    "n = NonMaxSuppression(all, s, most, overlap, least) i = Gather<axis=1>(n, at_place) "
    "e = Squeeze(all, first) boxes = Gather<axis=0>(e, i) "
    "g = GatherND(s, n) scores0 = Identity(g) labels = Gather<axis=1>(n, at_class) "
)
NMS_WEIGHTS = {**SSD_WEIGHTS, "most": [5], "overlap": np.float32([0.5]),
               "least": np.float32([0.1]), "at_place": np.array(2), "at_class": np.array(1),
               "first": [0], "last": [1]}  # fmt: skip
TOP = PLACES + (
    "q0 = Reshape(t0, of_box) b = Mul(q0, stride) q1 = Reshape(t1, of_class) p = Sigmoid(q1) "
    "best = ReduceMax<keepdims=0>(p, two) v, i = TopK<axis=1>(best, count) "
    "u = Unsqueeze(i, two) i4 = Expand(u, to_box) i3 = Expand(u, to_class) "
    "gb = GatherElements<axis=1>(b, i4) gs = GatherElements<axis=1>(p, i3) "
    "fs = Reshape(gs, rest) ts, ti = TopK<axis=1>(fs, count) place = Div(ti, classes) "
    "label = Mod(ti, classes) pu = Unsqueeze(place, two) p4 = Expand(pu, to_box) "
    "fb = GatherElements<axis=1>(gb, p4) su = Unsqueeze(ts, two) lf = Cast<to=1>(label) "
    "lu = Unsqueeze(lf, two) y = Concat<axis=2>(fb, su, lu)"
)
TOP_WEIGHTS = {**SSD_WEIGHTS, "two": [2], "count": [5], "to_box": [1, 1, 4], "to_class": [1, 1, 3],
               "rest": [0, -1], "classes": np.array(3), "stride": np.float32(8)}  # fmt: skip
SWAP = "y = Transpose<perm=[0,2,1]>(o)"
HEADS = {
    "YOLOv8": Row(V8 + "y = Concat<axis=1>(d1, p)", weights=V8_WEIGHTS, scores=(4, 7)),
    "YOLOv8, places first": Row(V8 + "o = Concat<axis=1>(d1, p) " + SWAP, weights=V8_WEIGHTS,
                                axis=2, scores=(4, 7)),
    "YOLOv8 with masks": Row(
        maps("m0", "m1", "m2") + "b = Reshape(m0, f4) " + DECODE + "s0 = Sigmoid(m1) "
        "p = Reshape(s0, f3) k = Reshape(m2, f5) y = Concat<axis=1>(d1, p, k) protos = "
        "Conv(x, v0)", ["y", "protos"],
        {**conv(4, 3, 5), **GRID, "f4": [0, 4, -1], "f3": [0, 3, -1], "f5": [0, 5, -1]},
        scores=(4, 7)),
    "YOLOv8 with poses": Row(
        maps("m0", "m1", "m2") + "b = Reshape(m0, f4) " + DECODE + "s0 = Sigmoid(m1) "
        "p = Reshape(s0, f1) k = Reshape(m2, f23) xy, v = Split<axis=2>(k, parts) xs = Mul(xy, "
        "stride) vs = Sigmoid(v) j = Concat<axis=2>(xs, vs) jf = Reshape(j, f6) "
        "y = Concat<axis=1>(d1, p, jf)",
        weights={**conv(4, 1, 6), **GRID, "f4": [0, 4, -1], "f1": [0, 1, -1], "parts": [2, 1],
                 "f23": [0, 2, 3, 64], "f6": [0, 6, -1]}, scores=(4, 5)),
    "YOLOv8 of two sizes": Row(
        maps("m0", "m1") + "o0 = Sigmoid(m1) a = Concat<axis=1>(m0, o0) s0 = MaxPool<kernel_shape="
        "[2,2],strides=[2,2]>(m0) s1 = MaxPool<kernel_shape=[2,2],strides=[2,2]>(m1) o1 = "
        "Sigmoid(s1) e = Concat<axis=1>(s0, o1) af = Reshape(a, flat) ef = Reshape(e, flat) "
        "y = Concat<axis=2>(af, ef)", weights={**conv(4, 3), "flat": [0, 7, -1]}, scores=(4, 7)),
    "YOLOv5": Row(V5 + "y = Reshape(o, flat)", weights=v5(3), axis=2, scores=(5, 8), objectness=4),
    "YOLOv5, places last": Row(V5 + "o2 = Reshape(o, flat) y = Transpose<perm=[0,2,1]>(o2)",
                               weights=v5(3), scores=(5, 8), objectness=4),
    "YOLOv5 of one class": Row(V5 + "y = Reshape(o, flat)", weights=v5(1), axis=2, scores=(4, 5)),
    "YOLOv5, in place": Row(V5_IN_PLACE + "y = Reshape(o, flat)", weights={**v5(3), **V5_PLACES},
                            axis=2, scores=(5, 8), objectness=4, logits=False),
    "YOLOX": Row(X5 + "y = Reshape(m, flat)", scores=(5, 8), objectness=4,
                 weights={**conv(4, 1, 3), "flat": [0, 8, -1], "stride": np.float32(8)}),
    "YOLOv6": Row(
        maps("b0", "c0") + "b = Mul(b0, stride) c = Sigmoid(c0) one = Expand(ones, to) "
        "m = Concat<axis=1>(b, one, c) y = Reshape(m, flat)", scores=(5, 8),
        weights={**conv(4, 3), "flat": [0, 8, -1], "stride": np.float32(8),
                 "ones": np.float32(1), "to": [2, 1, 8, 8]}),
    "NanoDet": Row(maps("c0", "b") + "c = Sigmoid(c0) m = Concat<axis=1>(c, b) "
                   "y = Reshape(m, flat)", weights={**conv(3, 8), "flat": [0, 11, -1]},
                   scores=(0, 3)),
    "YOLOv10": Row(TOP, weights=TOP_WEIGHTS, axis=2, scores=(4, 5), x=(1, 3, 8, 8),
                   logits=False, half=False),
    "YOLOv10 of one tensor": Row(
        TOP.replace("best =", "bp = Concat<axis=2>(b, p) b_, p_ = Split<axis=2>(bp, parts) best =")
        .replace("ReduceMax<keepdims=0>(p", "ReduceMax<keepdims=0>(p_")
        .replace("(b, i4)", "(b_, i4)").replace("(p, i3)", "(p_, i3)"),
        weights={**TOP_WEIGHTS, "parts": [4, 3]}, axis=2, scores=(4, 5), x=(1, 3, 8, 8),
        logits=False, half=False),
    "suppressed": Row(
        SUPPRESSED + "su = Unsqueeze(scores0, last) lf = Cast<to=1>(labels) lu = Unsqueeze(lf, "
        "last) y = Concat<axis=1>(boxes, su, lu)", weights=NMS_WEIGHTS, scores=(4, 5),
        x=(1, 3, 8, 8), batch=False, logits=False, half=False),
    "suppressed, apart": Row(SUPPRESSED + "y = Identity(scores0)", ["boxes", "labels", "y"],
                             NMS_WEIGHTS, axis=None, x=(1, 3, 8, 8), batch=False, logits=False,
                             half=False, integers=["labels"]),
    "SSD": Row(SSD + "y = Softmax<axis=2>(c)", ["boxes", "y"], SSD_WEIGHTS, axis=2, compared=True),
    "SSD of sigmoids": Row(SSD + "y = Sigmoid(c)", ["y", "boxes"], SSD_WEIGHTS, axis=2),
    "SSD, places last": Row(
        maps("m0", "m1") + "boxes = Reshape(m0, of_box) y = Reshape(m1, of_class)",
        ["boxes", "y"], {**conv(8, 6), "of_box": [0, 4, -1], "of_class": [0, 3, -1]},
        compared=True),
    "faces with landmarks": Row(
        SSD + "l0 = Conv<pads=[1,1,1,1]>(x, v2) l1 = Transpose<perm=[0,2,3,1]>(l0) landmarks = "
        "Reshape(l1, of_points) y = Softmax<axis=2>(c)", ["boxes", "y", "landmarks"],
        {**SSD_WEIGHTS, "v2": (20, 3, 3, 3), "of_points": [0, -1, 10]}, axis=2, compared=True),
    "scores with centerness": Row(
        SSD + "l0 = Conv<pads=[1,1,1,1]>(x, v2) l1 = Transpose<perm=[0,2,3,1]>(l0) l2 = "
        "Reshape(l1, of_one) centerness = Sigmoid(l2) y = Sigmoid(c)",
        ["boxes", "y", "centerness"],
        {**SSD_WEIGHTS, "v2": (2, 3, 3, 3), "of_one": [0, -1, 1]}, axis=2),
    "DETR": Row(QUERIES + "y = Identity(c)", ["y", "boxes"], QUERIES_WEIGHTS, axis=2,
                compared=True),
    "RT-DETR": Row(QUERIES + "p = Sigmoid(c) y = Concat<axis=2>(boxes, p)",
                   weights=QUERIES_WEIGHTS, axis=2, scores=(4, 7)),
    "segmentation": Row(maps("y"), weights=conv(4)),
    "segmentation, channels last": Row(maps("m") + "y = Transpose<perm=[0,2,3,1]>(m)",
                                       weights=conv(4), axis=3),
    "segmentation by softmax": Row(maps("m") + "y = Softmax<axis=1>(m)", weights=conv(4)),
    "saliency": Row(maps("m") + "y = Sigmoid(m)", weights=conv(1)),
    "map without channels": Row(maps("m") + "y = Squeeze(m, one)",
                                weights={**conv(1), "one": [1]}, axis=None),
    "map reshaped": Row(maps("m") + "s = Sigmoid(m) y = Reshape(s, to)",
                        weights={**conv(1), "to": [-1, 8, 8]}, axis=None),
    "segmentation without a batch": Row(
        "u = Unsqueeze(x, zero) m = Conv<pads=[1,1,1,1]>(u, v0) y = Squeeze(m, zero)",
        weights={**conv(4), "zero": [0]}, axis=0, batch=False, x=X[1:]),
    "landmarks": Row(
        maps("m") + "p = GlobalAveragePool(m) f = Flatten(p) l = Gemm(f, w) y = Reshape(l, to)",
        weights={**conv(5), "w": (5, 12), "to": [0, 6, 2]}, axis=2),
    "landmarks in triples": Row(
        "f = Flatten(x) l = Gemm(f, w) s = Sigmoid(l) y = Reshape(s, to)",
        weights={"w": (192, 15), "to": [-1, 5, 3]}, axis=2),
}  # fmt: skip


def model_of(row: Row, symbolic: bool = False, half: bool = False) -> onnx.ModelProto:
    """The row's model; with `symbolic` the batch is open, in half precision with `half`."""
    outputs = ", ".join(f"float {name}" for name in row.outputs)
    graph = onnx.parser.parse_graph(f"g (float x) => ({outputs}) {{ {row.body} }}")
    element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    rng = np.random.default_rng(5)
    for name, value in row.weights.items():
        array = 0.3 * rng.standard_normal(value) if isinstance(value, tuple) else np.asarray(value)
        kind = array.dtype.kind
        array = array.astype(np.int64 if kind == "i" else np.float16 if half else np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    shape = ["N", *row.x[1:]] if symbolic else row.x
    graph.input[0].CopyFrom(helper.make_tensor_value_info("x", element, shape))
    for value in graph.output:
        kind = TensorProto.INT64 if value.name in row.integers else element
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, None))
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def drawn(row: Row) -> Array:
    return np.random.default_rng(7).standard_normal(row.x).astype(np.float32)
