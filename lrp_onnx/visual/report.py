"""Results as one self-contained HTML page, or as arrays.

The page holds its pictures as data URIs and forbids itself every request, so it can be mailed.
Its pictures stand side by side where there is room, and one below the other on a phone.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from html import escape
from typing import Any
from urllib.parse import quote
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from matplotlib.colors import Colormap, to_hex
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lrp_onnx.errors import plain
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.visual.heatmap import COLORS, color_scale
from lrp_onnx.visual.page import FOR_AND_AGAINST, Ends, Page
from lrp_onnx.visual.panel import BOX_INK, Box, Panel

__all__ = [
    "Card",
    "Figure",
    "Section",
    "data_uri",
    "figure_of",
    "save_arrays",
    "save_html",
    "save_index",
    "table_rows",
    "thumbnail_of",
]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70em; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.4em; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.2em; margin: 2.2em 0 0; }
.why { margin: 0; color: #666; font-size: .9em; }
.row { display: grid; gap: 1em; margin: 1em 0; align-items: start;
       grid-template-columns: repeat(auto-fit, minmax(min(100%, 15em), 1fr)); }
figure { margin: 0; max-width: 24em; }
figure.wide { max-width: none; grid-column: 1 / -1; }
img { display: block; width: 100%; height: auto; border-radius: 3px; }
figure.wide img { width: auto; max-width: 100%; }
.framed { position: relative; }
.framed i { position: absolute; box-sizing: border-box; border: 2px solid BOX_INK;
            outline: 1px solid white; }
.framed b { position: absolute; bottom: 100%; padding: 0 .4em; background: BOX_INK; color: white;
            font: .75em/1.5 system-ui, sans-serif; white-space: nowrap; }
.words { line-height: 2; font-size: 1.1em; }
.words span { padding: .15em .3em; border-radius: 3px; }
figcaption { font-size: .87em; color: #666; }
.bar { display: flex; gap: .6em; align-items: center; font-size: .87em; color: #444; }
.bar i { height: .7em; width: 12em; border-radius: 2px; }
table { border-collapse: collapse; font-size: .9em; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25em 1em .25em 0;
         border-bottom: 1px solid #e4e4e4; overflow-wrap: anywhere; }
th { font-weight: normal; color: #666; width: 9em; overflow-wrap: normal; }
details { margin: 1em 0; color: #444; } summary { cursor: pointer; color: #666; }
footer { margin: 3em 0 1em; color: #666; font-size: .87em; }
.cards { display: grid; gap: 1.2em; grid-template-columns: repeat(auto-fill, minmax(11em, 1fr)); }
.cards a { color: inherit; text-decoration: none; }
.cards b { display: block; line-height: 1.3; overflow-wrap: anywhere; }
.cards small { color: #666; overflow-wrap: anywhere; }
@media (max-width: 30em) { body { margin: 1em auto; } .cards { grid-template-columns: 1fr 1fr; } }
""".replace("BOX_INK", BOX_INK)
OF_WORDS = "The darkest color is that of the word with the most |relevance|."
OF_MAPS = (
    "The darkest color stands for the 99.5th percentile of |relevance| unless limits are given; "
    "larger values are drawn like it."
)
"""What the darkest color stands for."""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src {images}; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Figure:
    """One picture of a page."""

    png: bytes
    caption: str = ""
    wide: bool = False
    """Whether it has a row of its own, as charts have."""
    box: Box | None = None
    """Drawn by the page over the picture."""


@dataclass(frozen=True)
class Section:
    """What a page says of one sample."""

    title: str
    figures: Sequence[Figure]
    subtitle: str = ""
    table: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    """Of a text, as HTML."""


def figure_of(panel: Panel | Page, metadata: Mapping[str, str] | None = None) -> Figure:
    """Pixels or a map of relevance in its colors, one pixel a value; or a whole drawn page."""
    if isinstance(panel, Page):
        return Figure(panel.encoded("png", metadata or {}), wide=True)
    box = panel.box
    if box is not None and panel.limit is not None:
        box = replace(box, name="")
    return Figure(_png(_image(panel)), panel.caption, box=box)


def thumbnail_of(panel: Panel) -> bytes:
    """The same as one PNG, with the box in its pixels: a page of many draws nothing over it."""
    image = _image(panel).convert("RGB")
    if panel.box is not None:
        width, height = image.size
        sides = zip(astuple(panel.box)[:4], (width, height) * 2, strict=True)
        corners = [round(part * (size - 1)) for part, size in sides]
        thin = max(1, round(max(image.size) / 200))
        draw = ImageDraw.Draw(image)
        grown = [corner + sign * thin for corner, sign in zip(corners, (-1, -1, 1, 1), strict=True)]
        draw.rectangle(grown, outline="white", width=3 * thin)
        draw.rectangle(corners, outline=BOX_INK, width=thin)
    return _png(image)


def _image(panel: Panel) -> Image.Image:
    """Its pixels, one a value."""
    if panel.limit is None:
        return Image.fromarray(panel.image)
    colored = panel.colors(color_scale(panel.limit)(panel.image))[..., :3]
    return Image.fromarray(np.rint(255 * colored).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def save_html(
    path: str | os.PathLike[str],
    sections: Sequence[Section],
    *,
    heading: str = "Relevance",
    meaning: str = "Red speaks for the explained output, blue against it.",
    ends: Ends = FOR_AND_AGAINST,
    colors: Colormap = COLORS,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a page with a section for each sample. meaning: of the colors, whose ends the color
    bar names. Raises OutputError where the file cannot be written.
    """
    body = [
        f"<p>{_shown(meaning)}</p>",
        _color_bar(ends, colors),
        *map(_section, sections),
        f"<footer>\n<p>{OF_WORDS if any(s.words for s in sections) else OF_MAPS}</p>",
        f"{_table(metadata or {})}\n</footer>",
    ]
    page = PAGE.format(title=_shown(heading), style=STYLE, images="data:", body="\n".join(body))
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


@dataclass(frozen=True)
class Card:
    """One answer of many: a picture that leads to the file, and what is said of it."""

    file: str
    """Relative to the page."""
    title: str
    text: str = ""
    png: bytes = b""
    """Small; nothing where there is no picture."""


def save_index(
    path: str | os.PathLike[str],
    cards: Sequence[Card],
    *,
    heading: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a page of many answers, each leading to its file. Raises OutputError."""
    body = [
        f"<p>{len(cards)} answers. Red speaks for what is written below each, blue against it.</p>",
        '<div class="cards">',
        *map(_card, cards),
        f"</div>\n<footer>\n{_table(metadata or {})}\n</footer>",
    ]
    page = PAGE.format(title=escape(heading), style=STYLE, images="data:", body="\n".join(body))
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _card(card: Card) -> str:
    image = f'<img alt="" src="{data_uri(card.png)}">' if card.png else ""
    words = f"<b>{escape(card.title)}</b><small>{escape(card.text)}</small>"
    return f'<a href="{escape(quote(card.file))}">{image}{words}</a>'


def data_uri(png: bytes) -> str:
    """A picture as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def table_rows(
    *, prediction: str, target: str, composite: str, total: float, start: float
) -> dict[str, str]:
    """The table of one sample: `total` is its sum of relevance, `start` the one it started with."""
    conservation = (
        f"{total / start:z.2%} of the starting relevance {start:.5g}" if start else "started at 0"
    )
    return {
        "prediction": prediction,
        "target": target,
        "composite": composite,
        "sum of relevance": f"{total:.5g}",
        "conservation": conservation,
    }


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays as .npz, with what they were made by as JSON text under `metadata`.

    Raises OutputError where the file cannot be written.
    """
    text = np.array(json.dumps(dict(metadata or {}), ensure_ascii=False))
    with atomic(path) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        for name, array in {**arrays, "metadata": text}.items():  # savez refuses the name 'file'
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _shown(text: str) -> str:
    """Text from a file in a page: nothing in it is HTML or turns text around."""
    return escape(plain(text))


def _section(section: Section) -> str:
    figures = "\n".join(_figure(figure, section.title) for figure in section.figures)
    why = f'<p class="why">{_shown(section.subtitle)}</p>' if section.subtitle else ""
    details = f"<details><summary>numbers</summary>\n{_table(section.table)}</details>"
    row = f'<div class="row">\n{figures}\n</div>' if figures else ""
    return (
        f"<section>\n<h2>{_shown(section.title)}</h2>\n{why}\n{section.words}{row}\n"
        f"{details if section.table else ''}\n</section>"
    )


def _figure(figure: Figure, title: str) -> str:
    kind = ' class="wide"' if figure.wide else ""
    caption = f"<figcaption>{_shown(figure.caption)}</figcaption>" if figure.caption else ""
    alt = f"{figure.caption or 'relevance'}: {title}"
    picture = f'<img alt="{_shown(alt)}" src="{data_uri(figure.png)}">'
    if figure.box is not None:
        picture = f'<div class="framed">{picture}{_frame(figure.box)}</div>'
    return f"<figure{kind}>{picture}{caption}</figure>"


def _frame(box: Box) -> str:
    """The box over the picture that it follows, with its name where it has one."""
    sides = [box.left, box.top, box.right - box.left, box.bottom - box.top]
    names = ("left", "top", "width", "height")
    place = "; ".join(f"{n}: {side:.2%}" for n, side in zip(names, sides, strict=True))
    at = f"{'right' if box.is_right else 'left'}: -2px{'; bottom: auto' if box.is_high else ''}"
    name = f'<b style="{at}">{_shown(box.name)}</b>' if box.name else ""
    return f'<i style="{place}">{name}</i>'


def _color_bar(ends: Ends, colors: Colormap) -> str:
    steps = ", ".join(to_hex(colors(k / 10)) for k in range(11))
    bar = f'<i style="background: linear-gradient(to right, {steps})"></i>'
    return f'<div class="bar">{_shown(ends[0])} {bar} {_shown(ends[1])}</div>'


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(
        f"<tr><th>{_shown(name)}</th><td>{_shown(value)}</td></tr>\n"
        for name, value in rows.items()
    )
    return f"<table>\n{cells}</table>" if cells else ""
