"""predict.py as a user runs it: rows in order, what is left out, ensembles, exit codes, pipes and Ctrl-C."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ctrl_c import listen_to_ctrl_c
from PIL import Image

import predict
from tests.inference.command import labels_in, process, run
from tests.make_tiny_model import WEIGHTS, save_image, write_tiny_model


def test_images_folders_and_lists_keep_their_order(capsys, model, images, tmp_path):
    folder = tmp_path / "folder"
    for name, label in {"b.png": "Shirts", "a.png": "Flats", "inner/0.PNG": "Tshirts"}.items():
        save_image(folder / name, label)
    (tmp_path / "list.txt").write_text(f"{images[3]}\n\n{images[1]}\r\n{folder / 'a.png'}", encoding="utf-8-sig")
    arguments = [images[0], folder, f"@{tmp_path / 'list.txt'}", "--image_path", images[1], "--format", "jsonl"]
    code, out, _ = run(capsys, model, *arguments)
    assert code == 0
    expected = ["Tshirts", "Flats", "Shirts", "Tshirts", "Scarves", "Shirts", "Flats", "Shirts"]
    assert labels_in(out) == expected


def test_what_a_folder_holds_besides_images_is_counted_not_dropped_silently(capsys, model, tmp_path):
    save_image(tmp_path / "a.png", "Flats")
    for name in ("notes.txt", "more.txt", "film.mp4", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    code, out, err = run(capsys, model, tmp_path, "--format", "jsonl")
    assert code == 0
    assert labels_in(out) == ["Flats"]
    assert "left out: 3 files that are not images (2 .txt, 1 .mp4), " in err
    assert "1 hidden" in err
    assert "1 linked folder" in err


def test_a_folder_without_images_is_one_failed_row(capsys, model, images, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, model, tmp_path / "empty", images[0])
    assert code == 1
    assert "empty  error: a folder without images" in out
    assert "Tshirts" in out
    assert "2 images: 1 ok, 1 failed" in err


def test_one_corrupt_image_among_many_costs_one_row(capsys, model, images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(images[0]).read_bytes()[:60])
    code, out, err = run(capsys, model, *[images[1]] * 150, broken, *[images[2]] * 150, "--format", "jsonl")
    assert code == 1
    assert labels_in(out) == ["Shirts"] * 150 + [None] + ["Flats"] * 150
    assert "301 images: 300 ok, 1 failed" in err


def test_results_of_another_batch_size_are_the_same(capsys, model, images):
    outputs = {run(capsys, model, *images * 5, "--format", "csv", "--batch_size", size)[1] for size in ("1", "3", "64")}
    assert len(outputs) == 1


def test_errors_are_shown_when_the_rows_go_to_a_file(capsys, model, images, tmp_path):
    code, _, err = run(capsys, model, images[0], tmp_path / "gone.png", "--output", tmp_path / "r.csv")
    assert code == 1
    assert f"{tmp_path / 'gone.png'}: no such file" in err


def test_an_ensemble_averages_the_probabilities(capsys, images, tmp_path):
    swapped = WEIGHTS[[1, 0, 2, 3]]  # calls a Tshirt a Shirt, and the other way round
    folders = [write_tiny_model(tmp_path / "a"), write_tiny_model(tmp_path / "b", swapped * np.float32(0.5))]
    alone = [json.loads(run(capsys, str(folder), images[0], "--format", "jsonl")[1]) for folder in folders]
    code = predict.main(
        ["--ensemble", *map(str, folders), "--image_path", images[0], "--format", "jsonl", "--top_k", "2"]
    )
    together = json.loads(capsys.readouterr().out)
    confidences = [{top["label"]: top["confidence"] for top in row["top_k"]} for row in (*alone, together)]
    assert code == 0
    for label in ("Tshirts", "Shirts"):
        assert confidences[2][label] == pytest.approx((confidences[0][label] + confidences[1][label]) / 2, abs=2e-6)


def test_an_ensemble_of_different_labels_is_refused(capsys, model, images, tmp_path):
    other = write_tiny_model(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["id2label"]["0"] = "Hats"
    (other / "config.json").write_text(json.dumps({"id2label": config["id2label"]}))
    with pytest.raises(SystemExit) as stop:
        predict.main(["--ensemble", model, str(other), "--image_path", images[0]])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert "do not know the same labels" in err
    assert "Hats, Tshirts" in err


def test_the_command_gives_its_exit_code_and_prints_utf_8(model, images, tmp_path):
    Image.open(images[0]).save(tmp_path / "füße.png")
    with process(model, str(tmp_path / "füße.png"), env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}) as command:
        out, err = command.communicate(timeout=120)
    assert (command.returncode, err) == (0, "")
    assert "Apparel" in out


def test_a_reader_that_leaves_ends_the_command_quietly(model, images):
    with process(model, *images * 2000, "--format", "jsonl") as command:
        command.stdout.readline()
        command.stdout.close()
        err = command.stderr.read()
        command.wait(timeout=120)
    assert err == ""
    assert command.returncode == 141


def test_ctrl_c_ends_the_command_quietly(model, images):
    with process(model, *images * 3000, "--format", "jsonl", preexec_fn=listen_to_ctrl_c) as command:
        command.stdout.readline()
        time.sleep(0.1)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=120)
    assert err == ""
    assert command.returncode == 130
    whole = out.splitlines()[1:-1]  # readline has taken a part of the first, the interruption may cut the last
    assert all(json.loads(line)["status"] == "ok" for line in whole)


@pytest.mark.real_data
def test_real_photographs_are_classified_through_the_command(shared, capsys, model):
    code, out, err = run(capsys, model, shared / "data/clothing/validation/hat", "--format", "jsonl")
    assert code == 0, err
    assert len(out.splitlines()) == len(list((shared / "data/clothing/validation/hat").iterdir()))
