"""Rows of operators that index, order and contract, shared by their own tests and `test_vjp`."""

from __future__ import annotations

import numpy as np
import onnx
from models import Case


class Ranked(Case):
    """A row of TopK, which always has its second output."""

    def nodes(self, source: str = "x", output: str = "y") -> list[onnx.NodeProto]:
        (node,) = super().nodes(source, output)
        node.output.append("places")
        return [node]


IDS = [[1, 0, -1, 1], [2, 2, 0, -3]]
GATHERED = [
    Case("GatherElements", {"axis": 1}, x=(2, 3), indices=IDS),
    Case("GatherElements", x=(3, 2, 2), indices=[[[0, 2], [1, 1]]]),
    Case("GatherElements", {"axis": -1}, x=(2, 3, 3), indices=np.zeros((2, 1, 2), np.int64)),
    Case("GatherElements", x=(2, 3), indices=np.zeros((0, 3), np.int64), sized=True),
    Case("GatherND", x=(3, 4), indices=[[0, 1], [2, -1], [0, 1]]),
    Case("GatherND", x=(3, 4, 2), indices=[[[1], [-1]], [[0], [1]]]),
    Case("GatherND", x=(3, 4, 2), indices=[[[1, 3]], [[-3, -4]]]),
    Case("GatherND", {"batch_dims": 1}, x=(2, 3, 4),
         indices=[[[1, 2], [0, -1]], [[-3, 0], [2, 2]]]),
    Case("GatherND", {"batch_dims": 1}, x=(2, 3, 4), indices=[[1], [-1]]),
    Case("GatherND", {"batch_dims": 2}, x=(2, 2, 3), indices=[[[1], [0]], [[2], [2]]]),
    Case("GatherND", x=(2, 3), indices=np.zeros((0, 1), np.int64), sized=True),
]  # fmt: skip

REDUCTIONS = ("none", "add", "mul", "max", "min")
TWICE = [[0, 2, 0], [1, 1, -1]]
ONCE = [[0, 2, 1], [-1, 1, 0]]
SCATTERED = [
    *[Case("ScatterElements", {"axis": 1, "reduction": r}, x=(2, 4), indices=ids, x2=(2, 3))
      for r in REDUCTIONS for ids in (ONCE, TWICE)],
    *[Case("ScatterElements", {"axis": -3, "reduction": r}, x=(3, 2, 2),
           indices=[[[1, 0]], [[2, -1]]], x2=(2, 1, 2)) for r in REDUCTIONS],
    *[Case("ScatterElements", {"axis": 1, "reduction": r}, x=(2, 3), indices=ids, u=(2, 3))
      for r in REDUCTIONS for ids in (ONCE, TWICE)],
    *[Case("ScatterElements", {"axis": 1, "reduction": r}, d=(2, 3), indices=ONCE, x=(2, 3))
      for r in REDUCTIONS],
    *[Case("ScatterND", {"reduction": r}, x=(4, 2), indices=ids, x2=(3, 2))
      for r in REDUCTIONS for ids in ([[0], [2], [-1]], [[0], [3], [-1]])],
    *[Case("ScatterND", {"reduction": r}, x=(3, 4, 2), indices=[[[0, 1]], [[2, -1]]], x2=(2, 1, 2))
      for r in REDUCTIONS],
    *[Case("ScatterND", {"reduction": r}, x=(2, 3), indices=[[0, 1], [0, 1], [1, 2], [0, 1]],
           x2=(4,)) for r in REDUCTIONS],
    *[Case("ScatterND", {"reduction": r}, d=(4, 2), indices=[[0], [2]], x=(2, 2))
      for r in REDUCTIONS],
    Case("ScatterElements", x=(2, 3), indices=np.zeros((0, 3), np.int64), x2=(0, 3), sized=True),
    Case("ScatterND", x=(2, 3), indices=np.zeros((0, 1), np.int64), x2=(0, 3), sized=True),
    Case("Scatter", {"axis": 1}, x=(2, 3), indices=[[2], [0]], x2=(2, 1), opset=9),
]  # fmt: skip

SELECTED = [
    Case("Slice", x=(2, 5, 4), starts=[1], ends=[4], axes=[1]),
    Case("Slice", x=(2, 5, 4), starts=[-1, 0], ends=[-9, 4], axes=[-2, 2], steps=[-2, 3]),
    Case("Slice", x=(2, 5), starts=[3], ends=[1], axes=[-1], sized=True),
    Case("Pad", x=(2, 3, 4), pads=[1, 2], value=0.0, axes=[-1]),
    Case("Pad", x=(2, 3, 4), pads=[1, -1, -2, 2], value=None, axes=[2, 0]),
    Case("Pad", {"mode": "reflect"}, x=(2, 3, 4), pads=[2, 1], value=None, axes=[1]),
    Case("Pad", {"mode": "edge"}, x=(2, 3, 4), pads=[2, 0, 1, 1], value=None, axes=[1, -1]),
]  # fmt: skip

AXISWISE = [
    *[Case("CumSum", {"exclusive": e, "reverse": r}, x=(2, 4, 2), axis=1)
      for e in (0, 1) for r in (0, 1)],
    Case("CumSum", x=(5,), axis=-1),
    Case("ReverseSequence", x=(4, 3, 2), lengths=[4, 1, 3]),
    Case("ReverseSequence", {"time_axis": 1, "batch_axis": 0}, x=(2, 4, 2), lengths=[2, 3]),
    Case("Trilu", x=(2, 3, 4)),
    Case("Trilu", {"upper": 0}, x=(4, 3), k=-1),
    Case("Trilu", x=(3, 3), k=2),
    Case("Compress", {"axis": 1}, x=(2, 4, 2), condition=[True, False, True]),
    Case("Compress", {"axis": -3}, x=(2, 4, 2), condition=[False, True]),
    Case("Compress", x=(2, 3), condition=[False, True, True, False, True]),
    Case("Compress", {"axis": 0}, x=(3, 2), condition=[False, False]),
    Ranked("TopK", x=(2, 5), k=[2]),
    Ranked("TopK", {"axis": 1, "largest": 0}, x=(2, 5, 2), k=[3]),
    Ranked("TopK", {"axis": 0}, x=(4,), k=[4]),
    Case("Unique", x=(7,)),
    Case("Unique", {"sorted": 0}, x=(2, 3)),
    Case("Unique", {"axis": 1}, x=(2, 3, 2)),
    Case("Unique", {"axis": -3, "sorted": 0}, x=(4, 2, 1)),
]  # fmt: skip

CONTRACTED = [
    Case("Einsum", {"equation": "ij,jk->ik"}, x=(2, 3), w=(3, 4)),
    Case("Einsum", {"equation": "ij,jk->ik"}, w=(2, 3), x=(3, 4)),
    Case("Einsum", {"equation": "ij,jk->ik"}, x=(2, 3), x2=(3, 4)),
    Case("Einsum", {"equation": "bsd,dhk->bhsk"}, x=(2, 3, 4), w=(4, 2, 3)),
    Case("Einsum", {"equation": "bqhd,bkhd->bhqk"}, x=(2, 3, 2, 4), x2=(2, 4, 2, 4)),
    Case("Einsum", {"equation": " ...ij , ...jk -> ...ik "}, x=(2, 3, 4), x2=(1, 4, 2)),
    Case("Einsum", {"equation": "...ij,...jk->...ik"}, x=(2, 2, 3), x2=(1, 3, 2)),
    Case("Einsum", {"equation": "...ij,...jk"}, x=(2, 2, 3), w=(1, 3, 2)),
    Case("Einsum", {"equation": "bc,ac"}, x=(2, 3), w=(4, 3)),
    Case("Einsum", {"equation": "i,j->ij"}, x=(2,), x2=(3,)),
    Case("Einsum", {"equation": "i,i->i"}, x=(3,), x2=(3,)),
    Case("Einsum", {"equation": "ij,k->i"}, x=(2, 3), w=(4,)),
    Case("Einsum", {"equation": ",ij->ji"}, s=(), x=(2, 3)),
    Case("Einsum", {"equation": "bii,ij->bj"}, x=(2, 3, 3), w=(3, 2)),
    Case("Einsum", {"equation": "ij,jj->ij"}, w=(2, 3), x=(3, 3)),
    Case("Einsum", {"equation": "ij,jk,kl->il"}, x=(2, 3), w=(3, 2), x2=(2, 4)),
    Case("Einsum", {"equation": "bi,ijk,bj->bk"}, x=(2, 3), w=(3, 2, 4), x2=(2, 2)),
    Case("Einsum", {"equation": "i...,i...,...->i..."}, x=(2, 3), x2=(2, 3), x3=(3,)),
    Case("Einsum", {"equation": "ijk->kj"}, x=(2, 3, 4)),
    Case("Einsum", {"equation": "...i->..."}, x=(2, 3, 4)),
    Case("Einsum", {"equation": "...i->i..."}, x=(2, 3, 4)),
    Case("Einsum", {"equation": "iij->ji"}, x=(3, 3, 2)),
    Case("Einsum", {"equation": "iji"}, x=(3, 2, 3)),
    Case("Einsum", {"equation": "iii->i"}, x=(3, 3, 3)),
    Case("Einsum", {"equation": "ij->ij"}, x=(2, 3)),
]  # fmt: skip

ARITHMETIC = [
    Case("Mean", x=(2, 3), x2=(3,), x3=(2, 1)),
    Case("Mean", x=(2, 3), b=(2, 3)),
    Case("Mod", {"fmod": 1}, x=(2, 3), b=(3,), between=(0.5, 2.0)),
    Case("Mod", {"fmod": 1}, x=(2, 3), x2=(2, 1), between=(0.5, 2.0)),
    *[Case("Det", x=shape, sized=len(shape) > 3)
      for shape in ((2, 1, 1), (2, 2), (2, 3, 3), (2, 1, 4, 4))],
]  # fmt: skip

ROWS = [*GATHERED, *SCATTERED, *SELECTED, *AXISWISE, *CONTRACTED, *ARITHMETIC]
