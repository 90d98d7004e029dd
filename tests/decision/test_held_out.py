"""What the model is run on before it is calibrated: which splits, which other images, which class means."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.model_files import ModelError
from evaluation.calibration import held_out_outputs
from evaluation.ood import centers_of, out_of_fold_centers
from evaluation.predictions import SplitOutputs
from tests.drawn_outputs import elsewhere, outputs, two_kinds


@pytest.fixture(scope="module")
def kinds() -> dict[str, SplitOutputs]:
    return two_kinds()


class Readers:
    """Stands for what reads images, and notes what it was asked for."""

    def __init__(self, monkeypatch, kinds: dict[str, SplitOutputs]):
        self.asked: list[tuple] = []
        answers = {
            "read_kinds": kinds,
            "read_others": {"tiles": elsewhere(5, 0)},
            "read_training": {"catalog": outputs(3, 1, 8, 4)},
            "run_split": outputs(3, 1, 12, 5),
            "out_of_fold_outputs": (outputs(3, 1, 8, 6), np.arange(8) % 2),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(f"evaluation.calibration.{name}", self.note(name, answer))

    def note(self, name, answer):
        def reader(*given):
            self.asked.append((name, *given))
            return answer

        return reader


class Graph(SimpleNamespace):
    name = "tiny"

    def __init__(self, *names: str):
        super().__init__(outputs={"logits", *names})


def test_one_kind_is_compared_with_the_means_of_its_training_images(monkeypatch, kinds):
    readers, graph = Readers(monkeypatch, {"catalog": kinds["catalog"]}), Graph("embeddings")
    held_out = held_out_outputs(graph, ["data/catalog"], {"a": ["b"]})
    assert readers.asked == [
        ("read_kinds", graph, ["data/catalog"], "validation", {"a": ["b"]}),
        ("run_split", graph, "data/catalog", "train", 4000),
    ]
    assert held_out.kinds == {"catalog": kinds["catalog"]} and not held_out.others and not held_out.learned
    expected = centers_of(outputs(3, 1, 12, 5), kinds["catalog"])
    assert np.array_equal(held_out.centers.similarity, expected.similarity)


def test_without_embeddings_or_labels_of_its_own_there_are_no_means(monkeypatch, kinds):
    bare = {"catalog": replace(kinds["catalog"], embeddings=None)}
    for given in (bare, {"photos": kinds["photos"]}):
        readers = Readers(monkeypatch, given)
        held_out = held_out_outputs(Graph("embeddings"), ["data/a"], {})
        assert held_out.centers is None and held_out.kinds == given
        assert [name for name, *_ in readers.asked] == ["read_kinds"]


def test_images_of_other_things_are_read_beside_training_images(monkeypatch, kinds):
    readers, graph, folders = Readers(monkeypatch, kinds), Graph("embeddings"), [Path("tiles")]
    held_out = held_out_outputs(graph, ["data/a", "data/b"], {"a": ["b"]}, folders)
    assert readers.asked == [
        ("read_kinds", graph, ["data/a", "data/b"], "validation", {"a": ["b"]}),
        ("read_training", graph, ["data/a", "data/b"], 1000),
        ("read_others", graph, folders),
    ]
    assert held_out.kinds == kinds and held_out.centers is None
    assert list(held_out.others) == ["tiles"] and list(held_out.learned) == ["catalog"]
    with pytest.raises(ModelError) as caught:
        held_out_outputs(Graph(), ["data/a"], {}, folders)
    assert str(caught.value) == "the graph of tiny has no embeddings: leave --others out, or run export.py"


def test_answers_out_of_fold_are_named_after_their_dataset(monkeypatch, tmp_path):
    readers, graph = Readers(monkeypatch, {}), Graph("embeddings")
    held_out = held_out_outputs(graph, [str(tmp_path / "mine")], {}, oof=tmp_path / "oof.parquet")
    assert readers.asked == [("out_of_fold_outputs", graph, tmp_path / "oof.parquet", str(tmp_path / "mine"))]
    assert list(held_out.kinds) == ["mine"]
    images = held_out.kinds["mine"]
    expected = out_of_fold_centers(images, np.arange(8) % 2)
    assert np.array_equal(held_out.centers.similarity, expected.similarity)
    bare = replace(images, embeddings=None)
    monkeypatch.setattr("evaluation.calibration.out_of_fold_outputs", lambda *_: (bare, np.arange(8) % 2))
    assert held_out_outputs(graph, ["data/mine"], {}, oof=tmp_path / "oof.parquet").centers is None
