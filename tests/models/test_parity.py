"""A trained folder answers alike in transformers, predict.py, REST and the page, whatever the image's size and kind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import export
import predict
from app.decode_pool import DecodePool
from app.images import load_image, preprocess, target_size
from app.model_files import PREPROCESSOR_FILE
from app.model_json import read_json
from app.server import create_app
from app.service import Service
from models.export_onnx import ExportError
from models.stock_processor import check_stock_processor
from tests.drawings import draw
from tests.rest_client import running
from training.image_dataset import decode

SIZES = ((60, 80), (400, 300), (720, 960), (1080, 1920), (37, 211))
ENDINGS = (".jpg", ".png")
# Run in an empty folder: the folder must load without this project. The first lines mend a CPU build of torch beside
# a CUDA build of torchvision, as models/torchvision_cpu.py does, and know nothing of models.
STOCK = """
import json, sys, torch
try:
    library = torch.library.Library("torchvision", "DEF")
    if not torch.cuda.is_available() and not hasattr(torch.ops.torchvision, "nms"):
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
except RuntimeError:
    pass
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
folder, *paths = sys.argv[1:]
classify = pipeline("image-classification", model=folder)
processor, model = AutoImageProcessor.from_pretrained(folder), AutoModelForImageClassification.from_pretrained(folder)
answers = {}
for path in paths:
    with torch.inference_mode():
        logits = model(**processor(Image.open(path), return_tensors="pt")).logits[0]
    by_hand = {model.config.id2label[i]: p for i, p in enumerate(logits.softmax(-1).tolist())}
    answers[path] = [{row["label"]: row["score"] for row in classify(path, top_k=1000)}, by_hand]
assert "app" not in sys.modules and "models" not in sys.modules
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    paths = [str(folder / f"{width}x{height}{ending}") for width, height in SIZES for ending in ENDINGS]
    for number, path in enumerate(paths):
        draw(number, SIZES[number // len(ENDINGS)]).save(path)
    Image.new("L", (90, 50), 77).save(folder / "gray.png")
    # So large that a decoder could reduce it on the way, and every pixel counts.
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.jpg", quality=90)
    return [*paths, str(folder / "gray.png"), str(folder / "noise.jpg")]


def answers_of_predict(folder: Path, images: list[str], output: Path) -> dict[str, dict[str, float]]:
    given = ["--model", str(folder), "--image_path", *images, "--precision", "fp32", "--top_k", "1000"]
    predict.main([*given, "--output", str(output)])
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    return {row["image_path"]: {one["label"]: one["confidence"] for one in row["top_k"]} for row in rows}


def test_stock_transformers_and_predict_give_the_same_probabilities(trained, images, tmp_path):
    command = [sys.executable, "-c", STOCK, str(trained.resolve()), *images]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    ours = answers_of_predict(trained, images, tmp_path / "answers.jsonl")
    for path, theirs in json.loads(result.stdout.splitlines()[-1]).items():
        for stock in theirs:
            assert max(stock, key=stock.get) == max(ours[path], key=ours[path].get)
            assert max(abs(stock[label] - ours[path][label]) for label in stock) < 1e-3, path


def test_rest_and_the_page_say_what_predict_says(trained, images, tmp_path):
    shutil.copytree(trained, tmp_path / "models" / "drawn", ignore=shutil.ignore_patterns("checkpoint-*", "*.bin"))
    ours = answers_of_predict(trained, images, tmp_path / "answers.jsonl")
    pool = DecodePool(2)
    with running(create_app(Service(tmp_path / "models", pool))) as address:
        page = Client(address, verbose=False)
        for path in images:
            with open(path, "rb") as file:
                rest = httpx.post(f"{address}/v1/classify?top_k=20", files={"files": file}, timeout=60).json()
            rows = rest["results"][0], page.predict(image=handle_file(path), top_k=20, api_name="/classify")
            for row in rows:
                theirs = {one["label"]: one["confidence"] for one in row["top_k"]}
                assert row["label"] == max(ours[path], key=ours[path].get)
                assert max(abs(theirs[label] - ours[path][label]) for label in theirs) < 1e-3, path
    pool.close()


@pytest.mark.parametrize("size", SIZES)
def test_training_decodes_as_prediction_does(trained, images, size):
    preprocessor = read_json(trained / PREPROCESSOR_FILE, ValueError)
    side = preprocessor["size"]["height"]
    path = next(path for path in images if f"/{size[0]}x{size[1]}.jpg" in path)
    decoded = decode(Path(path).read_bytes(), side).transpose(2, 0, 1)
    read = preprocess(load_image(path, target_size(preprocessor)), preprocessor)
    mean = np.reshape(preprocessor["image_mean"], (3, 1, 1))
    std = np.reshape(preprocessor["image_std"], (3, 1, 1))
    assert np.abs((decoded / 255 - mean) / std - read).max() < 1e-5


def test_the_processor_is_a_stock_one_without_padding(trained):
    preprocessor = read_json(trained / PREPROCESSOR_FILE, ValueError)
    assert preprocessor["image_processor_type"] == "PilBackend"
    assert "do_pad_to_square" not in preprocessor
    assert not {"auto_map", "trust_remote_code"} & set(preprocessor)


@pytest.fixture
def own(trained, tmp_path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("config.json", PREPROCESSOR_FILE, "model.safetensors"):
        shutil.copy(trained / name, folder)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_processor_type": "ViTImageProcessor"}, "ViTImageProcessor of transformers reads an image of"),
        ({"do_center_crop": True, "crop_size": {"height": 24, "width": 24}}, "otherwise than predict.py"),
        ({"do_pad_to_square": True}, "pads images to a square"),
    ],
)
def test_a_folder_that_transformers_reads_otherwise_is_refused(own, change, message):
    content = read_json(own / PREPROCESSOR_FILE, ValueError)
    (own / PREPROCESSOR_FILE).write_text(json.dumps(content | change))
    with pytest.raises(ExportError, match=message):
        check_stock_processor(own)


def test_export_writes_nothing_unless_transformers_reads_images_alike(own, drawn_dataset):
    content = read_json(own / PREPROCESSOR_FILE, ValueError)
    (own / PREPROCESSOR_FILE).write_text(json.dumps(content | {"do_normalize": False}))
    with pytest.raises(SystemExit, match="nothing was written: .*otherwise than predict.py"):
        export.main(["--model", str(own), "--dataset", str(drawn_dataset)])
    assert not (own / "model.onnx").exists()
