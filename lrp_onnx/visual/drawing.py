"""What is drawn of explained samples: a page of a picture file, or sections of an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.comparison import Comparison, comparison_page, comparison_panels
from lrp_onnx.visual.heatmap import relevance_maps
from lrp_onnx.visual.page import FOR_AND_AGAINST, Ends, Page
from lrp_onnx.visual.panel import Box, Panel
from lrp_onnx.visual.plot import MOST_SAMPLES, heatmap_page, picture_panels, pictures_of
from lrp_onnx.visual.report import Figure, Section, figure_of
from lrp_onnx.visual.words import html_words

__all__ = ["Drawing"]


@dataclass(frozen=True)
class Drawing:
    """Relevance of samples along axis 0, their inputs, and what is said of each."""

    relevance: NDArray[Any]
    input: NDArray[Any] | None
    axes: str
    titles: Sequence[str]
    subtitles: Sequence[str]
    tables: Sequence[Mapping[str, str]] = ()
    preprocess: Preprocess | None = None
    tokens: Sequence[Sequence[str]] | None = None
    """The words of each sample."""
    asides: Sequence[str] = ()
    """What relevance of each is not that of a word."""
    what: str = "relevance"
    ends: Ends = FOR_AND_AGAINST
    options: PictureOptions = field(default_factory=PictureOptions)
    together: int = 1
    """How many samples in a row are maps of one input: classes, or composites."""
    one_scale: bool = True
    """Whether the color of such maps means the same relevance."""
    headings: Sequence[str] = ()
    """The titles of such maps, one a sample."""
    by: str = ""
    """By what they are explained."""
    boxes: Sequence[Box | None] = ()
    """Of what is explained, one a sample."""
    each: str = "feature"
    """What is counted along bars."""
    notes: Sequence[str] = ()
    """What is missing."""

    @property
    def _compares(self) -> bool:
        return self.together > 1 and relevance_maps(self.relevance, self.axes).ndim == 3

    def page(self) -> Page:
        """A row for each sample, or for each input whose maps are compared."""
        if self._compares:
            page = comparison_page(self._comparisons(), self.options, self.ends)
        else:
            page = self._page(slice(None))
        page.notes += self.notes
        return page

    def sections(self) -> tuple[list[Section], list[str]]:
        """The same for an HTML page, and what was done to what is drawn."""
        notes = [*self.notes]
        if self._compares:
            return [
                self._compared(one, k, notes) for k, one in enumerate(self._comparisons())
            ], notes
        count = min(len(self.relevance), MOST_SAMPLES)
        return [self._section(k, notes) for k in range(count)], notes

    def _page(self, which: slice, bare: bool = False) -> Page:
        return heatmap_page(
            self.relevance[which],
            input=None if self.input is None else self.input[which],
            title="" if bare else self.titles[which],
            subtitle="" if bare else self.subtitles[which],
            axes=self.axes,
            preprocess=self.preprocess,
            tokens=None if self.tokens is None else self.tokens[which],
            asides=self.asides[which],
            what=self.what,
            ends=self.ends,
            options=self.options,
            boxes=self.boxes[which],
            each=self.each,
        )

    def sample_panels(self, index: int) -> list[Panel]:
        """Input, heatmap and overlay of a sample; none where it is no picture."""
        maps = relevance_maps(self.relevance[index : index + 1], self.axes)
        if maps.ndim != 3:
            return []
        return self._panels(maps[0], index)[0]

    def _panels(self, relevance: NDArray[np.float64], index: int) -> tuple[list[Panel], list[str]]:
        values = None if self.input is None else self.input[index : index + 1]
        picture = pictures_of(values, self.axes, self.preprocess, 1)[0]
        box = self.boxes[index] if self.boxes else None
        return picture_panels(relevance, picture, self.what, self.options, box)

    def _section(self, index: int, notes: list[str]) -> Section:
        which, figures = slice(index, index + 1), list[Figure]()
        maps = relevance_maps(self.relevance[which], self.axes)
        if maps.ndim == 3:
            panels, own = self._panels(maps[0], index)
            figures, notes[len(notes) :] = [figure_of(panel) for panel in panels], own
        elif self.tokens is None:
            figures = [figure_of(self._page(which, bare=True))]
        table = self.tables[index] if self.tables else {}
        words = ""
        if self.tokens is not None:
            words = html_words(self.tokens[index], maps[0], self.options.limits)
        if words and any(self.asides[which]):
            told = f"the words sum to {maps[0].sum():.4g}; and {self.asides[index]}"
            words += f'<p class="why">{escape(told)}</p>'
        return Section(self.titles[index], figures, self.subtitles[index], table, words)

    def _compared(self, one: Comparison, number: int, notes: list[str]) -> Section:
        panels, own, said = comparison_panels(one, self.options)
        notes += own
        first = number * self.together
        tables = self.tables[first : first + self.together]
        table = {f"{k + 1}. {name}": v for k, t in enumerate(tables) for name, v in t.items()}
        return Section(one.title, [figure_of(panel) for panel in panels], said, table)

    def _comparisons(self) -> list[Comparison]:
        maps = relevance_maps(self.relevance, self.axes)
        pictures = pictures_of(self.input, self.axes, self.preprocess, len(maps))
        starts = range(0, min(len(maps), MOST_SAMPLES * self.together), self.together)
        return [self._comparison(maps, pictures, first) for first in starts]

    def _comparison(
        self,
        maps: NDArray[np.float64],
        pictures: Sequence[NDArray[np.uint8] | None],
        first: int,
    ) -> Comparison:
        own = slice(first, first + self.together)
        captions = [*self.titles[own]]
        if self.one_scale:
            captions = [f"{rank}. {title}" for rank, title in enumerate(captions, 1)]
        title = self.headings[first] if self.headings else ""
        return Comparison(
            pictures[first],
            list(maps[own]),
            captions,
            title,
            self.by,
            self.one_scale,
            self.boxes[own] or [None] * self.together,
        )
