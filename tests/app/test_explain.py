"""Heat maps: they show the part of the image that is evidence for the label, and hiding it lowers the confidence."""

import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import predict
from app.classifier import Classifier
from app.explain import OVERLAY_SIDE, heat_map, overlay
from inference.explanations import explanation_path
from tests.drawings import encode
from tests.make_tiny_model import SIDE, WEIGHTS, write_tiny_model

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = 0.2  # the share of the image that the deletion test hides
GRID = 8


@pytest.fixture(scope="module", params=["class_maps", "occlusion"])
def classifier(request, tmp_path_factory) -> Classifier:
    folder = write_tiny_model(tmp_path_factory.mktemp("model"))
    if request.param == "class_maps":
        onnx.save(graph_with_class_maps(), folder / "model.onnx")
    return Classifier.load(folder, workers=1)


def graph_with_class_maps() -> onnx.ModelProto:
    """The tiny model with its last layer at each of 4x4 places, which are then averaged to the logits."""
    pixel_values = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(WEIGHTS)]),
        helper.make_tensor_value_info("class_maps", TensorProto.FLOAT, ["batch", len(WEIGHTS), 4, 4]),
    ]
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["places"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["places", "weights"], ["class_maps"]),
        helper.make_node("GlobalAveragePool", ["class_maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    weights = numpy_helper.from_array(WEIGHTS.reshape(-1, 3, 1, 1), "weights")
    graph = helper.make_graph(nodes, "tiny", [pixel_values], outputs, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def image_with(color: str, box: tuple[int, int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    """A gray image with a rectangle of one color, which decides its label."""
    image = Image.new("RGB", size, (60, 60, 60))
    image.paste(color, box)
    return encode(image, "PNG")


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (34, 34, 64, 64), (34, 0, 64, 30)])
def test_the_heat_lies_where_the_color_of_the_label_is(classifier, box):
    heat = heat_map(classifier, image_with("#ff0000", box), "Tshirts")
    left, top, right, bottom = (side // 2 for side in box)
    inside = np.zeros(heat.shape, bool)
    inside[top:bottom, left:right] = True
    assert heat.shape == (SIDE, SIDE)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, 1)
    assert inside.ravel()[heat.argmax()]
    assert heat[inside].mean() > 2 * heat[~inside].mean()


def test_each_label_has_its_own_heat(classifier):
    image = Image.open(io.BytesIO(image_with("#ff0000", (0, 0, 30, 64)))).convert("RGB")
    image.paste("#00ff00", (34, 0, 64, 64))
    red, green = heat_map(classifier, image, "Tshirts"), heat_map(classifier, image, "Shirts")
    assert red[:, :12].mean() > 0.5 > red[:, 20:].mean()
    assert green[:, 20:].mean() > 0.5 > green[:, :12].mean()


def test_the_heat_of_an_image_of_one_color_is_finite(classifier):
    assert np.isfinite(heat_map(classifier, Image.new("RGB", (20, 20), "#ff0000"))).all()


def test_an_unknown_label_is_refused(classifier):
    with pytest.raises(ValueError, match="the model has no label 'Hats'; it has Tshirts"):
        heat_map(classifier, Image.new("RGB", (8, 8)), "Hats")


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (1500, 1000), (64, 64)])
def test_an_overlay_has_the_shape_of_the_image_and_glows_at_the_right_place(size):
    heat = np.zeros((32, 32), np.float32)
    heat[12:20, 12:20] = 1  # the middle, which stays the middle after padding
    drawn = overlay(Image.new("RGB", size, "white"), heat)
    width, height = drawn.size
    pixels = np.asarray(drawn, dtype=int)
    assert max(drawn.size) == OVERLAY_SIDE
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    assert pixels[height // 2, width // 2].sum() > pixels[2, 2].sum() + 150


def test_the_padding_is_cropped_from_an_overlay():
    heat = np.zeros((32, 32), np.float32)
    heat[:6] = 1  # on the padding above a wide image
    pixels = np.asarray(overlay(Image.new("RGB", (200, 100), "white"), heat), dtype=int)
    assert np.ptp(pixels[10:, :, 0]) < 10


def test_the_command_draws_one_image_per_classified_image(capsys, tmp_path):
    model = write_tiny_model(tmp_path / "model")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x y.png").write_bytes(image_with("#ff0000", (0, 0, 30, 30), (60, 80)))
    (tmp_path / "broken.png").write_text("not an image")
    inputs = [str(tmp_path / name) for name in ("a", "broken.png", "b")]
    code = predict.main(["--model", str(model), "--image_path", *inputs, "--explain", str(tmp_path / "why" / "so")])
    drawn = sorted((tmp_path / "why" / "so").iterdir())
    assert code == 1
    assert [path.name for path in drawn] == ["0001_x_y.png", "0003_x_y.png"]
    assert Image.open(drawn[0]).size == (384, 512)


def deletion_score(classifier: Classifier, images: list) -> float:
    """How often hiding the hottest fifth of an image lowers its label's confidence more than hiding random fifths."""
    rng = np.random.default_rng(0)
    hits = []
    for image in images:
        pixels = classifier.read(image)
        label = int(classifier.logits(pixels[None]).argmax())
        heat = heat_map(classifier, image)
        hottest = heat > np.quantile(heat, 1 - HIDDEN)
        masks = [hottest, *(random_mask(heat.shape, rng) for _ in range(4))]
        hidden = [np.where(mask, pixels.mean(axis=(1, 2), keepdims=True), pixels) for mask in masks]
        confidences = classifier.probabilities(classifier.logits(np.stack(hidden).astype(np.float32)))[:, label]
        hits.append(confidences[0] < confidences[1:].mean())
    return float(np.mean(hits))


def random_mask(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Squares of a grid, a fifth of them."""
    chosen = rng.permutation(GRID * GRID) < HIDDEN * GRID * GRID
    rows, columns = (np.arange(side) * GRID // side for side in shape)
    return chosen.reshape(GRID, GRID)[rows[:, None], columns]


def shipped_model() -> Classifier:
    return Classifier.load(ROOT / "app" / "models" / "fashion", workers=1)


def test_hiding_the_hottest_part_of_the_examples_matters_more_than_hiding_any_part():
    images = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    assert len(images) > 10
    assert deletion_score(shipped_model(), images) > 0.6


@pytest.mark.real_data
@pytest.mark.slow
def test_hiding_the_hottest_part_of_real_products_matters_more_than_hiding_any_part(shared):
    with zipfile.ZipFile(shared / "data/kaggle/fashion-product-images-small.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        images = [archive.read(name) for name in np.random.default_rng(0).choice(names, 40, replace=False)]
    assert deletion_score(shipped_model(), images) > 0.6


@pytest.mark.parametrize(
    ("name", "drawn"), [("../a/b.png", "0007_b.png"), ("x.zip/../../etc\x1b.png", "0007_etc_.png")]
)
def test_an_explanation_is_named_inside_its_folder(tmp_path, name, drawn):
    assert explanation_path(tmp_path, 7, name) == tmp_path / drawn


@pytest.mark.filterwarnings("error")
def test_heat_with_sharp_edges_leaves_no_holes_in_a_squeezed_image():
    """Enlarged smoothly, it goes below 0 beside an edge."""
    heat = np.zeros((8, 8), np.float32)
    heat[2:5, 2:5] = 1
    marked = np.asarray(overlay(Image.new("RGB", (300, 200), "white"), heat, padded=False))
    assert marked.min() > 60
