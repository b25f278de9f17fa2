"""The same model and options give the same bytes, in whatever process."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import hashlib, sys
junk = [[0] * (n % 31) for n in range(int(sys.argv[1]))][::2]
import onnx
import lrp_onnx

names = [f"x{k}" for k in range(9)]
inputs = ", ".join(f"float[N, 4] {name}" for name in names)
sums = " ".join(f"s{k + 1} = Add(s{k}, x{k}) p{k} = Tanh(s{k + 1})" for k in range(9))
text = f'''<ir_version: 9, opset_import: ["": 18]>
g ({inputs}) => (float[N, 4] y) {{ s0 = Mul(x0, x1)  {sums}  y = Mul(p8, p3) }}'''
for method in ("lrp", "saliency", "integrated-gradients"):
    made = lrp_onnx.compile(onnx.parser.parse_model(text), method=method, check=False)
    print(method, hashlib.sha256(made.model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_every_process_writes_the_same_bytes():
    # in each process sets of texts have another order, and by other objects in the way sets of
    # objects too
    digests = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(junk)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed, junk in enumerate((0, 777, 12_345))
    ]
    assert len(digests[0].splitlines()) == 3
    assert digests[1:] == digests[:-1]
