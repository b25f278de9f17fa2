"""Whether the steps of integrated gradients were enough: what they sum to before they are made
complete.
"""

from __future__ import annotations

import json

import numpy as np

from lrp_onnx.graph.annotations import COMPLETENESS
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.run.explainer import Explainer, Result
from lrp_onnx.validate.verify import ROUGH, completeness_of

__all__ = ["advice", "of_steps"]


def of_steps(explainer: Explainer, result: Result) -> str | None:
    """The account of the steps alone, taken out of the result; None where there is none."""
    if COMPLETENESS not in result.outputs:
        return None
    names = json.loads(explainer.metadata["explained"])
    sums = {n: float(result.relevance[n].sum(dtype=np.float64)) for n in names}
    found = completeness_of(result.outputs, sums, int(explainer.metadata["steps"]))
    assert found is not None
    del result.outputs[COMPLETENESS]
    remedy = ". Give more --steps" if found.error_of_steps > ROUGH else ""
    return (
        f"the gradients at {found.steps} step{'s' * (found.steps != 1)} alone sum to "
        f"{found.of_steps:.5g} of {found.explained:.5g}, off by {found.error_of_steps:.2%}{remedy}"
    )


def advice(explainer: Explainer, model: str) -> list[tuple[str, str]]:
    """Where many files share one model, which does not tell: who does."""
    method = METHODS[explainer.metadata["method"]]
    if not method.path:
        return []
    steps = explainer.metadata["steps"]
    command = f"lrp-onnx verify {model} INPUT --method {method.name} --steps {steps}"
    return [("note", f"{command} says how far the {steps} steps alone are off")]
