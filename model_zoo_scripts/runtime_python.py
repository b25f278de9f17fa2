"""Run one ONNX file in one Python runtime; started by runtimes.py in that runtime's environment.

    python runtime_python.py ENGINE MODEL.onnx FEEDS OUT NAMES

Needs NumPy and the engine alone.  FEEDS and OUT are folders of arrays (see runtime_cases.py); NAMES
are the outputs in their order, as JSON. The last line printed is JSON: the seconds to open the
file, and those of one run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ENGINES"]

Arrays = dict[Any, Any]
Start = Callable[[str, Arrays], Callable[[], Arrays]]
"""A path and the inputs become a call that computes the outputs."""


def arrays(folder: Path) -> Arrays:
    """The arrays of a folder by name."""
    return {
        row["name"]: np.fromfile(folder / row["file"], dtype=row["dtype"]).reshape(row["shape"])
        for row in json.loads((folder / "tensors.json").read_text())
    }


def write(folder: Path, named: Mapping[Any, Any]) -> None:
    """Write arrays into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k, (name, array) in enumerate(named.items()):
        array = np.asarray(array)
        array.tofile(folder / f"{k}.bin")
        about = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
        rows.append(dict(about, file=f"{k}.bin"))
    (folder / "tensors.json").write_text(json.dumps(rows))


def onnxruntime() -> Start:
    """ONNX Runtime's CPU provider."""
    import onnxruntime as ort

    def start(path: str, given: Arrays) -> Callable[[], Arrays]:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return lambda: dict(zip(names, session.run(names, given), strict=True))

    return start


def reference() -> Start:
    """onnx's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    def start(path: str, given: Arrays) -> Callable[[], Arrays]:
        evaluator = ReferenceEvaluator(path)
        return lambda: dict(zip(evaluator.output_names, evaluator.run(None, given), strict=True))

    return start


def openvino() -> Start:
    """OpenVINO's CPU plugin in float32; it would take bfloat16 where the CPU has it."""
    import openvino

    def start(path: str, given: Arrays) -> Callable[[], Arrays]:
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", options)

        def run() -> Arrays:
            results = compiled(given)
            return {name: results[port] for port in compiled.outputs for name in port.names}

        return run

    return start


def opencv() -> Start:
    """OpenCV's dnn module."""
    import cv2

    def start(path: str, given: Arrays) -> Callable[[], Arrays]:
        net = cv2.dnn.readNetFromONNX(path)

        def run() -> Arrays:
            for name, array in given.items():
                net.setInput(array, name)
            names = net.getUnconnectedOutLayersNames()
            return dict(zip(names, net.forward(names), strict=True))

        return run

    return start


def tract() -> Start:
    """tract, with the names of sizes that the file has; only where that fails it is told numbers:
    told one for a name, it refuses every tensor that is declared with the name.
    """
    import tract as engine

    def opened(path: str, shown: dict[str, Any] | None) -> tuple[list[str], Any]:
        model = engine.onnx().load(path)
        names = [model.input_name(k) for k in range(model.input_count())]
        for k, array in enumerate([] if shown is None else [shown[name] for name in names]):
            sizes = "".join(f"{size}," for size in array.shape)
            model.set_input_fact(k, f"{sizes}{array.dtype.kind}{8 * array.dtype.itemsize}")
        return names, model.into_model().into_runnable()

    def start(path: str, given: Arrays) -> Callable[[], Arrays]:
        try:
            names, runnable = opened(path, None)
            runnable.run([given[name] for name in names])
        except Exception:  # the engine raises nothing more special
            names, runnable = opened(path, given)
        # it names outputs by the nodes that make them
        return lambda: dict(
            enumerate(y.to_numpy() for y in runnable.run([given[n] for n in names]))
        )

    return start


ENGINES: dict[str, Callable[[], Start]] = {
    "onnxruntime": onnxruntime,
    "reference": reference,
    "openvino": openvino,
    "opencv": opencv,
    "tract": tract,
}


def main(engine: str, path: str, feeds: str, out: str, names: str) -> None:
    """Open, run, write what came out."""
    given, start = arrays(Path(feeds)), ENGINES[engine]()
    begun = time.process_time()  # of the processors: a busy machine counts for nothing
    run = start(path, given)
    opened = time.process_time() - begun
    begun = time.perf_counter()
    results = run()
    ran = time.perf_counter() - begun
    listed = dict(enumerate(json.loads(names)))
    write(Path(out), {listed.get(name, name): array for name, array in results.items()})
    print(json.dumps({"open": opened, "run": ran}))


if __name__ == "__main__":
    main(*sys.argv[1:])
