"""A model folder from anybody: whatever is changed in it, it loads or is refused in one line, in bounded memory."""

import json
import random
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app.classifier import Classifier
from app.model_files import ModelError
from tests.make_tiny_model import LABELS, write_calibration, write_tiny_model

ROOT = Path(__file__).resolve().parents[2]
MUTATIONS = 500
FILES = ("config.json", "preprocessor_config.json", "calibration.json")
VALUES = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2.5,
        10**6,
        10**400,
        -(10**400),
        1e308,
        "",
        "a",
        "1",
        "\n",
        "a\nb",
        "\ud800",
        "\x1b[2J",
    ),
    *([], {}, [[]], [1, 2, 3], [None, None, None], {"a": {}}, {"height": "64"}, ["a", ["b"], "c"], "Apparel", 1e-320),
)
TEXTS = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, '{"a":' * 100_000, "01", "'a'", "{1:2}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A model folder with every file that it may have."""
    folder = write_tiny_model(tmp_path_factory.mktemp("model"))
    unknown = {"method": "energy", "threshold": 0.5, "middle": -0.5, "width": 1.0}
    return write_calibration(folder, unknown=unknown, conformal={"quantile": 0.9})


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value, as the keys that lead to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def changed(content: dict, rng: random.Random) -> str:
    """The JSON text with one value replaced, removed or added somewhere."""
    place = rng.choice(places(content)[1:])
    copy = json.loads(json.dumps(content))
    parent = copy
    for key in place[:-1]:
        parent = parent[key]
    action = rng.choice(("value", "value", "value", "text", "remove", "rename"))
    if action == "remove":
        del parent[place[-1]]
    elif action == "rename" and isinstance(parent, dict):
        parent[str(rng.choice(VALUES[:18]))] = parent.pop(place[-1])
    elif action == "text":
        parent[place[-1]] = "HERE"
        return json.dumps(copy).replace('"HERE"', rng.choice(TEXTS))
    else:
        parent[place[-1]] = rng.choice(VALUES)
    return json.dumps(copy)


def encoded(text: str, rng: random.Random) -> bytes:
    """Mostly UTF-8; also other encodings, cut short, or with a byte changed."""
    kind = rng.choice(("utf-8",) * 12 + ("utf-16", "utf-32", "utf-8-sig", "cp037", "cut", "byte"))
    if kind == "cut":
        return text.encode()[: rng.randrange(len(text))]
    if kind == "byte":
        data = bytearray(text.encode())
        data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    return text.encode(kind)


def load_and_use(folder: Path) -> None:
    """Everything that reads the files' content, and printing the answer."""
    classifier = Classifier.load(folder, workers=1)
    prediction = classifier.predict([Image.new("RGB", (8, 8), "red")])[0]
    json.dumps(prediction.to_dict(), ensure_ascii=False, allow_nan=False).encode()


def test_500_changed_json_files_load_or_are_refused_in_one_line(folder):
    rng = random.Random(19)
    contents = {name: json.loads((folder / name).read_text()) for name in FILES}
    refused = 0
    for _ in range(MUTATIONS):
        name = rng.choice(FILES)
        data = encoded(changed(contents[name], rng), rng)
        (folder / name).write_bytes(data)
        try:
            load_and_use(folder)
        except ModelError as error:
            refused += 1
            assert str(error).isprintable() and len(str(error)) < 1000, (name, data[:300], error)
        except Exception as error:
            pytest.fail(f"{name} {data[:400]!r}: {type(error).__name__}: {error}")
        (folder / name).write_text(json.dumps(contents[name]))
    assert MUTATIONS / 2 < refused < MUTATIONS


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": NaN}', "NaN is not a number in JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8; save it in that encoding"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b"[]", "must hold a JSON object"),
    ],
)
def test_a_file_that_is_not_json_of_ours_is_named_with_the_reason(folder, name, data, message):
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=message) as caught:
        Classifier.load(folder)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_json_file_with_a_byte_order_mark_is_read(folder):
    for name in FILES:
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    load_and_use(folder)


def test_a_table_of_centres_whose_header_declares_100_gb_is_refused(folder):
    unknown = {"method": "centres", "threshold": 0.5, "middle": -0.5, "width": 1.0, "weight": 1.0}
    write_calibration(folder, unknown=unknown)
    with (folder / "unknown_centres.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (25_000_000, 1000)}
        )
    with pytest.raises(ModelError, match=r"unknown_centres\.npy cannot be read"):
        Classifier.load(folder)


def save_graph(folder: Path, nodes: list, initializers: list = (), size: int = 32) -> None:
    """A graph like the tiny model's, of nodes that make `extra` (labels,), which is added to the logits."""
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])
    weights = numpy_helper.from_array(np.ones((len(LABELS), 3), np.float32), "weights")
    tail = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weights"], ["plain"], transB=1),
        helper.make_node("Add", ["plain", "extra"], ["logits"]),
    ]
    graph = helper.make_graph([*nodes, *tail], "attack", [pixels], [logits], [weights, *initializers])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def declared(name: str, *dims: int) -> TensorProto:
    """A tensor that declares more than it holds."""
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 16)


MEAN = helper.make_node("ReduceMean", ["huge"], ["extra"], keepdims=0)
HUGE = 200_000_000_000  # float32: 800 GB


def grown_constant(folder: Path) -> None:
    save_graph(folder, [helper.make_node("ConstantOfShape", ["shape"], ["huge"]), MEAN], [ints("shape", HUGE)])


def grown_slightly_less(folder: Path) -> None:
    """24 GB: the kernel grants it, and the machine dies when it is written."""
    save_graph(folder, [helper.make_node("ConstantOfShape", ["shape"], ["huge"]), MEAN], [ints("shape", 6 * 10**9)])


def two_small_tensors_whose_sum_is_huge(folder: Path) -> None:
    column = numpy_helper.from_array(np.zeros((200_000, 1), np.float32), "column")
    row = numpy_helper.from_array(np.zeros((1, 200_000), np.float32), "row")
    save_graph(folder, [helper.make_node("Add", ["column", "row"], ["huge"]), MEAN], [column, row])


def growth_that_depends_on_the_image(folder: Path) -> None:
    pooled = helper.make_node("ReduceMean", ["pixel_values"], ["one"], keepdims=0)
    tile = helper.make_node("Expand", ["one", "shape"], ["huge"])
    save_graph(folder, [pooled, tile, MEAN], [ints("shape", 100_000, 100_000)])


def external_data(folder: Path) -> None:
    tensor = declared("extra", 4)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    save_graph(folder, [], [tensor])


def endless_loop(folder: Path) -> None:
    true = helper.make_node("Constant", [], ["still"], value=numpy_helper.from_array(np.array(True), "true"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["condition"], ["again"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [4]),
        ],
    )
    zeros = numpy_helper.from_array(np.zeros(4, np.float32), "zeros")
    save_graph(folder, [true, helper.make_node("Loop", ["", "still", "zeros"], ["extra"], body=body)], [zeros])


def attribute_tensor(folder: Path) -> None:
    save_graph(folder, [helper.make_node("Constant", [], ["huge"], value=declared("huge", HUGE)), MEAN])


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (
            lambda folder: save_graph(folder, [MEAN], [declared("huge", HUGE)]),
            r"of 200000000000 numbers, but holds 3\d",
        ),
        (lambda folder: save_graph(folder, [MEAN], [declared("huge", 2, -5)]), "but holds"),
        (lambda folder: save_graph(folder, [MEAN], [declared("huge", *[2] * 5000)]), "5000 dimensions"),
        (attribute_tensor, "numbers, but holds"),
        (external_data, "in another file"),
        (endless_loop, "uses Loop"),
        (grown_constant, "not a usable ONNX model"),
        (grown_slightly_less, "not a usable ONNX model"),
        (two_small_tensors_whose_sum_is_huge, "not a usable ONNX model"),
        (growth_that_depends_on_the_image, "not a usable ONNX model"),
    ],
)
def test_a_graph_that_needs_too_much_memory_is_refused_in_one_line(folder, attack, message):
    attack(folder)
    program = f"""
        import re, sys
        from app.classifier import Classifier
        from app.model_files import ModelError
        try:
            Classifier.load({str(folder)!r}, workers=1)
        except ModelError as error:
            print(error)
        print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1 and str(folder) in result.stdout
    assert re.search(message, result.stdout), result.stdout
    assert int(result.stderr.split()[-1]) < 400 * 1024, "KiB of memory"


def test_300_damaged_graphs_load_or_are_refused_in_one_line(folder):
    rng = random.Random(7)
    whole = (folder / "model.onnx").read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (folder / "model.onnx").write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        try:
            load_and_use(folder)
        except ModelError as error:
            assert "\n" not in str(error)


def test_the_limit_on_memory_is_lifted_after_loading(folder):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    load_and_use(folder)
    grown_constant(folder)
    with pytest.raises(ModelError):
        Classifier.load(folder)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_the_shipped_graphs_pass_the_check_of_declared_sizes():
    from app.onnx_check import check_graph

    for path in (ROOT / "app" / "models").glob("*/*.onnx"):
        check_graph(path)
        assert onnx.load(path).graph.node
