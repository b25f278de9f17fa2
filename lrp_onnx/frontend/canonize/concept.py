"""What a region is, by its function on random inputs: each hypothesis in turn."""

from __future__ import annotations

from lrp_onnx.frontend.canonize.dependence import rescales, together
from lrp_onnx.frontend.canonize.norm import Norm, norm_of
from lrp_onnx.frontend.canonize.probe import Evaluators, Probe
from lrp_onnx.frontend.canonize.regions import Region
from lrp_onnx.frontend.canonize.softmax import Softmax, softmax_of

__all__ = ["Concept", "concept_of", "is_ratio"]

Concept = Softmax | Norm


def concept_of(region: Region, evaluators: Evaluators) -> Concept | None:
    """The softmax or the norm that a region is."""
    concept: Concept | None = evaluators.once("concept", region, _tried)
    return concept


def is_ratio(region: Region, evaluators: Evaluators) -> bool:
    """Whether a region is a norm of any kind: x over a size that its row shares."""
    return bool(evaluators.once("ratio", region, _divided))


def _divided(probe: Probe, like: object) -> bool | None:
    return any(rescales(probe, shape) for shape in probe.shapes()) or None


def _tried(probe: Probe, like: Concept | None) -> Concept | None:
    """The concept on one of the probe's shapes.

    like: that of a region of the same structure.
    """
    for shape in probe.shapes():
        if isinstance(like, Norm) and (again := like.again(probe, shape)) is not None:
            return again
        if (met := together(probe, shape)) is not None:
            concept = softmax_of(probe, met, shape) or norm_of(probe, met, shape)
            concept = concept or norm_of(probe, met, shape, centered=False)
            if concept is not None:
                return concept
    return None
