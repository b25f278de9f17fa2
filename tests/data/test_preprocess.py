"""Pictures and arrays as model inputs; every row is one file or one model."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from lrp_onnx.data.inputs import load_input
from lrp_onnx.data.preprocess import (
    PRESETS,
    Preprocess,
    bounds,
    load_preprocess,
    normalize_pixels,
    restore_pixels,
)
from lrp_onnx.errors import InputError

F32, U8, I64 = np.dtype("float32"), np.dtype("uint8"), np.dtype("int64")


RED = (200, 40, 10)


def write(path, image, **options):
    image.save(path, **options)
    return path


def plain(path, size=(6, 4), color=RED, mode="RGB", **options):
    return write(path, Image.new(mode, size, color), **options)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("unit", [0.0], [1.0]),
        ("byte", [0.0], [255.0]),
        ("inception", [-1.0], [1.0]),
        ("imagenet", [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]),
    ],
)
def test_bounds_are_what_black_and_white_become(name, low, high):
    got = bounds(PRESETS[name])
    np.testing.assert_allclose(got, [low, high], atol=1e-6)
    black_and_white = normalize_pixels(np.array([[0] * 3, [255] * 3]), PRESETS[name])
    np.testing.assert_allclose(black_and_white, got * np.ones((2, 3)), atol=1e-12)


def test_bounds_of_a_negative_scale_are_in_order():
    assert bounds(Preprocess("inverted", scale=-1 / 255, mean=(-1.0,))) == ((0.0,), (1.0,))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("name", PRESETS)
def test_restore_is_the_inverse(name, order):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    preprocess = Preprocess(**{**vars(PRESETS[name]), "order": order})
    values = normalize_pixels(pixels, preprocess).astype(np.float32)
    np.testing.assert_array_equal(restore_pixels(values, preprocess), pixels)


def test_file_has_every_key(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'scale = 1\nmean = [104, 117, 123]\nstd = 2.0\norder = "BGR"\nfit = "letterbox"\n'
        'crop = 0.5\nfill = 114\nsize = [32, 48]\ninterpolation = "bicubic"\nlayout = "NHWC"\n'
    )
    assert load_preprocess(path) == Preprocess(
        "mine.toml", 1.0, (104.0, 117.0, 123.0), (2.0,), "BGR", "letterbox", 0.5, (114.0,),
        (32, 48), "bicubic", "NHWC",
    )  # fmt: skip


def test_both_spellings_of_a_crop(tmp_path):
    for spelling in ("center-crop", "centre-crop"):
        (tmp_path / "mine.toml").write_text(f'fit = "{spelling}"')
        assert load_preprocess(tmp_path / "mine.toml").fit == "center-crop"


def test_bgr_mean_is_in_the_order_of_the_model(tmp_path):
    preprocess = Preprocess("caffe", 1.0, (104.0, 117.0, 123.0), order="BGR")
    x = load_input(plain(tmp_path / "a.png"), ["N", 3, 4, 6], F32, preprocess)
    np.testing.assert_array_equal(x[0, :, 0, 0], [10 - 104, 40 - 117, 200 - 123])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("means = 1", "means", id="unknown-key"),
        pytest.param('mean = "0.5"', "mean", id="text-for-number"),
        pytest.param("mean = []", "mean", id="no-number"),
        pytest.param("mean = [true]", "mean", id="boolean"),
        pytest.param("mean = nan", "mean", id="nan"),
        pytest.param("std = [1, 0, 1]", "std", id="std-0"),
        pytest.param("scale = 0", "scale", id="scale-0"),
        pytest.param("scale = [1, 2]", "scale", id="two-scales"),
        pytest.param('order = "GBR"', "order", id="order"),
        pytest.param("fit = 3", "fit", id="fit"),
        pytest.param("size = 0", "size", id="size-0"),
        pytest.param("size = [1, 2, 3]", "size", id="three-sizes"),
        pytest.param("size = 2.5", "size", id="half-a-pixel"),
        pytest.param("crop = 1.5", "crop", id="crop"),
        pytest.param('interpolation = "area"', "interpolation", id="interpolation"),
        pytest.param('layout = "HWC"', "layout", id="layout"),
        pytest.param("scale = ", "bad.toml", id="not-toml"),
    ],
)
def test_bad_file_names_file_and_key(tmp_path, text, key):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.toml") as caught:
        load_preprocess(path)
    assert key in str(caught.value)


@pytest.mark.parametrize("name", ["imagenette", "none.toml", "a_folder.toml"])
def test_unknown_preprocess_lists_the_choices(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_folder.toml").mkdir()
    with pytest.raises(InputError, match=f"{name}.*imagenet, inception, unit, byte"):
        load_preprocess(name)


GRAY_OF_RED = 84  # ITU-R 601 luma


def palette(path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    return write(path, image)


def transparent_palette(path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    return write(path, image, transparency=1)


def sixteen_bit(path):
    return write(path, Image.fromarray(np.full((4, 6), 200 * 257 + 128, np.uint16)))


@pytest.mark.parametrize(
    ("name", "make", "color", "gray"),
    [
        ("rgb.png", plain, RED, GRAY_OF_RED),
        ("rgb.jpg", lambda p: plain(p, quality=100), RED, GRAY_OF_RED),
        ("wrong-suffix.txt", lambda p: plain(p, format="PNG"), RED, GRAY_OF_RED),
        ("gray.png", lambda p: plain(p, color=90, mode="L"), (90, 90, 90), 90),
        ("one-bit.png", lambda p: plain(p, color=1, mode="1"), (255, 255, 255), 255),
        ("palette.png", palette, RED, GRAY_OF_RED),
        ("palette-transparent.png", transparent_palette, (255, 255, 255), 255),
        ("half.png", lambda p: plain(p, color=(*RED, 128), mode="RGBA"), (227, 147, 132), 169),
        ("clear.png", lambda p: plain(p, color=(0, 0), mode="LA"), (255, 255, 255), 255),
        ("key.png", lambda p: plain(p, transparency=RED), (255, 255, 255), 255),
        ("sixteen.png", sixteen_bit, (200, 200, 200), 200 + 128 / 257),
        ("cmyk.jpg", lambda p: plain(p, color=(0, 255, 255, 0), mode="CMYK", quality=100),
         (255, 0, 0), 76),
    ],
)  # fmt: skip
def test_every_kind_of_picture(tmp_path, name, make, color, gray):
    path = make(tmp_path / name)
    x = load_input(path, [1, 3, 4, 6], F32, PRESETS["byte"])
    np.testing.assert_allclose(x[0, :, 2, 3], color, atol=2)
    x = load_input(path, [1, 1, 4, 6], F32, PRESETS["byte"])
    np.testing.assert_allclose(x[0, 0, 2, 3], gray, atol=0.01 if "sixteen" in name else 2)


def test_the_camera_orientation_is_applied(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    x = load_input(write(tmp_path / "a.png", image, exif=exif), [1, 1, 6, 4], F32, PRESETS["byte"])
    np.testing.assert_array_equal(x[0, 0], np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize(
    ("shape", "dtype", "preprocess", "expected"),
    [
        pytest.param(["N", 3, 8, 10], F32, "unit", (1, 3, 8, 10), id="nchw"),
        pytest.param(["N", 8, 10, 3], F32, "unit", (1, 8, 10, 3), id="nhwc"),
        pytest.param([1, 1, 28, 28], F32, "unit", (1, 1, 28, 28), id="gray"),
        pytest.param([1, 28, 28, 1], F32, "unit", (1, 28, 28, 1), id="gray-nhwc"),
        pytest.param(["N", 3, "h", "w"], F32, "unit", (1, 3, 4, 6), id="own-size"),
        pytest.param([None, 3, None, None], F32, Preprocess("a", size=(5, 7)), (1, 3, 5, 7),
                     id="size-of-the-file"),
        pytest.param(["N", 3, 8, "w"], F32, "unit", (1, 3, 8, 12), id="width-follows"),
        pytest.param(["N", 3, "h", 3], F32, "unit", (1, 3, 2, 3), id="height-follows"),
        pytest.param([None] * 4, F32, Preprocess("a", layout="NHWC"), (1, 4, 6, 3), id="layout"),
        pytest.param([3, 8, 10], F32, "unit", (3, 8, 10), id="no-batch"),
        pytest.param([8, 10, 3], F32, "unit", (8, 10, 3), id="no-batch-last"),
        pytest.param(["N", 8, 10], F32, "unit", (1, 8, 10), id="no-channels"),
        pytest.param(["N", 8, 10, 3], U8, None, (1, 8, 10, 3), id="uint8-as-it-is"),
        pytest.param([1, 3, 4, 6], np.dtype("int8"), Preprocess("q", 1.0, (128.0,)), (1, 3, 4, 6),
                     id="int8-shifted"),
        pytest.param([1, 3, 4, 6], np.dtype("float16"), "imagenet", (1, 3, 4, 6), id="float16"),
    ],
)  # fmt: skip
def test_size_and_layout_come_from_the_model(tmp_path, shape, dtype, preprocess, expected):
    preprocess = PRESETS.get(preprocess, preprocess) if preprocess != "unit" else PRESETS["unit"]
    x = load_input(plain(tmp_path / "a.png"), shape, dtype, preprocess)
    assert (x.shape, x.dtype) == (expected, dtype)


@pytest.mark.parametrize(
    ("fit", "crop", "expected"),
    [  # a picture of 8 x 4, left half 0, right half 200, to 4 x 4
        ("resize", 1.0, [[0, 0, 200, 200]] * 4),
        ("letterbox", 1.0, [[50] * 4, [0, 0, 200, 200], [0, 0, 200, 200], [50] * 4]),
        ("center-crop", 1.0, [[0, 0, 200, 200]] * 4),
    ],
)
def test_fits(tmp_path, fit, crop, expected):
    pixels = np.repeat(np.array([[0, 200]], np.uint8), 4, axis=1).repeat(4, axis=0)
    path = write(tmp_path / "a.png", Image.fromarray(pixels))
    preprocess = Preprocess("a", 1.0, fit=fit, crop=crop, fill=(50.0,), interpolation="nearest")
    x = load_input(path, [1, 1, 4, 4], F32, preprocess)
    np.testing.assert_array_equal(x[0, 0], expected)


def test_center_crop_keeps_that_part_of_the_side(tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    path = write(tmp_path / "a.png", Image.fromarray(pixels))
    preprocess = Preprocess("a", 1.0, fit="center-crop", crop=0.5)
    x = load_input(path, [1, 1, 4, 4], F32, preprocess)
    np.testing.assert_array_equal(x[0, 0], pixels[2:6, 2:6])


PICTURE = [1, 3, 4, 6]


@pytest.mark.parametrize(
    ("shape", "dtype", "preprocess", "says"),
    [
        pytest.param(["N", "seq"], I64, "byte", "token ids", id="text-model"),
        pytest.param(["N", 64], F32, "unit", r"\[N, 64\]: not a picture", id="features"),
        pytest.param(["N", 1, 9, 9, 9], F32, "unit", "not a picture", id="volume"),
        pytest.param(PICTURE, np.dtype(bool), "unit", "not a picture", id="boolean"),
        pytest.param([1, 4, 8, 8], F32, "unit", "neither axis", id="four-channels"),
        pytest.param([None] * 4, F32, "unit", "layout =", id="nothing-known"),
        pytest.param([1, 4, 8, 8], F32, Preprocess("a", layout="NCHW"), "4 channels", id="layout"),
        pytest.param([8, 3, 4, 6], F32, "unit", "Stack 8", id="fixed-batch"),
        pytest.param([64, 9, 9], F32, "unit", "no axis of 1 or 3", id="rank-3"),
        pytest.param(PICTURE, F32, None, "--preprocess imagenet, as most", id="no-preprocess"),
        pytest.param(PICTURE, U8, "imagenet", "cannot hold", id="normalized-uint8"),
        pytest.param(PICTURE, U8, "unit", "cannot hold", id="unit-uint8"),
        pytest.param([1, 1, 4, 6], F32, "imagenet", "has 3 numbers.*1 channel", id="gray-imagenet"),
        pytest.param(PICTURE, F32, Preprocess("a", size=(5, 5)), "Leave 'size' out", id="size"),
        pytest.param(PICTURE, F32, Preprocess("a", fit="letterbox", fill=(1.0, 2.0)), "'fill'",
                     id="fill"),
    ],
)  # fmt: skip
def test_pictures_that_do_not_fit(tmp_path, shape, dtype, preprocess, says):
    preset = PRESETS[preprocess] if isinstance(preprocess, str) else preprocess
    with pytest.raises(InputError, match=says):
        load_input(plain(tmp_path / "a.png", (12, 4)), shape, dtype, preset, name="x")


def png_bytes():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def huge_png():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = png_bytes()
    return data[:16] + header + data[29:]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("text.png", b"not a picture"),
        ("truncated.png", png_bytes()[:2000]),
        ("broken.png", png_bytes()[:300] + b"\0" * 500 + png_bytes()[800:]),
        ("huge.png", huge_png()),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("empty.npy", b""),
        ("text.npy", b"not an array"),
        ("truncated.npz", b"PK\x03\x04 and no more"),
    ],
)
def test_unreadable_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=name):
        load_input(path, PICTURE, F32, PRESETS["unit"])


@pytest.mark.parametrize("name", ["missing.png", "missing.npy", "folder.png", "folder.npy"])
def test_missing_files_and_folders(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputError, match=name):
        load_input(tmp_path / name, PICTURE, F32, PRESETS["unit"])


def test_damaged_pictures_never_raise_anything_else(tmp_path):
    rng, jpeg = np.random.default_rng(1), io.BytesIO()
    Image.open(io.BytesIO(png_bytes())).save(jpeg, "JPEG")
    path = tmp_path / "fuzz.png"
    for source in [png_bytes(), jpeg.getvalue()] * 60:
        data = np.frombuffer(source, np.uint8).copy()
        data[rng.integers(0, min(len(data), 400), 5)] = rng.integers(0, 256, 5)
        path.write_bytes(data.tobytes())
        try:
            x = load_input(path, [1, 3, 8, 8], F32, PRESETS["unit"])
        except InputError:
            continue
        assert x.shape == (1, 3, 8, 8)
