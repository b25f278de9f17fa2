"""Names of classes."""

import pytest

from lrp_onnx.data.labels import check_labels, class_name, labels_of, load_labels
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


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("a.json", '{"cat": 0, "dog": 1}', {0: "cat", 1: "dog"}, id="name-to-index"),
        pytest.param("a.json", '{"model": "m", "id2label": {"0": "cat"}}', {0: "cat"}, id="config"),
        pytest.param("a.json", '{"label2id": {"cat": 3}}', {3: "cat"}, id="label2id"),
        pytest.param("a.json", '[{"id": 2, "name": "cat"}]', {2: "cat"}, id="records"),
        pytest.param(
            "a.json", '[{"label": "cat"}, {"label": "dog"}]', {0: "cat", 1: "dog"}, id="no-id"
        ),
        pytest.param("a.csv", "cat\ndog\n", {0: "cat", 1: "dog"}, id="csv-names"),
        pytest.param("a.csv", "1,cat\n0,dog\n", {1: "cat", 0: "dog"}, id="csv-numbered"),
        pytest.param("a.csv", "name;id\ncat;4\n", {4: "cat"}, id="csv-header"),
        pytest.param("a.csv", 'id,name\n0,"tench, Tinca"\n', {0: "tench, Tinca"}, id="csv-quoted"),
        pytest.param("a.csv", "index,x,label\n0,9,cat\n", {0: "cat"}, id="csv-columns"),
        pytest.param("a.yaml", "names:\n  0: cat\n  1: dog\n", {0: "cat", 1: "dog"}, id="yaml"),
        pytest.param(
            "a.txt", "{0: 'tench, Tinca',\n 1: 'ray'}", {0: "tench, Tinca", 1: "ray"}, id="py"
        ),
        pytest.param("a.txt", "0 cat\n1 big dog\n", {0: "cat", 1: "big dog"}, id="numbers"),
        pytest.param("a.txt", "1: cat\n2: dog\n", {1: "cat", 2: "dog"}, id="numbers-from-1"),
        pytest.param("a.txt", "3 cats\n3 dogs\n", {0: "3 cats", 1: "3 dogs"}, id="no-numbers"),
        pytest.param("a.txt", "7\n8\n", {0: "7", 1: "8"}, id="names-of-digits"),
        pytest.param(
            "a.txt", "n01440764 tench\nn01443537 ray\n", {0: "tench", 1: "ray"}, id="synsets"
        ),
        pytest.param("a.yml", "- cat\n- dog\n", {0: "cat", 1: "dog"}, id="yaml-list"),
    ],
)
def test_forms_of_labels(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_labels(tmp_path / name) == expected


LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 10)
)
LAUGHS += "names: *a9\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,name\nx,cat\n"),
        ("a.yaml", "a: [b"),
        ("a.yaml", "3"),
        ("a.json", '{"names": [3]}'),
        ("a.yaml", LAUGHS),  # 9^9 names, if it were written out
    ],
)
def test_other_forms_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"labels '.*{name}'.*Write"):
        load_labels(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "classes", "said"),
    [
        (["a"], 3, "1 name for 3 classes of output 'y'"),
        (["a", "b", "c", "d", "e"], 3, "5 names for 3 classes of output 'y'"),
        (["background", "a", "b", "c"], 3, "'background', is that of a background class"),
        (["tench", "a", "b", "c"], 3, "'tench', is perhaps that of a background class"),
        (["a", "b"], 3, "put a name such as 'background' first"),
        ({5: "a"}, 3, "6 names for 3"),
        ({1: "a", 2: "b", 3: "c"}, 3, "numbers from 1 to 3 for 3 classes"),
    ],
)
def test_as_many_names_as_classes(names, classes, said):
    with pytest.raises(InputError, match="labels: ") as caught:
        check_labels(labels_of(names), classes, "y")
    assert said in str(caught.value)
    check_labels(labels_of(["a"] * 3), 3, "y")


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
