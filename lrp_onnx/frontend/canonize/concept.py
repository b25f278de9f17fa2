"""What a region is, by its function on random inputs: each hypothesis in turn."""

from __future__ import annotations

from lrp_onnx.frontend.canonize.dependence import together
from lrp_onnx.frontend.canonize.norm import Norm, norm_of
from lrp_onnx.frontend.canonize.probe import Evaluators, Probe
from lrp_onnx.frontend.canonize.regions import Region
from lrp_onnx.frontend.canonize.softmax import Softmax, softmax_of

__all__ = ["Concept", "concept_of"]

Concept = Softmax | Norm


def concept_of(region: Region, evaluators: Evaluators) -> Concept | None:
    """The softmax or the norm that a region is; equal regions are probed once."""
    probe = Probe(region, evaluators)
    key = probe.structure, probe.content, str(region.entry.shape)
    if key not in evaluators.concepts:
        like = evaluators.concepts.get(probe.structure)
        found = evaluators.concepts[key] = _tried(probe, like)
        evaluators.concepts[probe.structure] = found or like
    concept: Concept | None = evaluators.concepts[key]
    return concept


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
