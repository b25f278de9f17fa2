"""What each entry of the gallery needs in its folder: a model and an input, under plain names.

A function returns what its command's {fields} stand for; Unavailable where something is missing.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import shutil
import subprocess
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from feed_pictures import picture
from gallery_models import RATE, WINDOW_SECONDS, made, series, tokenizer_json
from obtain import Unavailable, model, read
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "concept_digits",
    "detection",
    "gesture",
    "ocr_line",
    "photo_of_cat",
    "photo_of_two",
    "power",
    "review",
    "spoken_word",
    "table",
]

Fields = Mapping[str, str]
NONE: Fields = {}
PREPROCESS = 'scale = 1\nmean = [127, 127, 127]\nstd = 128\nfit = "center-crop"\n'
CAT, COFFEE = "skimage/data/chelsea.png", "skimage/data/coffee.png"
SENTENCE = "The plot is thin, but the acting is wonderful and I was never bored."
OCR = "rapidocr/models/PP-OCRv6_rec_small.onnx"
SPEAKS = ("espeak-ng", "-v", "en-gb", "-s", "160", "-p", "60")
LINE, LETTER = "Opening hours 2026", "h"
CONCEPTS_AT = "relu3"


def copied(source: Path, folder: Path, name: str) -> Path:
    """A model under a plain name in the folder."""
    place = folder / name
    shutil.copyfile(source, place)
    return place


def photo_model(folder: Path) -> Path:
    """EfficientNet-lite0, how it wants its photos, and the names of its classes."""
    (folder / "photo.toml").write_text(PREPROCESS)
    (folder / "imagenet.txt").write_text("\n".join(imagenet_names()), encoding="utf-8")
    return copied(Path(str(model("efficientnet_lite0_legacy_bn"))), folder, "efficientnet.onnx")


def imagenet_names() -> list[str]:
    """The 1,000 names that torchvision has in a module of plain data."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise Unavailable("the names of ImageNet's classes are torchvision's, which is not there")
    text = (Path(found.origin).parent / "models" / "_meta.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_IMAGENET_CATEGORIES":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise Unavailable("torchvision has no list of ImageNet's classes any more")


def photo_of_cat(folder: Path) -> Fields:
    """Chelsea, by Stefan van der Walt."""
    photo_model(folder)
    picture("scikit-image", CAT).save(folder / "cat.png")
    return NONE


def photo_of_two(folder: Path) -> Fields:
    """A cup of coffee above the cat, in a square."""
    photo_model(folder)
    both = Image.new("RGB", (600, 600))
    for k, name in enumerate((COFFEE, CAT)):
        photo = picture("scikit-image", name)
        high = photo.width // 2
        top = (photo.height - high) // 2
        both.paste(photo.crop((0, top, photo.width, top + high)).resize((600, 300)), (0, 300 * k))
    both.save(folder / "both.png")
    return NONE


def detection(folder: Path) -> Fields:
    """A portrait of an astronaut, and a detector whose file says how it wants its pictures."""
    copied(Path(str(model("nudenet_yolov8n"))), folder, "detector.onnx")
    picture("scikit-image", "skimage/data/astronaut.png").save(folder / "astronaut.png")
    return NONE


def ocr_line(folder: Path) -> Fields:
    """A line of text; the entry of one letter in what the network reads."""
    place = folder / "ocr.onnx"
    place.write_bytes(read("rapidocr", OCR))
    metadata = {p.key: p.value for p in onnx.load(place).metadata_props}
    names = ["blank", *metadata["character"].split("\n"), " "]
    written = [name.replace(" ", "space") for name in names]
    (folder / "characters.txt").write_text("\n".join(written), encoding="utf-8")
    line = Image.new("RGB", (320, 48), "white")
    font = ImageFont.load_default(size=32)
    ImageDraw.Draw(line).text((8, 4), LINE, fill="#1c2f5c", font=font)
    line.save(folder / "line.png")
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    x = np.asarray(line, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    best = y[0].argmax(axis=1)
    letter = names.index(LETTER)
    where = int(np.flatnonzero(best == letter)[0])
    text = "".join(names[k] for k, _ in groupby(best) if k)
    print(f"the line is read as {text!r}")
    return {"place": f"{where},{letter}"}


def review(folder: Path) -> Fields:
    """A review in one sentence."""
    copied(made("reviews"), folder, "reviews.onnx")
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    (folder / "judgment.txt").write_text("bad\ngood\n")
    return {"sentence": SENTENCE}


def spoken_word(folder: Path) -> Fields:
    """The word, said by espeak-ng, with silence around it as long as the network listens."""
    import scipy.signal
    import soundfile

    if shutil.which("espeak-ng") is None:
        raise Unavailable("the word is said by espeak-ng, which is not installed (apt-get install)")
    copied(made("alexa"), folder, "alexa.onnx")
    said = subprocess.run([*SPEAKS, "--stdout", "Alexa"], capture_output=True, check=True)
    samples, own = soundfile.read(io.BytesIO(said.stdout), dtype="float32")
    samples = scipy.signal.resample_poly(samples, RATE, own) / 2
    loud = np.flatnonzero(np.abs(samples) > 0.005)
    samples = samples[loud[0] : loud[-1]]
    sound = np.zeros(round(WINDOW_SECONDS * RATE), np.float32)
    start = len(sound) - len(samples) - RATE // 4
    sound[start : start + len(samples)] = samples
    sound += 1e-3 * np.random.default_rng(0).standard_normal(len(sound), np.float32)
    soundfile.write(folder / "alexa.wav", sound, RATE)
    return NONE


def table(folder: Path) -> Fields:
    """Rows of scikit-learn's breast cancer data that the network was not trained on."""
    try:
        import pandas
        from sklearn.datasets import load_breast_cancer
        from train_skl import test_rows
    except ModuleNotFoundError as error:
        raise Unavailable(f"the table needs {error.name}") from error
    copied(Path(str(model("skl_mlp_bc"))), folder, "tumor.onnx")
    names = load_breast_cancer().feature_names
    rows = pandas.DataFrame(test_rows("skl_mlp_bc"), columns=names)
    rows.to_csv(folder / "measurements.csv", index=False)
    (folder / "tumor.txt").write_text("malignant\nbenign\n")
    return NONE


def gesture(folder: Path) -> Fields:
    """The height of a hand that draws a gun."""
    copied(made("gesture"), folder, "gesture.onnx")
    x, labels = series("GunPoint", "TEST")
    np.save(folder / "hand.npy", x[labels.index("1")][None])
    (folder / "gestures.txt").write_text("draws a gun\npoints a finger\n")
    return NONE


def power(folder: Path) -> Fields:
    """A day in summer."""
    copied(made("power"), folder, "power.onnx")
    x, labels = series("ItalyPowerDemand", "TEST")
    summer = [row for row, label in zip(x, labels, strict=True) if label == "2"]
    np.save(folder / "day.npy", summer[4].T[None])
    (folder / "seasons.txt").write_text("winter\nsummer\n")
    return NONE


def concept_digits(folder: Path) -> Fields:
    """The bundled network and 300 digits of MNIST that it was not trained on."""
    from lrp_onnx import digits

    (folder / "digits.onnx").write_bytes(digits.load()[0])
    (folder / "digits").mkdir(exist_ok=True)
    for digit in range(10):
        data = json.loads(read("mnist", f"package/src/digits/{digit}.json"))["data"]
        images = np.rint(255 * np.array(data[-30 * 784 :]).reshape(30, 28, 28)).astype(np.uint8)
        for k, image in enumerate(images):
            Image.fromarray(image).save(folder / "digits" / f"{digit}_{k:02}.png")
    return {"tensor": CONCEPTS_AT}
