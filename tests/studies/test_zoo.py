"""The zoo on drawn images: what a budget ends, what is recorded of a row, what the page says and keeps."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
from datasets import load_from_disk
from drawn_screenshots import draw_screenshots

from data_prep.pipeline.card import dataset_fingerprint
from models.registry import build_model
from studies.zoo import study
from studies.zoo.budget import Budget
from studies.zoo.energy import EnergyMeter
from studies.zoo.results_page import winners
from studies.zoo.rows import ROWS, best_size
from studies.zoo.scores import ScoredRow, not_told_apart
from studies.zoo.speed import model_only_rate
from studies.zoo.tasks import LEFT_OUT, Task, catalog_task

MINUTES = 0.005


@pytest.fixture(scope="module")
def zoo(drawn_dataset, tmp_path_factory) -> tuple[list[str], Path]:
    """The arguments of a small study and its folder, with one row run on the catalogue."""
    folder = tmp_path_factory.mktemp("zoo")
    places = ["--kaggle", str(drawn_dataset), "--runs", str(folder / "runs"), "--results", str(folder / "results")]
    places += ["--slash", str(folder / "nowhere")]
    budget = ["--tasks", "kaggle", "--minutes", str(MINUTES), "--image_size", "32", "--pretrained", str(folder)]
    arguments = [*places, *budget, "--only", "basic_cnn"]
    study.main(arguments)
    return arguments, folder


def row_named(name: str):
    return next(row for row in ROWS if row.name == name)


def unit_file(folder: Path, share: int = 100) -> Path:
    (path,) = (folder / "runs" / "basic_cnn").glob(f"kaggle_{share}_*.json")
    return path


def refused(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        study.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m studies.zoo: error: ") and error.count("\n") == 1
    return error


def test_a_row_is_recorded_with_all_that_its_figures_come_from(zoo, drawn_dataset):
    facts = json.loads(unit_file(zoo[1]).read_text())
    assert facts["command"].startswith("python -m studies.zoo --kaggle") and facts["seed"] == 42
    assert facts["fingerprint"] == dataset_fingerprint(drawn_dataset) and facts["weights"] is None
    assert facts["images_seen"] >= 64 and facts["training_images"] == len(load_from_disk(drawn_dataset)["train"])
    assert MINUTES <= facts["budget_minutes"] <= facts["minutes_with_answers"]
    assert facts["graph_megabytes"] > 1 and facts["graph_images_per_second"] > 1 and facts["parameters"] > 1e6
    assert facts["machine"] and facts["device"] and "joules" in facts


def test_the_held_out_images_are_validation_and_test_is_not_opened(zoo, drawn_dataset):
    with np.load(unit_file(zoo[1]).with_suffix(".npz")) as arrays:
        assert arrays["ids"].tolist() == load_from_disk(drawn_dataset)["validation"]["id"][:]
        assert arrays["percent"].tolist()[-1] == 100
        assert (arrays["predicted"][-1] == arrays["logits"].argmax(axis=1)).all()
        assert (np.diff(arrays["spent"]) > 0).all()


def test_the_page_names_what_was_run_and_what_was_not(zoo):
    page = (zoo[1] / "results" / "zoo.md").read_text()
    assert "| basic_cnn | from scratch | 32 |" in page
    not_run = next(line for line in page.splitlines() if line.startswith("Not run: "))
    assert all(row.name in not_run for row in ROWS if row.name != "basic_cnn") and "basic_cnn" not in not_run
    assert f"{MINUTES} core-minutes" in page and "Energy:" in page and "No test split was looked at" in page
    assert (zoo[1] / "results" / "runs" / "zoo_study" / "curve.png").stat().st_size > 1000


def test_what_a_person_wrote_below_stays_when_the_page_is_written_again(zoo, capsys):
    page = zoo[1] / "results" / "zoo.md"
    place = "<!-- Written by hand"
    assert page.read_text().count(place) == 1
    page.write_text(page.read_text() + "\nSmall networks win small budgets.\n")
    study.main(zoo[0])
    assert "1 units, 0 to do" in capsys.readouterr().out
    study.main([*zoo[0], "--report"])
    text = page.read_text()
    assert text.count("Small networks win small budgets.") == 1 and text.count(place) == 1
    assert text.index("| basic_cnn |") < text.index(place)


def test_a_learning_curve_trains_the_row_on_parts_of_the_data_too(zoo):
    study.main([*zoo[0], "--learning_curve", "basic_cnn"])
    whole, half, quarter = (json.loads(unit_file(zoo[1], share).read_text()) for share in (100, 50, 25))
    assert 0 < quarter["training_images"] < half["training_images"] < whole["training_images"]
    assert "| 25% of the data | 50% of the data | 100% of the data |" in (zoo[1] / "results" / "zoo.md").read_text()
    assert "graph_megabytes" not in half, "the graph of the row is measured once"


def test_parts_of_the_data_are_nested_and_tear_no_group_apart(drawn_dataset):
    task = catalog_task(drawn_dataset)
    pool = replace(task.pool, groups=[f"product {number // 2}" for number in range(len(task.pool.ids))])
    task = replace(task, pool=pool)
    half, quarter = (task.pool_of(0, share) for share in (50, 25))
    assert set(quarter.trained(0)) < set(half.trained(0)) < set(task.pool.trained(0))
    assert half.held_out(0).tolist() == task.pool.held_out(0).tolist()
    kept = {pool.groups[row] for row in half.trained(0)}
    dropped = {pool.groups[row] for row in np.flatnonzero(half.fold_of == LEFT_OUT)}
    assert kept and dropped and not kept & dropped


def test_a_dry_run_says_sizes_and_weights_and_trains_nothing(zoo, capsys):
    (zoo[1] / "resnet18").mkdir(exist_ok=True)
    study.main([*zoo[0][:-1], "resnet18", "vgg16", "--dry_run"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("resnet18") and "32 px, resnet18" in line for line in lines)
    assert any(line.startswith("vgg16") and "from scratch" in line for line in lines)
    assert not list((zoo[1] / "runs").glob("vgg16/*.json"))


def test_options_that_cannot_be_meant_are_refused_in_one_line(zoo, capsys):
    assert "--minutes must be above 0" in refused([*zoo[0], "--minutes", "0"], capsys)
    assert "--tasks fashion is not known; it takes kaggle, slash" in refused([*zoo[0], "--tasks", "fashion"], capsys)
    assert "--learning_curve resnet17" in refused([*zoo[0], "--learning_curve", "resnet17"], capsys)
    assert "--only resnet17 is not a row" in refused([*zoo[0], "--only", "resnet17"], capsys)


def test_a_budget_ends_the_training_and_does_not_count_the_answers_on_the_way():
    clock = SimpleNamespace(seconds=100.0)
    budget = Budget(40, now=lambda: clock.seconds)
    budget.on_train_begin(None, None, None)
    rates, answered = [], []
    for step in range(1, 100):
        control = SimpleNamespace(should_evaluate=False, should_training_stop=False)
        clock.seconds += 1
        rates.append(budget.rate(step))
        budget.on_step_end(None, None, control)
        if control.should_training_stop:
            break
        if control.should_evaluate:
            answered.append(step)
            clock.seconds += 1000  # answering takes long
            budget.keep(np.eye(2))
            budget.on_evaluate(None, None, control)
    budget.keep(np.eye(2))
    assert (step, answered) == (40, [10, 20])
    assert budget.spent_at == {25: 10, 50: 20, 100: 40} and list(budget.predictions) == [25, 50, 100]
    assert max(rates) == pytest.approx(1, abs=0.01) and rates[0] < 0.5 and rates[-1] < 0.01


def test_a_larger_budget_gives_a_larger_input_and_a_small_one_says_what_it_costs():
    row = row_named("mobilenet_v2")
    sizes = [best_size(row, "kaggle", True, 30_000, seconds, gpu=False) for seconds in (60, 600, 6000, 60_000)]
    assert [size.pixels for size in sizes] == sorted({size.pixels for size in sizes}) or sizes[0].pixels == 64
    assert sizes[-1].pixels == 224 and sizes[-1].reason == "its full size"
    assert sizes[0].pixels == 64 and "and still each image only" in sizes[0].reason
    assert best_size(row, "kaggle", False, 30_000, 600, False).pixels <= sizes[1].pixels
    on_gpu = [best_size(row_named("inception_v3"), task, True, 30_000, 60, gpu=True) for task in ("slash", "kaggle")]
    assert (on_gpu[0].pixels, on_gpu[0].reason) == (299, "its full size")
    assert (on_gpu[1].pixels, on_gpu[1].reason) == (160, "the images have 60×80 pixels")
    for row in ROWS:
        size = best_size(row, "slash", False, 459, 240, gpu=False).pixels
        assert size % row.patch == 0 and 64 <= size <= row.largest


def test_energy_is_read_from_the_processors_counters_also_across_their_end(tmp_path):
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1")):
        (tmp_path / zone).mkdir()
        for file, text in (("name", name), ("energy_uj", "9000000"), ("max_energy_range_uj", "10000000")):
            (tmp_path / zone / file).write_text(text)
    with EnergyMeter(tmp_path, gpu=False) as meter:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("9500000")
        (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("9400000")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1000000")
    assert meter.joules == pytest.approx(0.5 + 2)
    with EnergyMeter(tmp_path / "nowhere", gpu=False) as meter:
        pass
    assert meter.joules is None


def test_energy_of_a_gpu_is_its_mean_power_times_the_time(tmp_path, monkeypatch):
    import time

    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho 300.00\necho '[N/A]'\necho 500.00\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    start = time.monotonic()
    with EnergyMeter(gpu=True) as meter:
        while len(meter.watts) < 2:
            time.sleep(0.02)
    assert meter.joules == pytest.approx(400 * (time.monotonic() - start), rel=0.2)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with EnergyMeter(gpu=True) as meter:
        pass
    assert meter.joules is None


def test_the_bare_network_is_timed_without_the_data(tmp_path):
    build_model("basic_cnn", ["Jeans", "Shirts"], 32, from_scratch=True).save_pretrained(tmp_path)
    assert model_only_rate(tmp_path, size=32, batch_size=2) > 0


def scored(name: str, right: int, megabytes: float, weights: str | None = None) -> ScoredRow:
    """A row that is right about so many of 100 images."""
    facts = {"graph_megabytes": megabytes, "graph_images_per_second": 1000 / megabytes, "weights": weights}
    scores = {"accuracy": {"value": right / 100, "interval": [0, 1]}}
    hits = np.arange(100) < right
    return ScoredRow(name, scores, hits, {25: right / 200, 100: right / 100}, [SimpleNamespace(facts=facts)])


def test_rows_that_mcnemar_does_not_tell_apart_share_the_win_and_the_smallest_is_named():
    rows = {row.name: row for row in (scored("large", 90, 80, "weights"), scored("small", 87, 4), scored("bad", 60, 1))}
    assert [row.name for row in not_told_apart(rows)] == ["large", "small"]
    (line,) = (line for line in winners({"kaggle": rows}) if line.startswith("- "))
    assert "best large, 90.0%; not told apart from it: small; the smallest of these small (4.0 MB)" in line
    assert "best pretrained large, 90.0%; best from scratch small, 87.0%" in line


@pytest.mark.slow
def test_both_tasks_run_and_the_screenshots_are_scored_out_of_fold(drawn_dataset, tmp_path, capsys):
    places = ["--kaggle", str(drawn_dataset), "--slash", str(draw_screenshots(tmp_path)), "--runs", str(tmp_path / "r")]
    small = ["--minutes", "0.01", "--image_size", "32", "--only", "basic_cnn", "--pretrained", str(tmp_path / "none")]
    study.main([*places, *small, "--results", str(tmp_path / "results")])
    assert "6 units, 6 to do" in capsys.readouterr().out
    page = (tmp_path / "results" / "zoo.md").read_text()
    assert "40 images, each answered out of fold: 5 folds" in page and page.count("| basic_cnn | from scratch |") == 2


def test_a_task_counts_its_training_images_over_the_folds(drawn_dataset):
    task: Task = catalog_task(drawn_dataset)
    assert task.training_images(100) == len(load_from_disk(drawn_dataset)["train"])
    assert task.training_images(50) == round(task.training_images(100) / 2)
