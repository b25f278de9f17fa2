"""One page of real explanations: photos, a detection, text, sound, a table, series, concepts.

    python model_zoo_scripts/gallery.py [FOLDER]

FOLDER [gallery] gets the models and inputs under plain names, runs the command of each entry there
as it stands on the page, and gets `index.html`: every picture with the command that made it, in one
file that can be mailed. An entry whose model or data cannot be had is left out, and the reason is
printed. Needs what obtain.py needs, and espeak-ng for the spoken word.
"""

from __future__ import annotations

import argparse
import base64
import html
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gallery_inputs import (
    concept_digits,
    detection,
    gesture,
    ocr_line,
    photo_of_cat,
    photo_of_two,
    power,
    review,
    spoken_word,
    table,
)
from obtain import Unavailable
from rich.progress import track

__all__ = ["ENTRIES", "Entry", "main", "make"]


@dataclass(frozen=True)
class Entry:
    """A picture of the page and what made it."""

    question: str
    text: str
    """What is seen, for someone who has never seen such a picture."""
    put: Callable[[Path], Mapping[str, str]]
    """Puts model and inputs into a folder; returns what the command's {fields} stand for."""
    command: str
    picture: str
    """That the command writes."""


PHOTO = "--preprocess photo.toml --labels imagenet.txt"
ENTRIES: Sequence[Entry] = (
    Entry(
        "Why a cat?",
        "A network that knows 1,000 things looks at a photo. Red are the pixels that speak for its "
        "answer: the eyes, the nose, the whiskers.",
        photo_of_cat,
        f"lrp-onnx efficientnet.onnx cat.png {PHOTO}",
        "cat.lrp.png",
    ),
    Entry(
        "Why coffee, and not a cat?",
        "The same network, a cup above a cat. Asked why it says espresso rather than cat, it "
        "points at the cup in red, and at the cat in blue: that would speak for the other answer.",
        photo_of_two,
        f'lrp-onnx efficientnet.onnx both.png {PHOTO} --target "espresso-tabby"',
        "both.lrp.png",
    ),
    Entry(
        "Where is the face?",
        "A detector gives boxes. Its best one is explained: the face itself, and hardly anything "
        "around it.",
        detection,
        "lrp-onnx detector.onnx astronaut.png",
        "astronaut.lrp.png",
    ),
    Entry(
        "Which letter is read here?",
        "A network reads a line of text. One of the letters is explained, and the network looks at "
        "that letter in the picture, although nobody told it where it stands.",
        ocr_line,
        "lrp-onnx ocr.onnx line.png --preprocess inception --labels characters.txt "
        "--target {place}",
        "line.lrp.png",
    ),
    Entry(
        "Why does it call this good review bad?",
        "Each word stands on the color of its share in the judgment. The network holds on to thin, "
        "plot and never, and misses that never bored is praise; wonderful speaks against it.",
        review,
        'lrp-onnx reviews.onnx "{sentence}" --labels judgment.txt -o review.png',
        "review.png",
    ),
    Entry(
        "Did somebody say Alexa?",
        "A network hears two seconds of sound and is sure that the word was said. Red are the "
        "moments that speak for it: mostly its beginning.",
        spoken_word,
        "lrp-onnx alexa.onnx alexa.wav --composite epsilon-plus-flat",
        "alexa.lrp.png",
    ),
    Entry(
        "Malignant or benign?",
        "A row of a table: thirty measurements of a tumor. The bars are the measurements, the most "
        "important first.",
        table,
        "lrp-onnx tumor.onnx measurements.csv --row 1 --labels tumor.txt",
        "measurements.lrp.png",
    ),
    Entry(
        "A gun, or a finger?",
        "The position of a hand over five seconds, which is raised, held and lowered. Asked why it "
        "says that a gun is drawn rather than a finger pointed: that the hand is held up speaks "
        "for it, how it comes down against it. (By gamma, which lrp-onnx evaluate finds more "
        "faithful here than the default.)",
        gesture,
        "lrp-onnx gesture.onnx hand.npy --labels gestures.txt --target "
        '"draws a gun-points a finger" --composite gamma',
        "hand.lrp.png",
    ),
    Entry(
        "Summer or winter?",
        "What a town uses of electricity from midnight to midnight, read by an LSTM, a network "
        "with a memory. Little at night and much before noon speak for summer. (By integrated "
        "gradients: the rules of LRP lose their sums in this LSTM, and lrp-onnx says so.)",
        power,
        "lrp-onnx power.onnx day.npy --labels seasons.txt --target summer-winter "
        "--method integrated-gradients --steps 512",
        "day.lrp.png",
    ),
    Entry(
        "What has a layer learned?",
        "Each row is one channel of an inner layer, and the digits in which it matters most for "
        "the answer. What they have in common is what the channel stands for.",
        concept_digits,
        "lrp-onnx concepts digits.onnx digits --preprocess unit --at {tensor} --channels 4 "
        "--examples 5",
        "concepts.png",
    ),
)
STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 54em; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.9em; line-height: 1.2; margin-bottom: .3em; }
h2 { font-size: 1.3em; margin: 3em 0 .2em; }
p { margin: .4em 0; max-width: 42em; } b.for { color: #c8372d; } b.against { color: #2a63b7; }
img { display: block; max-width: 100%; height: auto; margin: 1em 0; }
pre { background: #f4f4f2; border-radius: 6px; padding: .7em .9em; font-size: .8em;
      white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin: 4em 0 1em; color: #666; font-size: .85em; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Why did the network say that?</title><style>{style}</style></head>
<body><h1>Why did the network say that?</h1>
<p>Each picture below was made by the one command beneath it. <b class="for">Red</b> speaks for the
answer, <b class="against">blue</b> against it; what has no color does not matter.</p>
{entries}
<footer>Made with lrp-onnx by model_zoo_scripts/gallery.py. The models are their authors' own or
were trained there; photos: scikit-image and foolbox.</footer></body></html>
"""


def main() -> None:
    """Make the page; say what was left out, and why."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("gallery"), metavar="FOLDER",
        help="folder to write [gallery]",
    )  # fmt: skip
    parser.add_argument("--only", metavar="WORD", default="", help="entries whose picture has it")
    arguments = parser.parse_args()
    make(arguments.folder, arguments.only)


def make(folder: Path, only: str = "") -> None:
    """The same, into that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [entry for entry in ENTRIES if only in entry.picture]
    sections, began = [], time.monotonic()
    for entry in track(chosen, "explaining"):
        try:
            sections.append(section(entry, folder))
        except Unavailable as error:
            print(f"{entry.question} left out: {error}")
    page = folder / "index.html"
    page.write_text(PAGE.format(style=STYLE, entries="\n".join(sections)), encoding="utf-8")
    print(f"{len(sections)} of {len(chosen)} explanations in {page}, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip


def section(entry: Entry, folder: Path) -> str:
    """Run the entry's command; its part of the page."""
    command = entry.command.format(**entry.put(folder))
    words = shlex.split(command)
    program = shutil.which(words[0], path=Path(sys.executable).parent) or words[0]
    done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}{done.stderr}")
    print(f"$ {command}\n{done.stdout}{done.stderr}")
    picture = base64.b64encode((folder / entry.picture).read_bytes()).decode()
    question, text = html.escape(entry.question), html.escape(entry.text)
    return (
        f"<section><h2>{question}</h2>\n<p>{text}</p>\n"
        f'<img alt="{question}" src="data:image/png;base64,{picture}">\n'
        f"<pre>{html.escape(command)}</pre></section>"
    )


if __name__ == "__main__":
    main()
