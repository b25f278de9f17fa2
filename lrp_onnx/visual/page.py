"""A figure filled from the top, measured in inches, as tall as what was put on it.

Drawn on a matplotlib `Figure` of its own: no display, no pyplot, no global state.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lrp_onnx.errors import OutputError, cell, plain
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.visual.heatmap import COLORS, color_scale

__all__ = [
    "FONTS",
    "FOR_AND_AGAINST",
    "PAD",
    "PICTURES",
    "QUIET",
    "TEXT_POINTS",
    "Ends",
    "Page",
    "boxes_for_missing_letters",
    "joined",
    "kind_of",
    "wrapped",
]

DPI = 150
INK, QUIET = "#1a1a1a", "#666666"
Ends = tuple[str, str]
"""What the lowest and the highest color stand for, in words."""
FOR_AND_AGAINST: Ends = ("against", "for")
PICTURES = (".png", ".jpg", ".svg", ".pdf")
PAD = 0.15  # between whatever stands beside or below each other
LONGEST_BAR = 3.5
TITLE_POINTS, TEXT_POINTS = 11.0, 8.5
# The first has every Latin, Greek and Cyrillic letter; one of the others may have the rest.
FAMILIES = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei",
            "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS")  # fmt: skip
INSTALLED = {font.name for font in font_manager.fontManager.ttflist}
FONTS = [family for family in FAMILIES if family in INSTALLED]


class Page:
    """A column of things of one width; `top` is how far down the next one starts."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.top = PAD
        self.figure = Figure(figsize=(width, 1), dpi=DPI, facecolor="white")
        self.placed: list[tuple[Axes, tuple[float, float, float, float]]] = []
        self.texts: list[tuple[Text, float]] = []
        self.notes: list[str] = []
        """What was done to what is drawn and should be said."""

    def text(
        self, text: str, x: float, width: float, points: float = TEXT_POINTS, color: str = INK
    ) -> float:
        """Put wrapped text at the current height, not moving on; return its height."""
        return self._put(wrapped(text, width, points), x, points, color)

    def head(self, title: str, subtitle: str) -> None:
        """Put a title and what is said below it, and move on."""
        self.title(title)
        self.top += self.text(subtitle, PAD, self.width - 2 * PAD, color=QUIET)
        self.top += 0.08 if title or subtitle else 0

    def title(self, text: str) -> None:
        """Put wrapped text across the page, and move on."""
        height = self._put(
            wrapped(text, self.width - 2 * PAD, TITLE_POINTS), PAD, TITLE_POINTS, INK
        )
        self.top += height + (0.05 if height else 0)

    def axes(self, x: float, width: float, height: float) -> Axes:
        """Axes at the current height, not moving on."""
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.placed)))
        self.placed.append((axes, (x, self.top, width, height)))
        return axes

    def color_bar(
        self,
        x: float,
        height: float,
        clipped: bool,
        ends: Ends = FOR_AND_AGAINST,
        colors: Colormap = COLORS,
    ) -> None:
        """A color bar with words at its ends; pointed where larger values are drawn alike."""
        axes = self.axes(x, 0.12, min(height, LONGEST_BAR))
        bar = self.figure.colorbar(
            ScalarMappable(color_scale(1.0), colors),
            cax=axes,
            extend="both" if clipped else "neither",
        )
        bar.set_ticks([-1.0, 0.0, 1.0], labels=[ends[0], "0", ends[1]])
        bar.outline.set_linewidth(0.5)
        axes.tick_params(labelsize=TEXT_POINTS, length=2, width=0.5)

    def encoded(self, kind: str, metadata: Mapping[str, str]) -> bytes:
        """The page as the bytes of a file of that kind: png, jpg, svg or pdf.

        `metadata` becomes text chunks of a PNG, else JSON in the file's comment or description.
        """
        self._place()
        metadata = {name: plain(value) for name, value in metadata.items()}
        text, buffer = json.dumps(metadata, ensure_ascii=False), BytesIO()
        kinds: dict[str, dict[str, Any]] = {
            "png": {"metadata": metadata},
            "jpg": {"pil_kwargs": {"comment": text.encode(), "quality": 92}},
            "svg": {"metadata": {"Description": text, "Date": None}},
            "pdf": {"metadata": {"Subject": text, "CreationDate": None}},
        }
        with boxes_for_missing_letters(), rc_context({"svg.hashsalt": "lrp-onnx"}):
            self.figure.savefig(buffer, format=kind, **kinds[kind])
        return buffer.getvalue()

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
        """Write the page, by the ending of the name. Raises OutputError."""
        kind = kind_of(path)
        with atomic(path) as temporary:
            temporary.write_bytes(self.encoded(kind, {"Software": "lrp-onnx", **metadata}))

    def _put(self, lines: list[str], x: float, points: float, color: str) -> float:
        if not lines:
            return 0.0
        text = self.figure.text(
            x / self.width, 0, "\n".join(lines), fontsize=points, family=FONTS, va="top",
            linespacing=1.3, parse_math=False, color=color,
        )  # fmt: skip
        self.texts.append((text, self.top))
        return len(lines) * points * 1.5 / 72 + 0.03

    def _place(self) -> None:
        height = self.top + PAD / 2
        self.figure.set_size_inches(self.width, height)
        for axes, (x, top, wide, tall) in self.placed:
            box = x / self.width, 1 - (top + tall) / height, wide / self.width, tall / height
            axes.set_position(box)
        for text, top in self.texts:
            text.set_y(1 - top / height)


def joined(pages: Sequence[Page], headings: Sequence[str] = ()) -> Page:
    """Pages below each other on one, each a picture of its own under its heading."""
    whole = Page(max(page.width for page in pages))
    for page, heading in zip(pages, headings or [""] * len(pages), strict=True):
        whole.title(heading)
        with Image.open(BytesIO(page.encoded("png", {}))) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        height, width = (size / DPI for size in pixels.shape[:2])
        axes = whole.axes(0, width, height)
        axes.imshow(pixels, aspect="auto")
        axes.set_axis_off()
        whole.top += height
        whole.notes += page.notes
    return whole


def kind_of(path: str | os.PathLike[str]) -> str:
    """What kind of picture a name asks for. Raises OutputError for one that is not written."""
    ending = Path(path).suffix.lower().replace(".jpeg", ".jpg")
    if ending not in PICTURES:
        raise OutputError(
            f"output '{path}': pictures are written as {', '.join(PICTURES)}. Choose one of these "
            "endings."
        )
    return ending[1:]


def wrapped(text: str, width: float, points: float) -> list[str]:
    """The text in lines no wider than `width` inches, its own line breaks kept."""
    ems = width * 72 / points
    return [line for part in cell(text).splitlines() for line in _wrapped_line(part, ems)]


@contextmanager
def boxes_for_missing_letters() -> Iterator[None]:
    """A letter that no installed font has is drawn as a box: it is seen, no warning needed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _wrapped_line(text: str, ems: float) -> list[str]:
    lines, left = [""], ems
    for piece in re.findall(r"\s*[^\s-]+-?|\s*-", text):  # breaks at spaces and behind hyphens
        if _ems(piece) > left and lines[-1]:
            lines, left, piece = [*lines, ""], ems, piece.lstrip()
        while _ems(piece) > left and len(piece) > 1:  # one long word
            fits = max(1, sum(total <= left for total in accumulate(map(_ems, piece))))
            lines[-1:] = [lines[-1] + piece[:fits], ""]
            left, piece = ems, piece[fits:]
        lines[-1] += piece
        left -= _ems(piece)
    return lines


def _ems(text: str) -> float:
    return sum(map(_letter_ems, text))


@lru_cache(maxsize=4096)
def _letter_ems(letter: str) -> float:
    """A letter's width in the first font, in ems; a letter of another font is taken as a square."""
    font = font_manager.get_font(font_manager.findfont(FONTS[0]))
    if not font.get_char_index(ord(letter)):
        return 1.0
    font.set_size(100, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance / 65536 / 100)
