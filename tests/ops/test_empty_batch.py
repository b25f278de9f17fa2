"""A batch of no samples has a relevance of no samples, where the original gives such an output."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from models import Case, session
from tables import LINEAR
from tables_signal import ROWS as SIGNALS
from test_vjp import ROWS as OTHERS

import lrp_onnx

TAKE_NONE = (
    *("AveragePool", "MaxPool", "LpPool", "Resize", "Upsample", "GridSample", "Conv", "Slice"),
    *("Tile", "STFT", "GlobalAveragePool", "GlobalMaxPool", "Relu", "Softmax"),
)
"""Operators that the runtime gives no sample to, if it is not told a size of the output."""
ROWS = [
    row
    for row in (*OTHERS, *LINEAR, *SIGNALS)
    if row.op in TAKE_NONE
    and row.inputs.get("sizes") is None
    and min(map(len, row.activations.values())) > 1
]


def open_batches(row: Case) -> list[Case]:
    """The row with samples of unknown number, and with no size known but the channels."""
    batch = copy.copy(row)
    batch.symbolic, batch.drawn_as = (0,), str(row)
    return [batch, row.unknown()]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_sample(row: Case) -> None:
    for case in open_batches(row):
        model = case.model()
        for size in model.graph.output[0].type.tensor_type.shape.dim:
            size.Clear()
        feeds = {name: x[:0] for name, x in case.feeds().items()}
        y = session(model, blocked=False)(feeds)["y"]
        assert 0 in y.shape
        for composite in ("gradient", "epsilon"):
            compiled = lrp_onnx.compile(
                model, composite, target="seed", start="one", check=False
            ).model
            found = session(compiled, blocked=False)({**feeds, "y_seed": np.zeros_like(y)})
            shapes = {name: r.shape for name, r in found.items() if name.endswith("_relevance")}
            assert shapes
            assert all(
                shapes[name] == feeds[name.removesuffix("_relevance")].shape for name in shapes
            )
