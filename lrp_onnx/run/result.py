"""What a run of a compiled model gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrp_onnx.arguments import checked
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.run.tables import arrays_html, frame_of

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The model's own outputs, and relevance by the name of the input or tensor it belongs to:
    arrays, from `Explainer.on_device` ONNX Runtime's values.
    """

    outputs: dict[str, Array]
    """With target `top-K` also `<output>_topk_index`: the numbers of the classes."""
    relevance: dict[str, Array]
    """Shaped like the tensor, in the unit of the explained output; with target `top-K` there is an
    axis of length K behind the batch. Of several explained outputs by `<output>_<tensor>`.
    """

    @checked
    def to_pandas(self, name: str | None = None) -> Any:
        """A table with the place and relevance of every element of a tensor [the first].

        Raises InputError without pandas, or for a tensor without relevance.
        """
        name = name if name is not None else next(iter(self.relevance))
        if name not in self.relevance:
            known = ", ".join(map(repr, self.relevance))
            raise InputError(f"{name!r} has no relevance here. Those that have: {known}.")
        return frame_of(self.relevance[name])

    def _repr_html_(self) -> str:
        """The arrays, as a notebook shows them."""
        return arrays_html(self.outputs, self.relevance)
