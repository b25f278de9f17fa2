"""Pictures for the real models, prepared as their authors prepare them.

They come from the archives of zoo.toml; text is rendered by Pillow.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from obtain import TABLE, members, read
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "Array",
    "astronaut",
    "brain",
    "captcha",
    "cat",
    "executable",
    "imagenet",
    "imagenet_photos",
    "page",
    "page_turned",
    "portrait",
    "scaled",
    "text_line",
]

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


def normalized(pictures: Sequence[Image.Image]) -> Array:
    """Return pictures under ImageNet normalization, [N,3,H,W]."""
    return nchw([(floats(picture) / 255 - MEAN) / STD for picture in pictures])


def imagenet_photos() -> list[tuple[int, Image.Image]]:
    """Return foolbox's 20 ImageNet photos, 512 x 512, each with its class (in the file's name)."""
    names = sorted(name for name in members("foolbox") if "data/imagenet_" in name)
    return [(int(name[:-4].rsplit("_", 1)[1]), picture("foolbox", name)) for name in names]


def scaled(photos: Sequence[Image.Image]) -> Array:
    """Return photos as efficientnet_lite0 takes them: 224 bicubic, (x - 127) / 128, NCHW."""
    small = [photo.resize((224, 224), Image.Resampling.BICUBIC) for photo in photos]
    return nchw([(floats(photo) - 127) / 128 for photo in small])


def imagenet() -> Array:
    """Four photos, of the classes that zoo.toml expects."""
    photos = dict(imagenet_photos())
    classes = TABLE["models"]["efficientnet_lite0_dynamo"]["expect"]
    return scaled([photos[label] for label in classes])


def page_turned() -> Array:
    """A scanned page in a white square, turned by 0, 90, 180 and 270 degrees clockwise."""
    page = picture("scikit-image", "skimage/data/page.png")
    page.thumbnail((320, 320), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (320, 320), "white")
    square.paste(page, ((320 - page.width) // 2, (320 - page.height) // 2))
    return normalized([square.rotate(-angle) for angle in (0, 90, 180, 270)])


def brain() -> Array:
    """Axial slice z = 90 of the MNI152 T1 template, a healthy brain, [1,240,240,3] in 0..1."""
    name = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    nifti = gzip.decompress(read("nilearn", name))
    # NIfTI-1: the sizes are eight int16 at byte 40, the voxels begin where the float at 108 says.
    sizes = np.frombuffer(nifti, "<i2", 8, offset=40)[1:4]
    start = int(np.frombuffer(nifti, "<f4", 1, offset=108)[0])
    volume = np.frombuffer(nifti, np.uint8, offset=start).reshape(sizes, order="F")
    gray = Image.fromarray(np.ascontiguousarray(np.rot90(volume[:, :, 90])))
    return floats(gray.resize((240, 240)).convert("RGB"))[None] / floats(255)


def executable() -> Array:
    """A benign Windows program, its bytes as rows of gray pixels."""
    data = np.frombuffer(read("pip", "pip/_vendor/distlib/t64.exe"), np.uint8)
    width = 2 ** (int(math.log2(math.isqrt(len(data)))) + 1)
    rows = data[: len(data) // width * width].reshape(-1, width)
    gray = Image.fromarray(rows).resize((224, 224))
    return normalized([gray.convert("RGB")])


def astronaut() -> Array:
    """A portrait: 256 bilinear, once through JPEG, center 224, BGR less its mean, NHWC."""
    photo = picture("scikit-image", "skimage/data/astronaut.png")
    jpeg = io.BytesIO()
    photo.resize((256, 256), Image.Resampling.BILINEAR).save(jpeg, "JPEG")
    center = floats(Image.open(jpeg).convert("RGB"))[16:240, 16:240]
    return (center[None, :, :, ::-1] - floats([104, 117, 123])).copy()


def page() -> Array:
    """A scanned page, [1,3,192,384] under ImageNet normalization."""
    return normalized([picture("scikit-image", "skimage/data/page.png").resize((384, 192))])


def portrait() -> Array:
    """The same portrait as a detector takes it: [1,3,320,320] in 0..1."""
    photo = picture("scikit-image", "skimage/data/astronaut.png").resize((320, 320))
    return nchw([floats(photo) / 255])


def cat() -> Array:
    """A photo of a cat, [1,3,224,224] under ImageNet normalization."""
    return normalized([picture("scikit-image", "skimage/data/chelsea.png").resize((224, 224))])


def captcha() -> Array:
    """The letters A7K2 in black on white, [1,1,64,160] in 0..1."""
    picture = Image.new("L", (160, 64), 255)
    font = ImageFont.load_default(size=38)
    ImageDraw.Draw(picture).text((20, 10), "A7K2", fill=0, font=font)
    return floats(picture)[None, None] / floats(255)


def text_line() -> Array:
    """A rendered line of text, upright and upside down, [2,3,48,192] in -1..1."""
    line = Image.new("RGB", (330, 48), "white")
    font = ImageFont.load_default(size=34)
    ImageDraw.Draw(line).text((6, 4), "HELLO World 2024", fill="black", font=font)
    line = line.resize((192, 48))
    return nchw([floats(turned) / 127.5 - 1 for turned in (line, line.rotate(180))])
