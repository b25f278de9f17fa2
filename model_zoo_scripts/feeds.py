"""What each real model is shown, prepared as its authors prepare it, and what it must then say.

Every feed is one array for the model's only input. Pictures come from the archives of zoo.toml,
text is rendered by Pillow, and models with random weights see seeded normal numbers.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from obtain import TABLE, Unavailable, members, read
from PIL import Image, ImageDraw, ImageFont

__all__ = ["feed", "imagenet_photos", "prediction", "scaled"]

Array = NDArray[np.float32]


def floats(values: ArrayLike | Image.Image) -> Array:
    """Return numbers or a picture [H,W,C] as float32."""
    return np.asarray(values, np.float32)


MEAN, STD = floats([0.485, 0.456, 0.406]), floats([0.229, 0.224, 0.225])


def picture(key: str, member: str) -> Image.Image:
    """Return an RGB picture out of an archive."""
    return Image.open(io.BytesIO(read(key, member))).convert("RGB")


def nchw(pictures: ArrayLike) -> Array:
    """Return pictures [N,H,W,C] as [N,C,H,W], contiguous."""
    return np.ascontiguousarray(floats(pictures).transpose(0, 3, 1, 2))


def normalised(pictures: Sequence[Image.Image]) -> Array:
    """Return pictures under ImageNet normalisation, [N,3,H,W]."""
    return nchw([(floats(picture) / 255 - MEAN) / STD for picture in pictures])


def imagenet_photos() -> list[tuple[int, Image.Image]]:
    """Return foolbox's 20 ImageNet photos, 512 x 512, each with its class (in the file's name)."""
    names = sorted(name for name in members("foolbox") if "data/imagenet_" in name)
    return [(int(name[:-4].rsplit("_", 1)[1]), picture("foolbox", name)) for name in names]


def scaled(photos: Sequence[Image.Image]) -> Array:
    """Return photos as efficientnet_lite0 takes them: 224 bicubic, (x - 127) / 128, NCHW."""
    small = [photo.resize((224, 224), Image.Resampling.BICUBIC) for photo in photos]
    return nchw([(floats(photo) - 127) / 128 for photo in small])


def imagenet(shape: Sequence[int]) -> Array:
    """Four photos, of the classes that zoo.toml expects."""
    photos = dict(imagenet_photos())
    classes = TABLE["models"]["efficientnet_lite0_dynamo"]["expect"]
    return scaled([photos[label] for label in classes])


def page_turned(shape: Sequence[int]) -> Array:
    """A scanned page in a white square, turned by 0, 90, 180 and 270 degrees clockwise."""
    page = picture("scikit-image", "skimage/data/page.png")
    page.thumbnail((320, 320), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (320, 320), "white")
    square.paste(page, ((320 - page.width) // 2, (320 - page.height) // 2))
    return normalised([square.rotate(-angle) for angle in (0, 90, 180, 270)])


def brain(shape: Sequence[int]) -> Array:
    """Axial slice z = 90 of the MNI152 T1 template, a healthy brain, [1,240,240,3] in 0..1."""
    name = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    nifti = gzip.decompress(read("nilearn", name))
    # NIfTI-1: the sizes are eight int16 at byte 40, the voxels begin where the float at 108 says.
    sizes = np.frombuffer(nifti, "<i2", 8, offset=40)[1:4]
    start = int(np.frombuffer(nifti, "<f4", 1, offset=108)[0])
    volume = np.frombuffer(nifti, np.uint8, offset=start).reshape(sizes, order="F")
    grey = Image.fromarray(np.ascontiguousarray(np.rot90(volume[:, :, 90])))
    return floats(grey.resize((240, 240)).convert("RGB"))[None] / floats(255)


def executable(shape: Sequence[int]) -> Array:
    """A benign Windows program, its bytes as rows of grey pixels."""
    data = np.frombuffer(read("pip", "pip/_vendor/distlib/t64.exe"), np.uint8)
    width = 2 ** (int(math.log2(math.isqrt(len(data)))) + 1)
    rows = data[: len(data) // width * width].reshape(-1, width)
    grey = Image.fromarray(rows).resize((224, 224))
    return normalised([grey.convert("RGB")])


def astronaut(shape: Sequence[int]) -> Array:
    """A portrait: 256 bilinear, once through JPEG, centre 224, BGR less its mean, NHWC."""
    photo = picture("scikit-image", "skimage/data/astronaut.png")
    jpeg = io.BytesIO()
    photo.resize((256, 256), Image.Resampling.BILINEAR).save(jpeg, "JPEG")
    centre = floats(Image.open(jpeg).convert("RGB"))[16:240, 16:240]
    return (centre[None, :, :, ::-1] - floats([104, 117, 123])).copy()


def text_line(shape: Sequence[int]) -> Array:
    """A rendered line of text, upright and upside down, [2,3,48,192] in -1..1."""
    line = Image.new("RGB", (330, 48), "white")
    font = ImageFont.load_default(size=34)
    ImageDraw.Draw(line).text((6, 4), "HELLO World 2024", fill="black", font=font)
    line = line.resize((192, 48))
    return nchw([floats(turned) / 127.5 - 1 for turned in (line, line.rotate(180))])


def sklearn_digits(shape: Sequence[int]) -> Array:
    """Eight held-out digits of scikit-learn, [8,64] in 0..16."""
    try:
        from train_skl import test_rows
    except ModuleNotFoundError as error:
        raise Unavailable(f"scikit-learn's digits need {error.name}") from error
    rows: Array = test_rows()
    return rows


def noise(shape: Sequence[int]) -> Array:
    """Seeded normal numbers of the input's own shape."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


FEEDS: dict[str, Callable[[Sequence[int]], Array]] = {
    feed.__name__: feed
    for feed in (
        imagenet,
        page_turned,
        brain,
        executable,
        astronaut,
        text_line,
        sklearn_digits,
        noise,
    )
}


def feed(name: str, shape: Sequence[int]) -> Array:
    """Return the input of a model. shape: its input's, as the model states it.

    Raises Unavailable where the data behind it cannot be had.
    """
    return FEEDS[TABLE["models"][name]["feed"]](shape)


def prediction(name: str, output: NDArray[np.floating]) -> str:
    """Return "correct", or "no class" where none is known. Raises ValueError for a wrong class."""
    expect = TABLE["models"][name].get("expect")
    if expect is None:
        return "no class"
    found = output.argmax(axis=-1).ravel().tolist()
    if found != expect:
        raise ValueError(f"predicts {found}, should be {expect}")
    return "correct"
