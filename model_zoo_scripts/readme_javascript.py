"""The README's JavaScript, run in Node as it stands there, beside Python.

    python model_zoo_scripts/readme_javascript.py FOLDER

FOLDER: one with onnxruntime-node in its node_modules, such as WORK/node of runtimes.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import lrp_onnx
from lrp_onnx.data import digits

README = Path(__file__).parents[1] / "README.md"
AROUND = """
const ort = require('onnxruntime-node');
const pixels = Float32Array.from(require('./pixels.json'));
(async () => {
%s
console.log(JSON.stringify(Array.from(relevance)));
})();
"""


def main(folder: Path) -> None:
    """Run it on a digit; raises AssertionError where relevance differs from Python's."""
    if shutil.which("node") is None or not (folder / "node_modules" / "onnxruntime-node").is_dir():
        print(f"README's JavaScript did not run: no node, or no onnxruntime-node in {folder}")
        return
    (block,) = re.findall(r"```js\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    model, images, _ = digits.load()
    pixels = images[:1, None].astype(np.float32) / 255
    compiled = lrp_onnx.compile(model)
    compiled.save(folder / "model.lrp.onnx")
    (folder / "pixels.json").write_text(json.dumps(pixels.ravel().tolist()))
    (folder / "readme.cjs").write_text(AROUND % block)
    done = subprocess.run(["node", "readme.cjs"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"node: {done.stderr}")
    expected = lrp_onnx.Explainer(compiled)(pixels).relevance["image"].ravel()
    relevance = np.array(json.loads(done.stdout), np.float32)
    difference = np.abs(relevance - expected).max() / np.abs(expected).max()
    assert difference < 1e-4, difference
    print(f"README's JavaScript ran in Node: max|d|/max|R| {difference:.1e} from Python")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
