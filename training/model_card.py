"""A trained model as a complete Hugging Face folder: weights, config, preprocessing, arguments and model card."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torchvision.transforms import v2
from transformers import Trainer

from app.files import write_json, write_text
from training.arguments import Arguments

CARD = """---
{metadata}
---
# {title}

{base} fine-tuned on `{dataset}` to tell {num_labels} values of `{label}` apart, from product images padded to a
square and resized to {size}×{size} pixels.

| metric | validation | test |
|---|---|---|
{rows}

Made with `{command}`, seed {seed}. `arguments.json` holds every argument, `config.json` the labels and the taxonomy.

    python predict.py --model {folder} --image_path photo.jpg
"""


def write_model_folder(trainer: Trainer, arguments: Arguments, command: str, scores: dict[str, float]) -> None:
    """Write everything but the ONNX graph into the trainer's output folder.

    command: what the user typed. scores: `validation_accuracy`, `test_macro_f1` … as Trainer.evaluate names them.
    Only safetensors and JSON go in: the Trainer's own pickles stay in the checkpoint folders.
    """
    folder = Path(trainer.args.output_dir)
    trainer.model.save_pretrained(folder)
    normalize = next(step for step in trainer.eval_transform.transforms if isinstance(step, v2.Normalize))
    write_preprocessor(folder, trainer.model.config.image_size, normalize.mean, normalize.std)
    given = {**asdict(arguments), **asdict(trainer.recipe), "training": _public(trainer.args.to_sanitized_dict())}
    write_json(folder / "arguments.json", {"command": command, **given})
    write_text(folder / "README.md", _card(trainer, arguments, command, scores))


def write_preprocessor(folder: Path, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Hugging Face's names for what the training images went through, plus `do_pad_to_square`."""
    content = {
        "image_processor_type": "ViTImageProcessor",  # resize to a fixed size, rescale, normalize: fits every model
        "do_pad_to_square": True,
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


def _card(trainer: Trainer, arguments: Arguments, command: str, scores: dict[str, float]) -> str:
    folder, dataset = Path(trainer.args.output_dir), Path(arguments.dataset).name
    split_and_metric = {key: key.split("_", 1) for key in scores if _is_quality(key)}
    results = [
        EvalResult("image-classification", dataset, dataset, metric, scores[key], dataset_split=split)
        for key, (split, metric) in split_and_metric.items()
    ]
    metadata = ModelCardData(
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
            base=arguments.pretrained or arguments.model,
            dataset=dataset,
            num_labels=trainer.model.config.num_labels,
            label=arguments.label,
            size=trainer.model.config.image_size,
            rows="\n".join(_rows(scores)),
            command=command,
            seed=trainer.args.seed,
            folder=folder,
        )
    ).content


def _is_quality(key: str) -> bool:
    return key.endswith(("accuracy", "macro_f1", "top5"))


def _rows(scores: dict[str, float]) -> list[str]:
    names = [key.removeprefix("validation_") for key in scores if key.startswith("validation_") and _is_quality(key)]
    splits = ("validation", "test")
    cells = [[scores.get(f"{split}_{name}") for split in splits] for name in names]
    return [
        f"| {name} | " + " | ".join("–" if cell is None else f"{cell:.4f}" for cell in row) + " |"
        for name, row in zip(names, cells, strict=True)
    ]
