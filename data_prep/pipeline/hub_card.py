"""README.md of a dataset folder, as the Hugging Face Hub reads it: license, task, features and the size of each split.

    write_hub_card(folder, read_card(folder), features, {"train": (120, 3_000_000), "validation": (15, 400_000)})

dataset_info.md beside it remains what the commands of this project read.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from app.files import write_text
from data_prep.pipeline.card import CARD_NAME, table

HUB_CARD_NAME = "README.md"
TASK = "image-classification"
HUB_LICENSES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "odbl", "unknown"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST = "n>1M"


def write_hub_card(
    folder: Path, facts: Mapping, features, splits: Mapping[str, tuple[int, int]], parquet: bool = False
) -> None:
    """facts: the front matter of dataset_info.md. features: of `datasets`. splits: (rows, bytes) by name.

    parquet: the folder holds shards named after their split, which the Hub is told.
    """
    rows = sum(count for count, _ in splits.values())
    front = {
        "pretty_name": facts["pretty_name"],
        **license_of(str(facts.get("license") or "unknown")),
        "task_categories": [TASK],
        "size_categories": [next((name for limit, name in SIZES if rows < limit), LARGEST)],
        "dataset_info": {
            "features": features._to_yaml_list(),
            "splits": [
                {"name": name, "num_bytes": size, "num_examples": count} for name, (count, size) in splits.items()
            ],
            "dataset_size": sum(size for _, size in splits.values()),
        },
    }
    if parquet:
        files = [{"split": name, "path": f"{name}-*.parquet"} for name in splits]
        front["configs"] = [{"config_name": "default", "data_files": files}]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120).rstrip(),
        "---",
        f"# {facts['pretty_name']}",
        "",
        f"Source: {facts.get('source')}. Made with `{facts.get('command')}`, fingerprint {facts.get('fingerprint')}.",
        f"{CARD_NAME} has the classes, what was left out and why, and the duplicate groups.",
        "",
        *table(["split", "images"], [(name, count) for name, (count, _) in splits.items()]),
    ]
    write_text(folder / HUB_CARD_NAME, "\n".join(lines) + "\n")


def license_of(name: str) -> dict[str, str]:
    """The Hub's own identifier, or `other` with the name."""
    identifier = re.sub(r"\s+", "-", name.strip().lower())
    return {"license": identifier} if identifier in HUB_LICENSES else {"license": "other", "license_name": name}
