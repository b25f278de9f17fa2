"""What the entries of an output are that is no scores of classes alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """What the entries of an output are."""

    kind: str
    """mixed, scores, boxes, map or coordinates."""
    batch: bool
    """Whether axis 0 counts the samples."""
    axis: int | None = None
    """The axis along which quantities or classes differ; None if there is none."""
    scores: tuple[int, int] | None = None
    """The first index of the class scores along it and the one behind the last; None for all."""
    objectness: int | None = None
    """Where along it stands how sure it is that there is something, whatever it is."""
    compared: bool = False
    """Whether a class counts less its mean over all places."""
    beside: str = ""
    """Of scores the output of boxes, and the other way around."""
    labeled: bool = False
    """Whether each detection has one score alone, of the class that its label beside it says."""
    label: int | str | None = None
    """Where that is: an index along the axis, or the name of an output; None if it is not clear."""

    def stamp(self) -> str:
        """As a compiled model's metadata keeps it."""
        return json.dumps(asdict(self))

    @property
    def by_class(self) -> bool:
        """Whether a class has scores that can be named by its number."""
        of_scores = self.kind in ("mixed", "scores")
        return of_scores and (self.axis is not None or self.label is not None)
