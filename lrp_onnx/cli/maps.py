"""Results whose outputs are maps of classes, as ZipMap makes them, as arrays."""

from __future__ import annotations

from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.run.explainer import Explainer, Result

__all__ = ["without_maps"]


def without_maps(explainer: Explainer, result: Result) -> Result:
    """The result with arrays for maps; the explained one under the name of the tensor that the maps
    are made of.
    """
    explained, outputs = explainer.metadata["output"], {}
    for name, y in result.outputs.items():
        array = numbers_of(y)
        unnamed = array is not y and explained not in result.outputs
        outputs[explained if unnamed else name] = array
    return Result(outputs, result.relevance)
