"""Every operator of the dialect that lowering writes out has its row in the text about it."""

from __future__ import annotations

import re

from lrp_onnx.graph import dialect
from lrp_onnx.lowering.lower import RELEVANCE


def test_every_operator_has_a_row():
    rows = re.findall(r"^\| ([A-Z][\w, ]+) \|", dialect.__doc__, re.M)
    named = {name for row in rows for name in row.split(", ")}
    backward = {"Propagate", "Sum", "Mask", "Whole", "Account"}
    assert named == {*RELEVANCE, *backward, "Product"}
