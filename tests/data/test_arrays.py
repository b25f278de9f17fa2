"""Arrays as inputs: what fits, and what is refused."""

import io
import zipfile

import numpy as np
import pytest

from lrp_onnx.data.inputs import fit_array, load_input
from lrp_onnx.errors import InputError

F32, U8, I64 = np.dtype("float32"), np.dtype("uint8"), np.dtype("int64")


@pytest.mark.parametrize(
    ("array", "shape", "dtype", "expected"),
    [
        pytest.param(np.ones((2, 5), "f4"), ["N", 5], F32, (2, 5), id="as-it-is"),
        pytest.param(np.ones(5, "f4"), ["N", 5], F32, (1, 5), id="batch-added"),
        pytest.param(np.ones((1, 5), "f8"), ["N", 5], F32, (1, 5), id="float64"),
        pytest.param(np.full((1, 5), np.nan), ["N", 5], F32, (1, 5), id="nan-stays"),
        pytest.param(np.ones((1, 5), "i4"), ["N", None], I64, (1, 5), id="int32"),
        pytest.param(np.ones((), "f4"), [1], F32, (1,), id="scalar"),
        pytest.param(np.ones((2, 5), "f4"), [-1, 5], F32, (2, 5), id="open-as--1"),
        pytest.param(np.array([["a"]]), ["N", 1], np.dtype(object), (1, 1), id="text"),
    ],
)
def test_arrays_that_fit(array, shape, dtype, expected):
    fitted = fit_array(array, shape, dtype, name="x")
    assert (fitted.shape, fitted.dtype) == (expected, dtype)
    np.testing.assert_array_equal(fitted.ravel(), array.ravel())


@pytest.mark.parametrize(
    ("array", "shape", "dtype", "says"),
    [
        pytest.param(np.ones((1, 2, 5), "f4"), ["N", 5], F32, r"\[1, 2, 5\].*\[N, 5\]", id="rank"),
        pytest.param(np.ones((1, 6), "f4"), ["N", 5], F32, r"\[1, 6\].*\[N, 5\]", id="size"),
        pytest.param(np.ones((1, 5), "u1"), ["N", 5], F32, "uint8.*float32", id="bytes-for-float"),
        pytest.param(np.ones((1, 5), "f4"), ["N", 5], I64, "float32.*int64", id="float-for-ids"),
        pytest.param(np.full((1, 5), 300), ["N", 5], U8, "cannot hold", id="over-uint8"),
        pytest.param(np.full((1, 5), 1e300), ["N", 5], F32, "cannot hold", id="over-float32"),
        pytest.param(np.array([["a"]]), ["N", 1], F32, "<U1.*float32", id="text"),
    ],
)
def test_arrays_that_do_not_fit(array, shape, dtype, says):
    with pytest.raises(InputError, match=says):
        fit_array(array, shape, dtype, name="x")


def test_npz_by_name_or_alone(tmp_path):
    a, b = np.zeros((1, 2), "f4"), np.ones((1, 2), "f4")
    np.savez(tmp_path / "two.npz", a=a, b=b)
    np.savez(tmp_path / "one.npz", whatever=b)
    np.savez(tmp_path / "none.npz")
    assert load_input(tmp_path / "two.npz", ["N", 2], F32, name="b").sum() == 2
    assert load_input(tmp_path / "one.npz", ["N", 2], F32, name="x").sum() == 2
    with pytest.raises(InputError, match="no array 'x'; it holds 'a', 'b'"):
        load_input(tmp_path / "two.npz", ["N", 2], F32, name="x")
    with pytest.raises(InputError, match="holds nothing"):
        load_input(tmp_path / "none.npz", ["N", 2], F32, name="x")


def test_of_an_archive_the_array_alone_is_read(tmp_path):
    """Not what else is in it, however much; what is called an array and is none is refused."""
    array, other = io.BytesIO(), io.BytesIO()
    np.save(array, np.ones((1, 2), "f4"))
    with zipfile.ZipFile(other, "w") as inside:
        inside.writestr("x.npy", array.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", array.getvalue())
        archive.writestr("../junk", b"\0" * 99)
    content = (tmp_path / "x.npz").read_bytes().replace(b"\0" * 99, b"\1" * 99)  # a wrong sum
    (tmp_path / "x.npz").write_bytes(content)
    assert load_input(tmp_path / "x.npz", ["N", 2], F32, name="other").sum() == 2
    with zipfile.ZipFile(tmp_path / "nested.npz", "w") as archive:
        archive.writestr("x.npy", other.getvalue())
    with pytest.raises(InputError, match="not an array file"):
        load_input(tmp_path / "nested.npz", ["N", 2], F32)
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(99):
            archive.writestr(f"{number}.npy", array.getvalue())
    with pytest.raises(InputError, match=r"'15' and 83 more\. Name one"):
        load_input(tmp_path / "many.npz", ["N", 2], F32, name="x")


def test_pickled_objects_are_not_run(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        load_input(tmp_path / "a.npy", ["N", 1], F32)
