"""A trained model as a complete Hugging Face folder: weights, config, preprocessing, arguments and model card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torchvision.transforms import v2
from transformers import PreTrainedModel, Trainer

from app.attributes import WEIGHTS_FILE as ATTRIBUTES_WEIGHTS
from app.calibration import CALIBRATION_FILE, CENTERS_FILE
from app.files import write_json, write_text
from app.model_files import INT8_FILE, MODEL_FILE
from app.parents import ATTRIBUTES_FILE
from app.titled import TITLES_FILE, TITLES_SETTINGS
from data_prep.pipeline.card import DatasetError, read_card, table
from models.registry import checkpoint_of
from models.stock_processor import STOCK_PROCESSOR
from training.arguments import Arguments

OWN = ("basic_cnn", "residual_cnn")
HUB_DATASETS = "hf://datasets/"
MAX_PATHS = 200  # of the category tree in the card
OUT_OF_FOLD = "out-of-fold"  # in place of `validation` in the names of scores
SCORECARD_FILE = "scorecard.json"
OF_ATTRIBUTES, OF_TITLES = (ATTRIBUTES_FILE, ATTRIBUTES_WEIGHTS), (TITLES_FILE, TITLES_SETTINGS)
DERIVED = (MODEL_FILE, INT8_FILE, CALIBRATION_FILE, CENTERS_FILE, *OF_ATTRIBUTES, *OF_TITLES, SCORECARD_FILE)
CARD = """---
{metadata}
---
# {title}

{made} `{dataset}` to tell {num_labels} values of `{label}` apart, from product images resized to
{size}×{size} pixels, whatever their shape.

| metric | {held_out} | test |
|---|---|---|
{rows}

Made with `{command}`, seed {seed}. `arguments.json` holds every argument, `config.json` the labels and the taxonomy.

## Use

{stock}
    python predict.py --model {folder} --image_path photo.jpg

`model.onnx` reads `pixel_values` (batch, 3, {size}, {size}), the RGB image resized with a bilinear filter, scaled to
[0, 1] and normalized as `preprocessor_config.json` says, and gives `logits`. In a browser, transformers.js reads the
same folder with `pipeline("image-classification", name, {{subfolder: "", dtype: "fp32"}})`; but it resizes by
other rules than Pillow, which changes one answer in ten. `examples/browser` of the project resizes alike.

## Data

{data}

## Categories

{categories}
"""
STOCK = """    from transformers import pipeline
    pipeline("image-classification", model="{folder}")("photo.jpg")

"""
OWN_ARCHITECTURE = """`{model_type}` is an architecture of this project: transformers loads it where `models.small_cnns`
is imported. `model.onnx` needs nothing of this project.

"""


def write_model_folder(trainer: Trainer, arguments: Arguments, command: str, scores: dict[str, float]) -> None:
    """Write everything but the ONNX graph into the trainer's output folder.

    command: what the user typed. scores: `validation_accuracy`, `test_macro_f1` … as Trainer.evaluate names them.
    Only safetensors and JSON go in: the Trainer's own pickles stay in the checkpoint folders.
    """
    normalize = next(step for step in trainer.eval_transform.transforms if isinstance(step, v2.Normalize))
    given = {**asdict(trainer.recipe), "training": _public(trainer.args.to_sanitized_dict())}
    made = f"{without_place(arguments.pretrained or arguments.model)} fine-tuned on"
    content = FolderContent(trainer.model, (normalize.mean, normalize.std), arguments, command, made, scores)
    content.write(Path(trainer.args.output_dir), given, trainer.args.seed)


@dataclass(frozen=True)
class FolderContent:
    """What a finished model's folder tells. made: the beginning of the card's first sentence, up to the data's name."""

    model: PreTrainedModel
    normalization: tuple[Sequence[float], Sequence[float]]
    arguments: Arguments
    command: str
    made: str
    scores: dict[str, float]

    def write(self, folder: Path, given: dict, seed: int) -> None:
        """given: more for arguments.json."""
        remove_derived(folder)
        self.model.save_pretrained(folder)
        write_preprocessor(folder, self.model.config.image_size, *self.normalization)
        arguments = asdict(self.arguments)
        arguments |= {name: without_place(arguments[name]) for name in ("model", "pretrained") if arguments[name]}
        write_json(folder / "arguments.json", {"command": self.command, **arguments, **given})
        write_text(folder / "README.md", _card(self, folder, seed))


def without_place(source: str) -> str:
    """Weights as they can be named to others: of an absolute path, which only this machine knows, the last part."""
    return Path(source).name if Path(source).is_absolute() else source


def remove_derived(folder: Path) -> None:
    """Delete what was made from the weights that the folder held before: graphs and calibration."""
    found = [path for name in DERIVED if (path := folder / name).exists()]
    for path in found:
        path.unlink()
    if found:
        print(f"{folder}: removed {', '.join(path.name for path in found)}, made from the weights before")


def write_preprocessor(folder: Path, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """What the training images went through, in the words of a stock processor: resized without padding.

    So transformers.pipeline and predict.py read an image alike. A folder with `do_pad_to_square` is
    one from before; only predict.py and the page pad its images.
    """
    content = {
        "image_processor_type": STOCK_PROCESSOR,  # resize to a fixed size, rescale, normalize: fits every model
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    write_json(folder / "preprocessor_config.json", content)


def _public(arguments: dict) -> dict:
    return {key: value for key, value in arguments.items() if not key.endswith("_token")}


def _card(content: FolderContent, folder: Path, seed: int) -> str:
    arguments, scores, dataset = content.arguments, content.scores, Path(content.arguments.dataset).name
    split_and_metric = {key: key.split("_", 1) for key in scores if _is_quality(key)}
    results = [
        EvalResult("image-classification", dataset, dataset, metric, scores[key], dataset_split=split)
        for key, (split, metric) in split_and_metric.items()
    ]
    facts, base = data_facts(arguments.dataset), base_model(arguments)
    config = content.model.config
    metadata = ModelCardData(
        base_model=base,
        datasets=[hub_dataset(arguments.dataset) or dataset],
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=["image-classification", "product-classification"],
        model_name=folder.name,
        eval_results=results,
    )
    return ModelCard(
        CARD.format(
            metadata=metadata.to_yaml(),
            title=folder.name,
            made=content.made,
            dataset=dataset,
            num_labels=config.num_labels,
            label=arguments.label,
            size=config.image_size,
            rows="\n".join(_rows(scores)),
            held_out=_held_out(scores),
            command=content.command,
            seed=seed,
            folder=folder,
            stock=(OWN_ARCHITECTURE if config.model_type in OWN else STOCK).format(
                folder=folder, model_type=config.model_type
            ),
            data=" ".join(f"{name}: {value}." for name, value in facts.items()) or f"`{dataset}`.",
            categories="\n".join(category_lines(config.taxonomy)),
        )
    ).content


def base_model(arguments: Arguments) -> str | None:
    """The Hub id of the weights that training began with; None for a local folder or no weights."""
    source = None if arguments.from_scratch else arguments.pretrained or checkpoint_of(arguments.model)
    return None if source is None or Path(source).exists() else source


def hub_dataset(address: str) -> str | None:
    """USER/NAME of hf://datasets/USER/NAME/…"""
    name = address.removeprefix(HUB_DATASETS)
    return None if name == address else "/".join(name.split("/")[:2])


def data_facts(dataset: str) -> dict[str, str]:
    """Name, source, licence and fingerprint of a prepared dataset, as its own card has them; empty without one."""
    try:
        facts = read_card(dataset)
    except (DatasetError, OSError):
        return {}
    names = {"Name": "pretty_name", "Source": "source", "Licence": "license", "Fingerprint": "fingerprint"}
    return {shown: str(facts[key]) for shown, key in names.items() if key in facts}


def category_lines(taxonomy: dict) -> list[str]:
    """A table of the paths, broad category first."""
    num_levels = len(taxonomy["levels"])
    paths = [[*path, *[""] * (num_levels - len(path))] for path in sorted(taxonomy["paths"].values())]
    rest = [f"\nand {len(paths) - MAX_PATHS} more, in `config.json`."] if len(paths) > MAX_PATHS else []
    return [*table(taxonomy["levels"], paths[:MAX_PATHS]), *rest]


def _is_quality(key: str) -> bool:
    return key.endswith(("accuracy", "macro_f1", "top5"))


def _held_out(scores: dict[str, float]) -> str:
    return OUT_OF_FOLD if any(key.startswith(OUT_OF_FOLD) for key in scores) else "validation"


def _rows(scores: dict[str, float]) -> list[str]:
    first = _held_out(scores)
    names = [key.removeprefix(f"{first}_") for key in scores if key.startswith(first) and _is_quality(key)]
    splits = (first, "test")
    cells = [[scores.get(f"{split}_{name}") for split in splits] for name in names]
    return [
        f"| {name} | " + " | ".join("–" if cell is None else f"{cell:.4f}" for cell in row) + " |"
        for name, row in zip(names, cells, strict=True)
    ]
