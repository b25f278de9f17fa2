"""The same model and options give the same bytes, in whatever process."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys
junk = [[0] * (n % 31) for n in range(int(sys.argv.pop(1)))][::2]
import onnx
import lrp_onnx

names = [f"x{k}" for k in range(9)]
inputs = ", ".join(f"float[N, 4] {name}" for name in names)
sums = " ".join(f"s{k + 1} = Add(s{k}, x{k}) p{k} = Tanh(s{k + 1})" for k in range(9))
text = f'''<ir_version: 9, opset_import: ["": 18]>
g ({inputs}) => (float[N, 4] y) {{ s0 = Mul(x0, x1)  {sums}  y = Mul(p8, p3) }}'''
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
made = lrp_onnx.compile(onnx.parser.parse_model(text), check=False, **options)
print(hashlib.sha256(made.model.SerializeToString(deterministic=True)).hexdigest())
"""


@pytest.mark.parametrize(
    "options",
    [("composite", "epsilon"), ("method", "saliency"), ("method", "integrated-gradients")],
    ids=" ".join,
)
def test_two_processes_write_the_same_bytes(options):
    # each process has other objects in the way, so that sets of objects have another order
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(k), *options],
            capture_output=True, text=True, check=True,
        ).stdout
        for k in (0, 777, 12_345)
    }  # fmt: skip
    assert len(digests) == 1
    assert len(digests.pop().strip()) == hashlib.sha256().digest_size * 2
