"""What lies beside the answers of a folder: a page that leads to them, and their predictions."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrp_onnx.answer.output_files import without_folders
from lrp_onnx.answer.samples import Written

__all__ = ["index_paths", "write_index"]

COLUMNS = (
    *("file", "answer", "prediction", "probability"),
    *("explained", "relevance", "explained_value"),
)
Answers = Mapping[Path, tuple[Path, Sequence[Written]]]
"""By input the file that answers, and what is said of it."""


def index_paths(place: Path, answers: Sequence[Path]) -> list[Path]:
    """The page and the tables; of names that no answer has."""
    names = ["index.html", "predictions.csv", "predictions.json"]
    return [place / (f"_{name}" if place / name in answers else name) for name in names]


def write_index(paths: Sequence[Path], answers: Answers, model: Path) -> None:
    """Write page, CSV and JSON. Raises OutputError where they cannot be written."""
    from lrp_onnx.visual.report import Card, save_index

    page, table, record = paths
    rows = _rows(answers)
    cards = []
    for file, (answer, written) in answers.items():
        sample = written[0].samples[0]
        cards.append(Card(answer.name, sample.headline, file.name, written[0].thumbnail))
    about = next((written[0].about for _, written in answers.values()), {})
    metadata = {k: v for k, v in without_folders(about).items() if k != "input"}
    save_index(page, cards, heading=f"Relevance: {model.name}", metadata=metadata)
    with table.open("w", newline="", encoding="utf-8") as file_:
        writer = csv.DictWriter(file_, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    record.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")


def _rows(answers: Answers) -> list[dict[str, object]]:
    """A row for each sample; relevance in the unit of the explained output."""
    return [
        dict(
            zip(
                COLUMNS,
                (
                    file.name,
                    answer.name,
                    sample.prediction,
                    sample.probability,
                    sample.explained or sample.prediction,
                    sample.total,
                    sample.start,
                ),
                strict=True,
            )
        )
        for file, (answer, written) in answers.items()
        for part in written
        for sample in part.samples
    ]
