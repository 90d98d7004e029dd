"""Read the runs that train.py recorded in Weights & Biases, for the leaderboard.

runs, others = wandb_runs("me/snapshelf")      # rows as validate.py writes them, and how many runs are of another kind
"""

import os
from pathlib import Path

from app.errors import UserError, one_line
from evaluation.leaderboard import OF_LEVEL, SCORES
from evaluation.runs import FACTS


def has_wandb_key() -> bool:
    """Whether W&B would find a key without asking for it: in the environment or in the login file."""
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth  # wandb.api.api_key does the same and warns

    host = wandb.setup().settings.base_url
    return bool(os.environ.get("WANDB_API_KEY")) or read_netrc_auth(host=host) is not None


def wandb_runs(project: str) -> tuple[list[dict], int]:
    """The runs of a W&B project as leaderboard.py reads them, and the number of runs without a test score.

    What only validate.py measures is None. Raises UserError without a key, a network or the project.
    """
    try:
        import wandb
    except ImportError:
        raise UserError('--wandb needs a package that is not installed: pip install -e ".[track]"') from None

    if not has_wandb_key():
        raise UserError("no W&B key: set WANDB_API_KEY, or run `wandb login`; its page is wandb.ai/authorize")
    try:
        rows = [leaderboard_row(run) for run in wandb.Api().runs(project)]
    except (wandb.Error, ValueError, OSError) as error:
        raise UserError(f"W&B does not give the runs of {project}: {one_line(error)}") from error
    return [row for row in rows if row], rows.count(None)


def leaderboard_row(run) -> dict | None:
    """A run of wandb.Api in the form of validate.py's; None if train.py did not record a test score in it."""
    summary, config = dict(run.summary), dict(run.config)
    if "test_accuracy" not in summary or "fingerprint" not in config:
        return None
    scores = {}
    named = (key.removeprefix("test_") for key in summary if key.startswith("test_"))
    for name in (*SCORES, *(name for name in named if name.endswith(OF_LEVEL))):
        if f"test_{name}" in summary:  # as training/tracking.py calls it
            ends = [summary.get(f"test_{name}_{end}") for end in ("low", "high")]
            scores[name] = {"value": summary[f"test_{name}"], "interval": ends}
    return {
        "name": run.name,
        "dataset": Path(str(config.get("dataset"))).name,
        "fingerprint": config["fingerprint"],
        "split": "test",
        "rows": summary.get("test_rows"),
        **scores,
        "expected_calibration_error": summary.get("test_expected_calibration_error"),
        **dict.fromkeys(FACTS),
        "parameters": config.get("model/num_parameters"),
        "machine": config.get("machine"),
        "commit": getattr(run, "commit", None),
        "date": str(run.created_at)[:10],
        "training": config.get("command"),
        "seed": config.get("seed"),
    }
