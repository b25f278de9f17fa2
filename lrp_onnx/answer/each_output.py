"""Several explained outputs on their way to the user: each as if it were explained alone."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path

from lrp_onnx.graph.annotations import each_output
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result

__all__ = ["by_output", "output_paths"]


def by_output(explainer: Explainer, result: Result) -> list[tuple[Explainer, Result]]:
    """For each explained output what a model that explains it alone would say of itself, and the
    result with its relevance under the tensors' own names.
    """
    if "outputs" not in explainer.metadata:
        return [(explainer, result)]
    parts = []
    for one in each_output(explainer.metadata):
        alone = copy.copy(explainer)
        alone.metadata = one
        names = json.loads(one["relevance"])
        relevance = {name: result.relevance[f"{one['prefix']}{name}"] for name in names}
        parts.append((alone, Result(dict(result.outputs), relevance)))
    return parts


def output_paths(out: Path, names: Sequence[str], always: bool = False) -> list[Path]:
    """The file of each output: `why.png` becomes `why.logits.png`; as it is where there is one
    output alone, and for an .npz file, which holds all of them unless `always`.
    """
    if len(names) < 2 or (out.suffix.lower() == ".npz" and not always):
        return [out]
    plain = [re.sub(r"[^\w.-]+", "_", name).strip("_") for name in names]
    if len(set(plain)) < len(plain):
        plain = [f"{k}_{name}" for k, name in enumerate(plain)]
    return [out.with_name(f"{out.stem}.{name}{out.suffix}") for name in plain]
