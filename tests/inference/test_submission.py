"""Kaggle submissions: the order and the columns of the sample, and samples that do not fit."""

import pytest

from tests.inference.command import run


def test_a_submission_has_the_order_and_the_columns_of_the_sample(capsys, model, images, tmp_path):
    (tmp_path / "Flats.png").write_text("broken")
    (tmp_path / "sample.csv").write_text("id,articleType\nScarves,x\nFlats,x\nTshirts,x\n")
    arguments = ["--submission", tmp_path / "sample.csv", "--output", tmp_path / "s.csv"]
    code, _, err = run(capsys, model, tmp_path, *arguments)
    assert (tmp_path / "s.csv").read_text() == "id,articleType\nScarves,Scarves\nFlats,x\nTshirts,Tshirts\n"
    assert code == 1
    assert "1 ids without an answer keep the sample's label: Flats" in err


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("id,label\nTshirts,x\n77,x\n", "1 of the 2 ids"),
        ("id,label\nTshirts,x\nTshirts,x\n", "the id 'Tshirts' appears a second time"),
        ("image,label,other\na,b,c\n", "its columns are image, label, other; they must be two"),
        ("id,label\n", "it has no rows"),
        (None, "there is no file"),
    ],
)
def test_a_sample_that_does_not_fit_the_images_is_refused_before_the_work(
    capsys, model, images, tmp_path, sample, message
):
    if sample is not None:
        (tmp_path / "sample.csv").write_text(sample)
    arguments = ["--submission", tmp_path / "sample.csv", "--output", tmp_path / "s.csv"]
    code, _, err = run(capsys, model, *images, *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "s.csv").exists()
