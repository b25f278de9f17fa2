"""Names of classes."""

import pytest

from lrp_onnx.data.labels import class_name, load_labels
from lrp_onnx.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("cat\ndog\n", {0: "cat", 1: "dog"}, id="lines"),
        pytest.param("\ufeffcat\r\n\r\ndog", {0: "cat", 1: "", 2: "dog"}, id="windows"),
        pytest.param('["cat", "dog"]', {0: "cat", 1: "dog"}, id="list"),
        pytest.param('{"7": "cat"}', {7: "cat"}, id="object"),
        pytest.param('{"0": ["n01440764", "tench"]}', {0: "tench"}, id="keras"),
    ],
)
def test_labels(tmp_path, text, expected):
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8")
    assert load_labels(path) == expected


@pytest.mark.parametrize("text", ["", "\n", "[1, 2]", '{"a": "b"}', "[", "[[]]", "{}"])
def test_bad_labels(tmp_path, text):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"labels\.txt"):
        load_labels(path)


def test_labels_that_cannot_be_read(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\xd8")
    for name in ("bytes.txt", "missing.txt", "."):
        with pytest.raises(InputError, match="labels"):
            load_labels(tmp_path / name)


def test_class_names():
    assert class_name({3: "cat"}, 3) == "cat (3)"
    assert class_name({3: "cat", 4: ""}, 4) == "class 4"
    assert class_name(None, 12) == "class 12"
