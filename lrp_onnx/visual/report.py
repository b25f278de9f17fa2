"""Results as one self-contained HTML page, or as arrays.

The page holds its pictures as data URIs and forbids itself every request, so it can be mailed.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.data.layout import single_axes
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.visual.plot import MOST_SAMPLES, heatmap_png

__all__ = ["save_arrays", "save_html", "table_rows"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72em; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.15em; margin-top: 2.2em; }
img { display: block; max-width: 100%; height: auto; margin: 1em 0; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .2em 1.2em .2em 0;
         border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
th { font-weight: normal; color: #666; white-space: nowrap; }
footer { margin: 3em 0 1em; color: #666; font-size: .87em; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{sections}
<footer>
<p>{meaning} The darkest color stands for the 99.5th
percentile of |relevance|; larger values are drawn like it.</p>
{facts}
</footer>
</body>
</html>
"""


def save_html(
    path: str | os.PathLike[str],
    relevance: NDArray[Any],
    *,
    input: NDArray[Any] | None = None,
    heading: str = "Relevance",
    titles: Sequence[str],
    tables: Sequence[Mapping[str, str]],
    axes: str | None = None,
    preprocess: Preprocess | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    what: str = "relevance",
    meaning: str = "Red speaks for the explained output, blue against it.",
) -> None:
    """Write a page with title, picture and table of each sample (the first 16).

    titles, tables: one a sample, `table_rows` makes a table; meaning: of the colors; the
    other arguments as in `save_heatmap`. Raises OutputError where the file cannot be
    written, InputError as there.
    """
    axes = axes or single_axes(relevance.shape)
    if "N" not in axes:
        axes, relevance = "N" + axes, relevance[None]
        input = None if input is None else input[None]
    if not len(titles) == len(tables) == len(relevance):
        fact = f"{len(relevance)} samples, {len(titles)} titles, {len(tables)} tables"
        raise InputError(f"page '{path}': {fact}. Give one of each a sample.")
    sections = []
    for index in range(min(len(relevance), MOST_SAMPLES)):
        one = slice(index, index + 1)
        png = heatmap_png(
            relevance[one],
            input=None if input is None else input[one],
            axes=axes,
            preprocess=preprocess,
            tokens=None if tokens is None else tokens[one],
            names=names,
            metadata=metadata,
            what=what,
        )
        sections.append(_section(titles[index], png, tables[index]))
    if len(relevance) > MOST_SAMPLES:
        sections.append(f"<p>The first {MOST_SAMPLES} of {len(relevance)} samples.</p>")
    page = PAGE.format(
        title=escape(heading),
        style=STYLE,
        meaning=escape(meaning),
        sections="\n".join(sections),
        facts=_table(metadata or {}),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def table_rows(
    *, prediction: str, target: str, composite: str, total: float, start: float
) -> dict[str, str]:
    """The table of one sample: `total` is its sum of relevance, `start` the one it started with."""
    conservation = (
        f"{total / start:.2%} of the starting relevance {start:.5g}" if start else "started at 0"
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


def _section(title: str, png: bytes, table: Mapping[str, str]) -> str:
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    picture = f'<img alt="relevance of {escape(title)}" src="{source}">'
    return f"<section>\n<h2>{escape(title)}</h2>\n{picture}\n{_table(table)}\n</section>"


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n"
        for name, value in rows.items()
    )
    return f"<table>\n{cells}</table>" if cells else ""
