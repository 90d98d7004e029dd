"""The competition kit as a host and a player use it: what is handed out, what stays secret, how answers are scored."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from drawings import rows_of

import leaderboard
from data_prep import competition

PUBLIC_FILES = ("train.csv", "test.csv", "sample_submission.csv", "README.md")


def host(dataset: Path, output: Path, *more: str) -> Path:
    competition.main(["--dataset", str(dataset), "--label", "articleType", "--output", str(output), *more])
    return output


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: list[list[str]], header: str = "id,label") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def solved(folder: Path) -> list[list[str]]:
    return [[row["id"], row["label"]] for row in table(folder / "solution.csv")]


def refusal(capsys, command, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        command([*arguments])
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def kit(drawn_dataset, tmp_path_factory) -> Path:
    return host(drawn_dataset, tmp_path_factory.mktemp("kit") / "competition", "--seed", "5")


def test_players_get_the_images_and_labels_of_train_and_validation(kit, drawn_dataset):
    train, test = table(kit / "train.csv"), table(kit / "test.csv")
    splits = [split for split, _ in rows_of(drawn_dataset, "articleType").values()]
    assert len(train) == splits.count("train") + splits.count("validation") and len(test) == splits.count("test")
    assert list(train[0]) == ["id", "image", "label", "group"] and list(test[0]) == ["id", "image"]
    assert all((kit / row["image"]).stat().st_size for row in [*train, *test])
    assert {row["label"] for row in train} == {"Jeans", "Shirts", "Sports Shoes", "Tshirts"}
    assert "articleType" in (kit / "README.md").read_text()


def test_every_test_row_is_in_the_sample_and_public_or_private(kit):
    ids = [row["id"] for row in table(kit / "test.csv")]
    assert [row["id"] for row in table(kit / "sample_submission.csv")] == ids
    solution = table(kit / "solution.csv")
    assert [row["id"] for row in solution] == ids
    assert {row["Usage"] for row in solution} == {"Public", "Private"}


def test_neither_ids_nor_files_nor_their_order_tell_the_label(kit, drawn_dataset):
    original = rows_of(drawn_dataset, "articleType")
    handed_out = "".join((kit / name).read_text() for name in PUBLIC_FILES if name != "README.md")
    assert not [name for name in original if name in handed_out]  # the drawn ids name the label
    files = [file for file in (kit / "images").rglob("*") if file.is_file()]
    assert len({file.stat().st_mtime for file in files}) == 1
    labels = [label for _, label in solved(kit)]
    runs = 1 + sum(one != other for one, other in zip(labels, labels[1:], strict=False))
    assert runs > len(set(labels)), "the labels stand in blocks"
    ids = [row["id"] for row in table(kit / "test.csv")]
    assert ids == sorted(ids) and len({len(identity) for identity in ids}) == 1


def test_without_a_seed_nobody_can_draw_the_ids_again(drawn_dataset, tmp_path):
    first, second = (host(drawn_dataset, tmp_path / name, "--no-images") for name in ("first", "second"))
    assert solved(first) != solved(second)
    again = host(drawn_dataset, tmp_path / "again", "--no-images", "--seed", str(read_seed(first)))
    assert solved(again) == solved(first)
    assert not (first / "images").exists()


def read_seed(folder: Path) -> int:
    return json.loads((folder / "host.json").read_text())["seed"]


def test_images_of_one_product_are_public_together_or_private_together():
    from data_prep.pipeline.schema import Row

    rows = [
        Row(
            f"{group}-{one}.jpg",
            id=f"{group}-{one}",
            labels={"label": "ab"[group % 2]},
            group=f"g{group}",
            split="test",
        )
        for group in range(40)
        for one in range(3)
    ] + [Row("t.jpg", id="t", labels={"label": "a"}, group="t", split="train")]
    usage: dict[str, set] = {}
    for entry in competition.draw_entries(rows, "label", 0.3, seed=1):
        usage.setdefault(entry.row.group, set()).add(entry.usage)
    assert all(len(found) == 1 for found in usage.values())
    public = sum(found == {"Public"} for found in usage.values())
    assert 9 <= public <= 15


def test_a_group_on_both_sides_is_refused():
    from data_prep.pipeline.schema import Row

    rows = [Row("a.jpg", id=split, labels={"label": "a"}, group="same", split=split) for split in ("train", "test")]
    with pytest.raises(ValueError, match="1 duplicate groups are in the test split and outside"):
        competition.draw_entries(rows, "label", 0.3, seed=1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "colour"], "has no label column 'colour'; it has articleType"),
        (["--public", "1.5"], "--public 1.5 must be a share between 0 and 1"),
        (["--dataset", "nowhere"], "nowhere is not a prepared dataset"),
    ],
)
def test_a_wrong_option_of_the_host_is_one_line(drawn_dataset, tmp_path, capsys, more, message):
    given = ["--dataset", str(drawn_dataset), "--output", str(tmp_path / "out"), *more]
    assert message in refusal(capsys, competition.main, *given)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_unasked_and_only_a_competition_at_all(kit, drawn_dataset, tmp_path, capsys):
    given = ["--dataset", str(drawn_dataset), "--output"]
    assert "add --overwrite" in refusal(capsys, competition.main, *given, str(kit))
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    answer = refusal(capsys, competition.main, *given, str(tmp_path / "letters"), "--overwrite")
    assert "is not a competition" in answer
    assert "contains the other" in refusal(capsys, competition.main, *given, str(drawn_dataset / "kit"))


def score(kit: Path, submission: Path, capsys) -> str:
    leaderboard.main(["--score", str(submission), "--solution", str(kit / "solution.csv")])
    return capsys.readouterr().out


def test_a_perfect_and_a_half_right_submission_get_their_scores(kit, tmp_path, capsys):
    rows = solved(kit)
    backwards = write(tmp_path / "perfect.csv", rows[::-1])
    out = score(kit, backwards, capsys)
    assert "public   1.0000" in out and "private  1.0000" in out
    private = [row["id"] for row in table(kit / "solution.csv") if row["Usage"] == "Private"]
    wrong = {private[0]: "Jeans"} if dict(rows)[private[0]] != "Jeans" else {private[0]: "Shirts"}
    out = score(kit, write(tmp_path / "one.csv", [[key, wrong.get(key, label)] for key, label in rows]), capsys)
    assert "public   1.0000" in out and f"private  {1 - 1 / len(private):.4f}" in out


def test_the_sample_submission_is_valid_and_scores_the_share_of_its_class(kit, capsys):
    out = score(kit, kit / "sample_submission.csv", capsys)
    scores = [float(line.split()[1]) for line in out.splitlines() if line.startswith(("public", "private"))]
    assert len(scores) == 2 and np.mean(scores) < 0.6


def test_a_class_that_only_train_has_is_a_wrong_answer_not_an_error(kit, tmp_path, capsys):
    rows = solved(kit)
    other = host_copy(kit, tmp_path / "copy")
    with (other / "train.csv").open("a") as stream:
        stream.write("9999,images/train/9999.jpg,Saree,g9999\n")
    out = score(other, write(tmp_path / "s.csv", [[rows[0][0], "Saree"], *rows[1:]]), capsys)
    assert "public   1.0000" not in out or "private  1.0000" not in out


def host_copy(kit: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("train.csv", "solution.csv"):
        (folder / name).write_text((kit / name).read_text())
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: ("id,category", rows), "lacks the columns label; it has id, category"),
        (lambda rows: ("id,label,score", [[*row, "1"] for row in rows]), "has the column 'score' too many"),
        (lambda rows: ("id,label", [*rows, rows[0]]), "for the second time"),
        (lambda rows: ("id,label", rows[3:]), "3 of 16 rows are missing, such as"),
        (lambda rows: ("id,label", [*rows, ["77777", "Jeans"]]), "1 ids are not in test.csv: '77777'"),
        (lambda rows: ("id,label", [[rows[0][0], "jeans"], *rows[1:]]), "unknown labels: 'jeans'; labels are written"),
        (lambda rows: ("id,label", [[rows[0][0], ""], *rows[1:]]), "line 2: empty label"),
        (lambda rows: ("id,label", []), "has no rows below its header id,label"),
    ],
)
def test_a_submission_that_does_not_fit_is_one_line_that_says_why(kit, tmp_path, capsys, change, message):
    header, rows = change(solved(kit))
    submission = write(tmp_path / "submission.csv", rows, header)
    given = ["--score", str(submission), "--solution", str(kit / "solution.csv")]
    assert message in refusal(capsys, leaderboard.main, *given)


def test_scoring_needs_both_files(kit, tmp_path, capsys):
    assert "needs --solution" in refusal(capsys, leaderboard.main, "--score", str(kit / "sample_submission.csv"))
    assert "needs --score" in refusal(capsys, leaderboard.main, "--solution", str(kit / "solution.csv"))
    given = ["--score", str(tmp_path / "none.csv"), "--solution", str(kit / "solution.csv")]
    assert "no file" in refusal(capsys, leaderboard.main, *given)
    given = ["--score", str(kit / "sample_submission.csv"), "--solution", str(kit / "sample_submission.csv")]
    assert "lacks the columns Usage" in refusal(capsys, leaderboard.main, *given)
