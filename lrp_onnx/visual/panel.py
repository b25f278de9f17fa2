"""One picture among others on a page: pixels, or a map of relevance in colors; rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lrp_onnx.errors import plain
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.heatmap import COLORS, color_limit, color_scale, overlay
from lrp_onnx.visual.lattice import averaged, lattice_period
from lrp_onnx.visual.page import FONTS, PAD, TEXT_POINTS, Page

__all__ = [
    "BAR_SPACE",
    "BOX_INK",
    "LONG",
    "LONG_INCHES",
    "Box",
    "Drawn",
    "Panel",
    "column_of",
    "draw_panel",
    "draw_row",
    "drawn",
    "panel_size",
]

FAR = 20.0
"""How many times larger or smaller than its own are limits in which a map is hardly seen."""
BAR_SPACE = 1.0  # inches for the color bar and its words
BOX_INK = "#1a1a1a"
LONG, LONG_INCHES = 0.34, 4.2
"""Pictures of fewer rows for a column, such as lines of text, stand below each other, this wide."""
NARROWEST, TALLEST = 1.3, 7.0
FLATTEST_TALLEST = 0.05, 20.0
"""Height over width beyond which a picture is drawn squashed."""


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in parts of its width and height from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    name: str = ""
    """What is in it."""

    @property
    def is_high(self) -> bool:
        """Whether there is no room for its name above it."""
        return self.top < 0.08

    @property
    def is_right(self) -> bool:
        """Whether its name has more room to the left of its right edge."""
        return self.left + self.right > 1.2


@dataclass(frozen=True)
class Panel:
    """One picture of a grid: uint8 pixels, (H, W) or (H, W, 3), or a map of relevance, (H, W)."""

    image: NDArray[Any]
    caption: str = ""
    scale: float | None = None
    """The relevance that gets the darkest color [the 99.5th percentile]."""
    colors: Colormap = field(default_factory=lambda: COLORS)
    box: Box | None = None
    """Of what is explained; its name stands on pixels only."""

    @property
    def limit(self) -> float | None:
        """The relevance that gets the darkest color; None for pixels."""
        if self.image.dtype == np.uint8:
            return None
        return self.scale or color_limit(self.image)

    @property
    def clipped(self) -> bool:
        """Whether larger values are drawn like the largest."""
        limit = self.limit
        return limit is not None and bool(np.nanmax(np.abs(self.image), initial=0) > limit)


@dataclass(frozen=True)
class Drawn:
    """A map of relevance as it is drawn."""

    values: NDArray[np.float64]
    """(H, W), averaged where that was asked for or a lattice was measured."""
    period: int | None
    """Over how many pixels; None where it is as it was computed."""
    asked: bool
    """Whether the options said so."""
    limits: float | None = None
    """The relevance that was told to get the darkest color."""

    @property
    def done(self) -> str:
        """What was done to it, for a caption."""
        return f"averaged over {self.period} px" if self.period else ""

    @property
    def notes(self) -> list[str]:
        """What was done to it and nobody asked for, and limits in which hardly anything is seen."""
        if self.asked or not self.period:
            return self._unseen
        return [
            *self._unseen,
            f"averaged over {self.period} pixels, since strides leave a lattice of that period in "
            "the map (--smooth off leaves it there)",
        ]

    @property
    def _unseen(self) -> list[str]:
        own = color_limit(self.values)
        if self.limits is None or self.limits / FAR < own < self.limits * FAR:
            return []
        seen = "pale" if own < self.limits else "dark"
        return [
            f"with --limits {self.limits:g} the picture is {seen}: by itself its darkest color "
            f"would be {own:.2g}"
        ]

    def over(
        self, picture: NDArray[Any], limit: float, colors: Colormap, opacity: float
    ) -> NDArray[np.uint8]:
        """The overlay over that picture."""
        return overlay(picture, self.values, limit, colors, opacity)


def drawn(relevance: NDArray[Any], options: PictureOptions) -> Drawn:
    """A map (H, W) as the options want it drawn."""
    period = _smoothing(relevance, options)
    values = averaged(relevance, period) if period else relevance
    return Drawn(values, period, options.smooth != "auto", options.limits)


def _smoothing(relevance: NDArray[Any], options: PictureOptions) -> int | None:
    """Over how many pixels a map (H, W) is averaged; None for not at all."""
    if options.smooth == "off":
        return None
    pixels = lattice_period(relevance) if options.smooth == "auto" else int(options.smooth)
    return pixels if pixels and pixels > 1 else None


def draw_row(page: Page, row: Sequence[Panel | None], width: float, height: float) -> float:
    """Draw panels below their captions, not moving on; return the height of the captions."""
    column = column_of(width)
    lefts = [PAD + index * (column + PAD) for index in range(len(row))]
    placed = [(panel, left) for panel, left in zip(row, lefts, strict=True) if panel is not None]
    start = page.top
    captions = max(page.text(panel.caption, left, column) for panel, left in placed)
    page.top = start + captions
    for panel, left in placed:
        draw_panel(page.axes(left, width, height), panel, page.figure.dpi * width)
    page.top = start
    return captions


def panel_size(images: Sequence[NDArray[Any]], inches: float) -> tuple[float, float]:
    """One size for all, of the proportions of the first; very long pictures are drawn squashed."""
    height, width = images[0].shape[:2]
    aspect = float(np.clip(height / width, *FLATTEST_TALLEST))
    wide = inches * aspect**-0.25 if aspect < 1 else inches * aspect**-0.5
    wide = min(wide, TALLEST / aspect)
    return wide, wide * aspect


def column_of(width: float) -> float:
    """The width of a column of panels: a caption needs some, even over a very narrow picture."""
    return max(width, NARROWEST)


def draw_panel(axes: Axes, panel: Panel, dots: float, square: bool = False) -> None:
    """Fill axes of so many dots across with a panel. square: whether its pixels stay so."""
    limit = panel.limit
    axes.set_axis_off() if limit is None else axes.set(xticks=[], yticks=[])
    axes.spines[:].set(linewidth=0.4, color="#bbbbbb")
    # single values stay sharp squares; where there are more of them than dots they are averaged
    smooth = "antialiased" if panel.image.shape[1] > dots else "nearest"
    cmap = panel.colors if limit is not None else "gray"
    scale = {"norm": color_scale(limit)} if limit is not None else {"vmin": 0, "vmax": 255}
    aspect: Literal["equal", "auto"] = "equal" if square else "auto"
    axes.imshow(panel.image, cmap=cmap, interpolation=smooth, aspect=aspect, **scale)
    if panel.box is not None:
        _draw_box(axes, panel.box, named=limit is None)


def _draw_box(axes: Axes, box: Box, named: bool) -> None:
    """A dark line on a white one is seen on every photo."""
    corner, sides = (box.left, 1 - box.bottom), (box.right - box.left, box.bottom - box.top)
    for points, color in ((2.6, "white"), (1.2, BOX_INK)):
        line = Rectangle(corner, *sides, fill=False, linewidth=points, edgecolor=color)
        line.set_transform(axes.transAxes)
        axes.add_patch(line)
    if named and box.name:
        axes.text(
            box.right if box.is_right else box.left, 1 - box.top, plain(box.name),
            transform=axes.transAxes, fontsize=TEXT_POINTS - 1, family=FONTS, color="white",
            ha="right" if box.is_right else "left", va="top" if box.is_high else "bottom",
            parse_math=False, bbox={"facecolor": BOX_INK, "linewidth": 0, "pad": 1.5},
        )  # fmt: skip
