"""What validate.py, calibrate.py, export.py and leaderboard.py share: --version, and mistakes in one line."""

import pytest

import calibrate
import export
import leaderboard
import validate
from app import __version__
from app.errors import UserError
from evaluation import automation
from models import convert
from tests.make_tiny_model import write_tiny_model

COMMANDS = [validate, calibrate, export, leaderboard]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_its_version(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"Snapshelf {__version__}\n"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (validate, ["--model", "MODEL", "--dataset", "nowhere", "--output", "TMP"], "is not a prepared dataset"),
        (validate, ["--model", "MODEL", "--dataset", "nowhere", "--name", "a/b"], "--name 'a/b' must be the name of"),
        (calibrate, ["--model", "MODEL", "--dataset", "x", "--coverage", "0"], "--coverage 0.0 must be at least 0.5"),
        (
            calibrate,
            ["--model", "MODEL", "--dataset", "x", "--target_precision", "99"],
            "--target_precision 99.0 must be at least 0.5 and below 1",
        ),
        (calibrate, ["--model", "MODEL", "--dataset", "nowhere"], "is not a prepared dataset"),
        (calibrate, ["--model", "nowhere", "--dataset", "x"], "no model folder 'nowhere'"),
        (export, ["--model", "MODEL", "--dataset", "nowhere"], "no model.safetensors to export"),
        (leaderboard, ["--results", "nowhere"], "no runs in nowhere"),
        (leaderboard, ["--score", "a.csv"], "--score needs --solution FILE too"),
        (leaderboard, ["--solution", "a.csv"], "--solution needs --score FILE too"),
        (validate, ["--model", "MODEL"], "the following arguments are required: --dataset"),
        (calibrate, [], "the following arguments are required: --model, --dataset"),
        (export, ["--model", "MODEL", "--int4"], "unrecognized arguments: --int4"),
        (leaderboard, ["--wandb"], "argument --wandb: expected one argument"),
        (convert, ["vgg16"], "invalid choice: 'vgg16'"),
        (automation, ["--model", "MODEL", "--dataset", "nowhere"], "run calibrate.py on it first"),
        (convert, ["efficientnet_lite0", "--output", "MODEL"], "exists already"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, arguments, message, tmp_path, capsys):
    places = {"MODEL": str(write_tiny_model(tmp_path / "model")), "TMP": str(tmp_path)}
    with pytest.raises(SystemExit) as stopped:
        command.main([places.get(argument, argument) for argument in arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ": error: " in line and message in line


def test_an_image_of_the_split_that_cannot_be_read_is_a_mistake_of_the_user(monkeypatch, tmp_path):
    from datasets import Dataset

    from app.classifier import Classifier
    from evaluation.predictions import calibrated_probabilities, encoded

    classifier = Classifier.load(write_tiny_model(tmp_path / "model"))
    rows = Dataset.from_dict({"image": [{"bytes": b"GIF89a broken"}]})
    assert list(encoded(rows, [0])) == [b"GIF89a broken"]
    with pytest.raises(UserError, match="row 0 of the split: "):
        calibrated_probabilities(classifier, rows)
