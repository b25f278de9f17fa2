"""Where the nodes of a model run under ONNX Runtime's CUDA provider, read from its own profile."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lrp_onnx.graph.session import CUDA, import_runtime

__all__ = ["device_name", "on_cpu"]

EVENT = "_kernel_time"


def device_name() -> str:
    """What the driver calls the GPU, with its version; needs torch."""
    import torch

    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def on_cpu(model: bytes, feeds: Mapping[str, NDArray[Any]]) -> Counter[str]:
    """How many nodes of each operator compute on the CPU, by operator and the type of what they
    compute: arithmetic on shapes is int64, a float is work that left the GPU.
    """
    ort = import_runtime()
    with tempfile.TemporaryDirectory(prefix="lrp-onnx-") as folder:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(model, options, providers=[CUDA, "CPUExecutionProvider"])
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text())
    return Counter(_computed_on_cpu(events))


def _computed_on_cpu(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        about = event.get("args", {})
        if not event["name"].endswith(EVENT) or about.get("provider") != "CPUExecutionProvider":
            continue
        types = {kind for output in about.get("output_type_shape", []) for kind in output}
        yield f"{about['op_name']} ({', '.join(sorted(types))})"
