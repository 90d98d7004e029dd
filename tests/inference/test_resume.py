"""Runs that stop midway: the journal, going on after Ctrl-C and after a kill, what must not be mixed."""

import json
import time

import pytest

from inference.journal import Journal
from tests.inference.command import process, run
from tests.make_tiny_model import LABELS


def test_an_interrupted_run_leaves_the_old_output_and_says_how_to_go_on(capsys, model, images, tmp_path, monkeypatch):
    output = tmp_path / "r.csv"
    output.write_text("old")
    interrupt_after(monkeypatch, 3)
    code, _, err = run(capsys, model, *images, "--output", output)
    assert code == 130
    assert "stopped after 3 images; the same command with --resume goes on" in err
    assert output.read_text() == "old"


def interrupt_after(monkeypatch, rows: int) -> None:
    """As if somebody pressed Ctrl-C when so many rows had been written."""
    append = Journal.append

    def then_interrupt(journal, name, prediction):
        append(journal, name, prediction)
        if journal.done == rows:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "append", then_interrupt)


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet", "r.txt"])
def test_a_resumed_run_writes_the_same_file_and_repeats_nothing(capsys, model, images, tmp_path, monkeypatch, name):
    missing = tmp_path / "missing.png"
    arguments = [*images, missing, *images]
    run(capsys, model, *arguments, "--output", tmp_path / name)
    expected = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        assert run(capsys, model, *arguments, "--output", tmp_path / name)[0] == 130
    assert not (tmp_path / name).exists()
    classified = count_appended(monkeypatch)
    code, _, err = run(capsys, model, *arguments, "--output", tmp_path / name, "--resume")
    assert (code, len(classified)) == (1, 4)
    assert "9 images: 8 ok, 1 failed" in err
    assert (tmp_path / name).read_bytes() == expected
    assert not list(tmp_path.glob("*.partial"))


def count_appended(monkeypatch) -> list[str]:
    """Fills with the names of the images that are classified from now on."""
    names, append = [], Journal.append
    monkeypatch.setattr(Journal, "append", lambda *row: names.append(row[1]) or append(*row))
    return names


def test_a_killed_run_goes_on_without_losing_or_repeating_a_row(capsys, model, images, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("\n".join(images * 1000))
    output, partial = tmp_path / "r.jsonl", tmp_path / "r.jsonl.partial"
    with process(model, f"@{tmp_path / 'list.txt'}", "--output", str(output)) as command:
        while not partial.exists() or partial.stat().st_size < 30_000:
            assert command.poll() is None, command.stderr.read()
            time.sleep(0.01)
        command.kill()
    with open(partial, "ab") as file:
        file.write(b'["half a li')
    done = partial.read_bytes().count(b"\n") - 1
    classified = count_appended(monkeypatch)
    code, _, _ = run(capsys, model, f"@{tmp_path / 'list.txt'}", "--output", output, "--resume")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert code == 0
    assert 0 < done < 4000
    assert len(classified) == 4000 - done
    assert [row["image_path"] for row in rows] == images * 1000
    assert [row["label"] for row in rows] == list(LABELS) * 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "holds 3 rows of a run that was interrupted: continue it with --resume, or delete"),
        (["--resume", "--tta", "2"], "was begun with tta 1, and this is 2"),
        (["--resume", "--top_k", "2"], "was begun with top_k 5, and this is 2"),
    ],
)
def test_rows_of_another_run_are_never_mixed_or_lost(capsys, model, images, tmp_path, monkeypatch, changes, message):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        run(capsys, model, *images, "--output", tmp_path / "r.jsonl")
    before = (tmp_path / "r.jsonl.partial").read_bytes()
    code, _, err = run(capsys, model, *images, "--output", tmp_path / "r.jsonl", *changes)
    assert code == 2
    assert message in err
    assert (tmp_path / "r.jsonl.partial").read_bytes() == before


def test_images_that_changed_since_the_interruption_are_noticed(capsys, model, images, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        run(capsys, model, *images, "--output", tmp_path / "r.jsonl")
    code, _, err = run(capsys, model, *images[1:], "--output", tmp_path / "r.jsonl", "--resume")
    assert code == 2
    assert f"image 1 was {images[0]} and is now {images[1]}" in err


def test_two_runs_cannot_write_the_same_file(capsys, model, images, tmp_path):
    with Journal(tmp_path / "r.jsonl.partial", {}, resume=False):
        code, _, err = run(capsys, model, *images, "--output", tmp_path / "r.jsonl")
    assert code == 2
    assert "another run is writing" in err
