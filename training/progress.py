"""Where a training is, for a program that shows it: a JSON line for each step in --progress_file.

    say("progress.jsonl", "features", 3, 12)        # {"step": "features", "done": 3, "total": 12}

Steps of --frozen, in this order: prepare, features, fit, export, score. Without a file nothing is said.
"""

import json


def say(path: str | None, step: str, done: int = 0, total: int = 0) -> None:
    """done of total: parts of this step; 0 of 0 where it has none."""
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "done": done, "total": total}) + "\n")
