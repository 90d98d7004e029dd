"""predict.py on a Ray cluster of two machines, both on this one: the same rows, also when one of them dies midway."""

import csv
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import predict
from app.images import ImageError
from inference import ray_engine
from inference.journal import Journal
from inference.options import PredictOptions, build_parser, parse_options
from tests.make_tiny_model import LABELS, save_image, write_calibration, write_tiny_model
from tests.tiny_titles import write_titles

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
UNITS = 24
ATTEMPTS = 5


@pytest.fixture(scope="module")
def cluster():
    """A head and one more node. Skipped where Ray is not installed or cannot start."""
    pytest.importorskip("ray", reason="needs the extra scale")
    from ray.cluster_utils import Cluster

    for attempt in range(ATTEMPTS):  # Ray gives a node 30 s to start, which a busy machine may not make
        try:
            cluster = Cluster(initialize_head=True, head_node_args=NODE)
            cluster.other = cluster.add_node(num_cpus=1, object_store_memory=NODE["object_store_memory"])
            break
        except Exception as error:  # Ray raises a plain one
            if attempt == ATTEMPTS - 1:
                pytest.skip(f"Ray cannot start here: {error}")
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """A list of UNITS units of images, by paths relative and absolute, with broken ones among them."""
    folder = tmp_path_factory.mktemp("catalogue")
    paths = [str(save_image(folder / f"{label}.png", label)) for label in LABELS]
    (folder / "broken.png").write_bytes(Path(paths[0]).read_bytes()[:60])
    few = [*paths, str(folder / "broken.png"), str(folder / "missing.png"), "relative.png"]
    many = few * (UNITS * ray_engine.UNIT // len(few))
    (folder / "list.txt").write_text("\n".join(many))
    return folder


def classify(model: str, *arguments: object) -> None:
    predict.main(["--model", model, "--image_path", *map(str, arguments)])


@pytest.mark.slow
def test_a_cluster_gives_the_rows_of_one_machine(cluster, model, catalog, tmp_path):
    images = [(catalog / f"{label}.png").read_bytes() for label in LABELS]
    pq.write_table(pa.table({"image": [*images, b"broken", None]}), tmp_path / "t.parquet", row_group_size=2)
    classify(model, tmp_path / "t.parquet", "--output", tmp_path / "one.csv")
    classify(model, tmp_path / "t.parquet", "--output", tmp_path / "two.csv", *on(cluster))
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()


@pytest.mark.slow
def test_a_cluster_reads_titles_as_one_machine_does(cluster, tmp_path):
    titled = str(write_titles(write_calibration(write_tiny_model(tmp_path / "model"))))
    image = save_image(tmp_path / "shirt.png", "Shirts").name
    titles = ["Acme Women Olive Shirt", "", "Zenit Women Blue Ballerina Flats"]
    lines = [f"{image},{title}" for title in titles] + ["missing.png,Zenit Women Blue Scarf", "missing.png,"]
    (tmp_path / "catalogue.csv").write_text("\n".join(["file,name", *lines * 40]))
    arguments = [tmp_path / "catalogue.csv", "--title_column", "name", "--output"]
    for output, more in (("one.csv", []), ("two.csv", on(cluster))):
        classify(titled, *arguments, tmp_path / output, *more)
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()
    answered = [row["answered_from"] for row in csv.DictReader((tmp_path / "two.csv").open(newline=""))]
    assert answered == ["both", "image", "both", "title", ""] * 40


@pytest.mark.slow
def test_a_node_that_dies_midway_costs_no_row_and_doubles_none(cluster, model, catalog, tmp_path, monkeypatch):
    arguments = [f"@{catalog / 'list.txt'}", "--output"]
    classify(model, *arguments, tmp_path / "one.jsonl")
    append, killed = Journal.append, []

    def then_kill(journal, name, prediction):
        append(journal, name, prediction)
        if journal.done == ray_engine.UNIT and not killed:
            killed.append(cluster.other.node_id)
            cluster.remove_node(cluster.other, allow_graceful=False)

    monkeypatch.setattr(Journal, "append", then_kill)
    classify(model, *arguments, tmp_path / "two.jsonl", *on(cluster))
    assert killed
    assert (tmp_path / "two.jsonl").read_text() == (tmp_path / "one.jsonl").read_text()


def on(cluster) -> list[str]:
    return ["--engine", "ray", "--address", cluster.address]


def test_without_ray_the_cure_is_named(capsys, model, catalog, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as stop:
        classify(model, catalog / "Flats.png", "--engine", "ray")
    assert stop.value.code == 2
    assert 'pip install -e ".[scale]"' in capsys.readouterr().err


def options_for(model: str) -> PredictOptions:
    return parse_options(build_parser(""), ["--model", model, "--image_path", "a.png", "--engine", "ray"])


def test_the_machines_get_the_code_and_the_model_and_nothing_else(model, tmp_path):
    assert ray_engine.stage(options_for(model).models, tmp_path) == [Path("models/0")]
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    code = {"inference/readers/parse.py", "app/classifier.py", "app/zip_archive.py", "inference/ray_engine.py"}
    assert {*code, "models/0/model.onnx"} <= files
    assert not [file for file in files if file.endswith((".pt", ".md")) or file.startswith(("tests", "runs", "data/"))]


WORK_ON_A_MACHINE = """
import pickle, sys
from inference import ray_engine
from inference.readers import archive, object_store, table
options, path = pickle.loads(sys.stdin.buffer.read())
print(ray_engine.Worker(options).classify([(path, path)])[0])
"""


def test_the_staged_code_is_complete(model, tmp_path):
    """What a machine imports must be among what it is sent."""
    image = save_image(tmp_path / "a.png", "Flats")
    models = ray_engine.stage(options_for(model).models, tmp_path / "stage")
    sent = pickle.dumps((replace(options_for(model), readers=(), models=models), str(image)))
    command = [sys.executable, "-c", WORK_ON_A_MACHINE]
    done = subprocess.run(command, cwd=tmp_path / "stage", input=sent, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)[1]["label"] == "Flats"


def test_tables_and_images_together_are_refused(capsys, model, catalog):
    pq.write_table(pa.table({"image": ["a.png"]}), catalog / "t.parquet")
    with pytest.raises(SystemExit) as stop:
        classify(model, catalog / "Flats.png", catalog / "t.parquet", "--engine", "ray")
    assert stop.value.code == 2
    assert "not both at once" in capsys.readouterr().err


def test_paths_reach_the_machines_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = ImageError("gone")
    assert ray_engine.portable(("a.png", "a.png")) == ("a.png", str(tmp_path / "a.png"))
    assert ray_engine.portable(("b.png", error)) == ("b.png", error)
