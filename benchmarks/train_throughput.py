"""Training speed of train.py beside Hugging Face's run_image_classification.py recipe, same model, size and images.

    python -m benchmarks.train_throughput --dataset data/kaggle_fashion --pretrained DIR

With MobileNetV2 at 96 px on 2 cores (AMD EPYC, bf16): recipe 103, train.py 261 images/s, 2.6 times.

The recipe: float32, each image decoded and transformed by torchvision on Pillow every time it is seen. Rounds of the
two alternate, so that a machine whose speed drifts slows both; the ratio is the median over the rounds.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import torch
from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from data_prep.pipeline.prepared import load_prepared
from models.registry import build_model, normalization_of
from training.augment.batch import batch_transforms
from training.image_dataset import ImageDataset, cached_pixels, collate
from training.trainer import ImageTrainer

WARM_UP_STEPS = 3


class StepClock(TrainerCallback):
    """Notes the time at the end of every step."""

    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, *args, **kwargs) -> None:
        self.times.append(time.perf_counter())

    def images_per_second(self, batch_size: int) -> float:
        times = self.times[WARM_UP_STEPS - 1 :]
        return (len(times) - 1) * batch_size / (times[-1] - times[0])


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    split = load_prepared(options.dataset, options.label, ["train"])["train"]
    split = split.select(range(min(len(split), options.batch_size * (options.steps + WARM_UP_STEPS))))
    rounds = []
    for number in range(options.rounds):
        rounds.append((recipe_speed(split, options), project_speed(split, options)))
        print(f"round {number + 1}: recipe {rounds[-1][0]:.0f}, train.py {rounds[-1][1]:.0f} images/s", flush=True)
    report(rounds, options)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder that a data_prep module wrote")
    parser.add_argument("--label", default="articleType", help="label column")
    parser.add_argument("--model", default="mobilenet_v2", help="name in models/registry.py")
    parser.add_argument("--pretrained", help="local weights; without them the model starts from scratch")
    parser.add_argument("--image_size", type=int, default=96, help="side in pixels (default: 96)")
    parser.add_argument("--batch_size", type=int, default=64, help="images a step (default: 64)")
    parser.add_argument("--steps", type=int, default=30, help="timed steps a round (default: 30)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both (default: 3)")
    return parser.parse_args(argv)


def new_model(split, options: argparse.Namespace):
    labels = split.features[options.label].names
    return build_model(options.model, labels, options.image_size, options.pretrained, not options.pretrained)


def training_arguments(folder: str, options: argparse.Namespace, **more) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=options.batch_size,
        max_steps=options.steps + WARM_UP_STEPS,
        remove_unused_columns=False,
        use_cpu=not torch.accelerator.is_available(),
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        report_to="none",
        **more,
    )


def recipe_speed(split, options: argparse.Namespace) -> float:
    """images/s of the transforms, collator and Trainer defaults of run_image_classification.py."""
    mean, std = normalization_of(options.pretrained)
    size = options.image_size
    transforms = Compose([RandomResizedCrop(size), RandomHorizontalFlip(), ToTensor(), Normalize(mean, std)])

    def transform(rows: dict) -> dict:
        pixels = [transforms(image.convert("RGB")) for image in rows["image"]]
        return {"pixel_values": pixels, "label": rows[options.label]}

    def stack(rows: list[dict]) -> dict:
        labels = torch.tensor([row["label"] for row in rows])
        return {"pixel_values": torch.stack([row["pixel_values"] for row in rows]), "labels": labels}

    return _speed(Trainer, split.with_transform(transform), stack, new_model(split, options), options)


def project_speed(split, options: argparse.Namespace) -> float:
    """images/s of train.py: decoded once, augmented by batches, channels_last, bfloat16."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = cached_pixels(split, options.image_size, Path(folder))
        images = ImageDataset(split, [options.label], pixels)
        train_transform, eval_transform = batch_transforms("basic", *normalization_of(options.pretrained))
        model = new_model(split, options).to(memory_format=torch.channels_last)
        more = {"train_transform": train_transform, "eval_transform": eval_transform}
        return _speed(ImageTrainer, images, collate, model, options, more, bf16=True, optim="adamw_torch_fused")


def _speed(trainer_class, images, collator, model, options: argparse.Namespace, more: dict | None = None, **arguments):
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_class(
            model=model,
            args=training_arguments(folder, options, **arguments),
            train_dataset=images,
            data_collator=collator,
            callbacks=[clock],
            **(more or {}),
        )
        trainer.train()
    return clock.images_per_second(options.batch_size)


def report(rounds: list[tuple[float, float]], options: argparse.Namespace) -> None:
    recipe, project = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in rounds)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores"
    print(f"\n{options.model}, {options.image_size} px, batch {options.batch_size}, {device}, {platform.processor()}")
    print(f"run_image_classification.py recipe  {recipe:6.0f} images/s")
    print(f"train.py                            {project:6.0f} images/s  ({ratio:.1f} times)")


if __name__ == "__main__":
    main()
