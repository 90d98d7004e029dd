"""The rows of a run on disk: none is lost, none is doubled, none is mixed with those of another run."""

import json

import pytest

from app.prediction import Prediction, ScoredLabel
from inference.journal import Journal, as_line, as_row, check_settings, parsed
from inference.readers.base import InputError

SETTINGS = {"model": "m", "top_k": 3}
ONE = Prediction("ok", "a", 0.123456789012345, ["A", "a"], [0.9, 0.1], top_k=[ScoredLabel("a", 0.1)])
TWO = Prediction(status="error", error="too small")


def write(path, rows=(("1.jpg", ONE), ("2.jpg", TWO))) -> None:
    with Journal(path, SETTINGS, resume=False) as journal:
        for row in rows:
            journal.append(*row)


def test_rows_come_back_as_they_went_in_to_the_last_digit(tmp_path):
    with Journal(tmp_path / "j", SETTINGS, resume=False) as journal:
        assert (journal.done, dict(journal.counts), journal.path) == (0, {}, tmp_path / "j")
        journal.append("ü 1.jpg", ONE)
        journal.append("2.jpg", TWO)
        assert (journal.done, dict(journal.counts)) == (2, {"ok": 1, "error": 1})
        assert list(journal.rows()) == [("ü 1.jpg", ONE), ("2.jpg", TWO)]


def test_a_line_holds_a_row_and_the_labels_come_back_as_pairs():
    name, prediction = as_row(as_line("n", ONE))
    assert (name, prediction) == ("n", ONE) and type(prediction.top_k[0]) is ScoredLabel
    assert "\n" not in as_line("a\nb", ONE)


def test_the_first_line_holds_version_and_settings(tmp_path):
    write(tmp_path / "j")
    lines = (tmp_path / "j").read_bytes().split(b"\n")
    assert json.loads(lines[0]) == {"version": 1, **SETTINGS} and len(lines) == 4 and lines[-1] == b""


def test_a_resumed_run_goes_on_behind_the_rows_it_has(tmp_path):
    write(tmp_path / "j")
    with Journal(tmp_path / "j", SETTINGS, resume=True) as journal:
        assert (journal.done, dict(journal.counts)) == (2, {"ok": 1, "error": 1})
        journal.append("3.jpg", ONE)
        assert [name for name, _ in journal.rows()] == ["1.jpg", "2.jpg", "3.jpg"]
    with Journal(tmp_path / "j", SETTINGS, resume=True) as journal:
        assert journal.done == 3


@pytest.mark.parametrize("rest", [b'["half', b"\0\0\0\n", b'["3.jpg", {}]'])
def test_half_a_line_is_dropped_and_written_over(tmp_path, rest):
    write(tmp_path / "j")
    with open(tmp_path / "j", "ab") as file:
        file.write(rest)
    with Journal(tmp_path / "j", SETTINGS, resume=True) as journal:
        assert journal.done == 2
        journal.append("3.jpg", TWO)
        assert [name for name, _ in journal.rows()] == ["1.jpg", "2.jpg", "3.jpg"]
    assert rest not in (tmp_path / "j").read_bytes()


def test_a_file_without_a_whole_first_line_is_begun_anew(tmp_path):
    (tmp_path / "j").write_bytes(b'{"version": 1')
    with Journal(tmp_path / "j", SETTINGS, resume=False) as journal:
        journal.append("1.jpg", ONE)
        assert [name for name, _ in journal.rows()] == ["1.jpg"]
    assert json.loads((tmp_path / "j").read_bytes().splitlines()[0]) == {"version": 1, **SETTINGS}


def test_a_journal_without_rows_leaves_no_file(tmp_path):
    with Journal(tmp_path / "j", SETTINGS, resume=False):
        assert (tmp_path / "j").exists()
    assert not (tmp_path / "j").exists()
    write(tmp_path / "j")
    assert (tmp_path / "j").exists()


def test_rows_of_a_run_that_was_interrupted_need_resume(tmp_path):
    write(tmp_path / "j")
    with pytest.raises(InputError) as caught:
        Journal(tmp_path / "j", SETTINGS, resume=False)
    assert str(caught.value) == (
        f"{tmp_path / 'j'} holds 2 rows of a run that was interrupted: continue it with --resume, or delete the file "
        "to start again"
    )
    Journal(tmp_path / "j", SETTINGS, resume=True).__exit__()  # the one that failed let go of the lock


def test_a_second_run_may_not_write_the_same_file(tmp_path):
    with Journal(tmp_path / "j", SETTINGS, resume=False), pytest.raises(InputError) as caught:
        Journal(tmp_path / "j", SETTINGS, resume=True)
    assert str(caught.value) == (f"another run is writing {tmp_path / 'j'}: wait for it, or give another --output")


def test_on_a_system_without_locks_a_journal_works_too(tmp_path, monkeypatch):
    monkeypatch.setattr("inference.journal.fcntl", None)
    write(tmp_path / "j")
    assert (tmp_path / "j").exists()


def test_other_settings_are_refused_by_name(tmp_path):
    write(tmp_path / "j")
    with pytest.raises(InputError) as caught:
        Journal(tmp_path / "j", {**SETTINGS, "top_k": 5}, resume=True)
    assert str(caught.value) == (
        f"--resume: {tmp_path / 'j'} was begun with top_k 3, and this is 5: give the same options, or delete the file "
        "to start again"
    )


@pytest.mark.parametrize(("before", "now"), [({"a": 1}, {}), ({}, {"a": 1}), ({"a": 1}, {"a": 2})])
def test_a_setting_that_is_missing_on_either_side_differs(tmp_path, before, now):
    with pytest.raises(InputError, match="begun with a"):
        check_settings(before, now, tmp_path)
    check_settings(before, before, tmp_path)


def test_images_with_a_row_are_passed_over(tmp_path):
    write(tmp_path / "j")
    images = [("1.jpg", "one"), ("2.jpg", "two"), ("3.jpg", "three"), ("4.jpg", "four")]
    with Journal(tmp_path / "j", SETTINGS, resume=True) as journal:
        assert list(journal.skip_done(images)) == images[2:]
    with Journal(tmp_path / "new", SETTINGS, resume=False) as journal:
        assert list(journal.skip_done(images)) == images


@pytest.mark.parametrize(("second", "said"), [([("x.jpg", "")], "x.jpg"), ([], "the end of the input")])
def test_an_input_that_is_no_longer_the_same_is_refused(tmp_path, second, said):
    write(tmp_path / "j")
    with Journal(tmp_path / "j", SETTINGS, resume=True) as journal, pytest.raises(InputError) as caught:
        list(journal.skip_done([("1.jpg", ""), *second]))
    assert str(caught.value) == (
        f"--resume: image 2 was 2.jpg and is now {said}; restore the input, or delete {tmp_path / 'j'} and start again"
    )


def test_a_line_counts_when_it_is_whole():
    assert parsed(b"[1]\n") == [1]
    assert parsed(b"[1]") is None and parsed(b"") is None and parsed(b"\0\n") is None


def test_remove_takes_the_file_away_and_may_be_called_twice(tmp_path):
    with Journal(tmp_path / "j", SETTINGS, resume=False) as journal:
        journal.append("1.jpg", ONE)
        journal.remove()
        journal.remove()
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize(
    "content", [b"hello\n", b"[1]\n", b'{"version": 1, "model": "m", "top_k": 3}\n["1.jpg", {}]\n']
)
def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(InputError) as caught:
        Journal(tmp_path / "j", SETTINGS, resume=True)
    assert str(caught.value) == (
        f"{tmp_path / 'j'} is not a journal of predict.py, or a damaged one: move it away, or give another --output"
    )
    assert (tmp_path / "j").read_bytes() == content


def test_each_status_is_counted_as_often_as_it_comes_also_by_a_resumed_run(tmp_path):
    write(tmp_path / "j", [("1.jpg", ONE), ("2.jpg", ONE), ("3.jpg", TWO)])
    with Journal(tmp_path / "j", SETTINGS, resume=True) as journal:
        journal.append("4.jpg", ONE)
        assert dict(journal.counts) == {"ok": 3, "error": 1}


@pytest.mark.parametrize(
    "line", [b"{broken\n", b'["a"]\n', b'"ab"\n', b'[1, {"status": "ok"}]\n', b'{"a": 1, "b": 2}\n', b'["a", 3]\n']
)
def test_a_whole_line_that_is_no_row_is_refused_and_nothing_of_it_is_lost(tmp_path, line):
    write(tmp_path / "j")
    with open(tmp_path / "j", "ab") as file:
        file.write(line)
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(InputError, match="is not a journal of predict.py, or a damaged one"):
        Journal(tmp_path / "j", SETTINGS, resume=True)
    assert (tmp_path / "j").read_bytes() == before


@pytest.mark.parametrize("header", [b'{"version": 1}\n', b'{"model": "m"}\n', b"[1, 2]\n"])
def test_a_first_line_of_something_else_is_refused(tmp_path, header):
    (tmp_path / "j").write_bytes(header)
    with pytest.raises(InputError, match="is not a journal of predict.py"):
        Journal(tmp_path / "j", SETTINGS, resume=True)


def test_a_journal_is_a_regular_file(tmp_path):
    with pytest.raises(InputError) as caught:
        Journal(tmp_path, SETTINGS, resume=False)
    assert str(caught.value) == (
        f"{tmp_path} is not a regular file, and predict.py keeps its rows there: give another --output"
    )
