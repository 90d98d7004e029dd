"""calibration.json: what is written is what is read, and what cannot be read is named in one line."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from app.calibration import (
    CENTERS_FILE,
    Calibration,
    CalibrationError,
    UnknownDetector,
    model_hash,
    read_thresholds,
)
from evaluation.calibration import FEW_ROWS, HeldOut, fit_calibration, fit_softmax, fitted_softmax, write_calibration
from tests.drawn_outputs import TREE, outputs, smoothed_answers
from tests.make_tiny_model import LABELS, write_tiny_model


def held_out() -> HeldOut:
    return HeldOut({"catalog": outputs(6, 1, 800, 0)})


def written(folder: Path, **changes) -> Path:
    """A model folder with a calibration in which these keys are others."""
    write_tiny_model(folder)
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    write_calibration(folder, fitted | changes, detector)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(CalibrationError) as caught:
        Calibration.load(folder, TREE.levels, TREE.paths)
    message = str(caught.value)
    cure = "; run calibrate.py on this model again, or delete it"
    assert message.startswith(f"{folder / 'calibration.json'}: ") and message.endswith(cure)
    return message.removeprefix(f"{folder / 'calibration.json'}: ").removesuffix(cure)


# --- written and read -------------------------------------------------------------------------------------------------


def test_what_is_fitted_is_what_is_read(tmp_path):
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    (tmp_path / CENTERS_FILE).write_bytes(b"of another detector")
    write_calibration(tmp_path, fitted, detector)
    assert not (tmp_path / CENTERS_FILE).exists()
    read = Calibration.load(tmp_path, TREE.levels, TREE.paths)
    assert read.temperature == fitted["temperature"] and read.target_precision == 0.95
    assert read.thresholds == [fitted["thresholds"][level] for level in TREE.levels]
    assert read.prediction_set_quantile == fitted["conformal"]["quantile"]
    assert (read.unknown.method, read.unknown.middle, read.unknown.width) == ("energy", detector.middle, detector.width)
    assert fitted["rows"] == {"catalog": 800}
    assert fitted["category_shares"] == {"Apparel": 0.75, "Footwear": 0.25}
    assert set(fitted["threshold_intervals"]) == set(TREE.levels)
    without, _ = fit_calibration(TREE, held_out(), 0.95, None)
    assert without["conformal"] is None


def test_class_means_are_written_in_16_bits_beside_the_file(tmp_path):
    detector = UnknownDetector("centres", 0.5, 0.0, 1.0, 2.0, np.array([[0.6, 0.8]], dtype=np.float32))
    write_calibration(tmp_path, {"version": 1}, detector)
    stored = np.load(tmp_path / CENTERS_FILE)
    assert stored.dtype == np.float16 and stored == pytest.approx(np.array([[0.6, 0.8]]), abs=1e-3)
    assert json.loads((tmp_path / "calibration.json").read_text()) == {"version": 1}


def test_a_floor_is_written_with_three_digits_and_read_again(tmp_path):
    held_out = HeldOut({"catalog": smoothed_answers(FEW_ROWS, 4)})
    fitted, detector = fit_calibration(TREE, held_out, 0.9, None)
    floor = fit_softmax(held_out.pooled()[0]).floor
    assert fitted["floor"] == [float(f"{share:.3g}") for share in floor] and max(fitted["floor"]) > 0.01
    write_calibration(tmp_path, fitted, detector)
    read = Calibration.load(tmp_path, TREE.levels, TREE.paths)
    assert read.floor.tolist() == fitted["floor"] and read.floor.dtype == np.float64
    again = fitted_softmax(fitted)
    assert (again.temperature, again.floor.tolist()) == (fitted["temperature"], fitted["floor"])
    assert fitted_softmax(fitted | {"floor": None}).floor is None


def test_a_calibration_belongs_to_the_graph_that_it_was_made_for(tmp_path, capsys):
    folder = written(tmp_path / "model", model_sha256="0" * 64)
    assert Calibration.load(folder, TREE.levels, TREE.paths) is None
    assert capsys.readouterr().err == (
        f"{folder / 'calibration.json'} was made for another model.onnx than the one beside it: it is not used; run "
        "calibrate.py on this model again\n"
    )
    own = written(tmp_path / "own", model_sha256=model_hash(folder / "model.onnx"))
    assert Calibration.load(own, TREE.levels, TREE.paths).target_precision == 0.95


def test_a_graph_has_another_hash_when_its_file_changes_and_the_same_in_another_place(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"one")
    assert model_hash(first) == model_hash(second) == hashlib.sha256(b"one").hexdigest()
    first.write_bytes(b"two")
    os.utime(first, ns=(second.stat().st_atime_ns, second.stat().st_mtime_ns + 1))
    assert model_hash(first) == hashlib.sha256(b"two").hexdigest()
    longer = second.stat()
    second.write_bytes(b"three")
    os.utime(second, ns=(longer.st_atime_ns, longer.st_mtime_ns))
    assert model_hash(second) == hashlib.sha256(b"three").hexdigest()


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("temperature", 0, "temperature is 0; it must be a number above 0"),
        ("floor", [0.1], f"floor must be {len(LABELS)} numbers from 0 to below 1"),
        ("temperature", -1.0, "above 0"),
        ("target_precision", 1.01, "from 0 to 1"),
        ("target_precision", -0.01, "from 0 to 1"),
        ("conformal", {"quantile": 2}, "conformal quantile"),
        ("version", 2, "version 2 is not 1"),
        ("unknown", {"method": "head", "threshold": 0.5, "middle": 0, "width": 1, "head": [1, 2, 3]}, "more than 3"),
        ("unknown", {"method": "energy", "threshold": "x", "middle": 0, "width": 1}, "unknown threshold"),
        ("unknown", {"method": "energy", "threshold": 0.5, "middle": 0, "width": 0}, "width is 0"),
    ],
)
def test_a_value_outside_its_range_is_named(tmp_path, key, value, message):
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    write_calibration(tmp_path, fitted | {key: value}, detector)
    with pytest.raises(CalibrationError, match=message):
        Calibration.load(tmp_path, TREE.levels, TREE.paths)


@pytest.mark.parametrize(("key", "value"), [("target_precision", 0), ("target_precision", 1), ("temperature", 1e-9)])
def test_a_value_at_the_end_of_its_range_is_taken(tmp_path, key, value):
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    write_calibration(tmp_path, fitted | {key: value}, detector)
    assert getattr(Calibration.load(tmp_path, TREE.levels, TREE.paths), key) == value


def test_a_missing_level_or_category_is_named(tmp_path):
    fitted, _ = fit_calibration(TREE, held_out(), 0.95, 0.9)
    least = fitted["thresholds"]
    folder = written(tmp_path / "a", thresholds={level: least[level] for level in TREE.levels[:2]})
    assert refusal(folder) == "it has no thresholds for the level 'articleType' of the model's taxonomy"
    folder = written(tmp_path / "b", thresholds=least | {"articleType": {"Flats": 0.5}})
    assert refusal(folder) == "it has no threshold for 3 of articleType: Scarves, Shirts, Tshirts"
    many = [["x", str(number)] for number in range(7)]
    with pytest.raises(CalibrationError, match=r"^it has no threshold for 7 of leaf: 0, 1, 2, 3, 4$"):
        read_thresholds({"top": {"x": None}, "leaf": {}}, ["top", "leaf"], many)
    folder = written(tmp_path / "c", thresholds=least | {"masterCategory": {"Apparel": 1.5, "Footwear": None}})
    assert refusal(folder) == "the threshold of 'Apparel' is 1.5; it must be a number from 0 to 1"


ENERGY = {"method": "energy", "threshold": 0.5, "middle": 0, "width": 1}


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (ENERGY | {"method": "odd"}, "the unknown method 'odd' is not one of energy, centres, head"),
        (ENERGY | {"middle": None}, "middle is None; it must be a number"),
        (ENERGY | {"threshold": "x"}, "the unknown threshold is 'x'; it must be a number"),
        (ENERGY | {"method": "centres", "weight": "x"}, "weight is 'x'; it must be a number"),
    ],
)
def test_a_wrong_detector_is_named(tmp_path, unknown, message):
    assert refusal(written(tmp_path / "model", unknown=unknown)) == message


def test_a_detector_of_distances_has_its_weight_and_its_means(tmp_path):
    folder = written(tmp_path / "model", unknown=ENERGY | {"method": "centres", "weight": 7.5})
    np.save(folder / CENTERS_FILE, np.array([[3, 4], [1, 0]], dtype=np.float16))
    detector = Calibration.load(folder, TREE.levels, TREE.paths).unknown
    assert detector.weight == 7.5 and detector.centers == pytest.approx(np.array([[0.6, 0.8], [1, 0]]))
    assert detector.centers.dtype == np.float32
    assert Calibration.load(written(tmp_path / "b", unknown=ENERGY), TREE.levels, TREE.paths).unknown.weight == 0.0


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (b"no numbers", "unknown_centres.npy cannot be read (not a .npy file)"),
        (np.array([1.0, 2.0]), "unknown_centres.npy must hold a table, not 1 axes"),
        (np.ones((2, 2), dtype=int), "unknown_centres.npy must hold a table of finite numbers, not int64 (2, 2)"),
        (np.ones((0, 2)), "unknown_centres.npy must hold a table of finite numbers, not float64 (0, 2)"),
        (np.array([[np.nan]]), "unknown_centres.npy must hold a table of finite numbers, not float64 (1, 1)"),
    ],
)
def test_means_that_are_no_table_of_numbers_are_refused(tmp_path, numbers, message):
    folder = written(tmp_path / "model", unknown=ENERGY | {"method": "centres", "weight": 1})
    if isinstance(numbers, bytes):
        (folder / CENTERS_FILE).write_bytes(numbers)
    else:
        np.save(folder / CENTERS_FILE, numbers)
    assert refusal(folder) == message


def test_a_pickle_is_not_opened(tmp_path):
    folder = written(tmp_path / "model", unknown=ENERGY | {"method": "centres", "weight": 1})
    np.save(folder / CENTERS_FILE, np.array([{"a": print}], dtype=object), allow_pickle=True)
    assert refusal(folder).startswith("unknown_centres.npy cannot be read (")
