"""Training speed of train.py beside Hugging Face's run_image_classification.py recipe, same model, size and images.

    python -m benchmarks.train_throughput --dataset data/kaggle_fashion --pretrained DIR

With MobileNetV2 at 96 px on 2 cores (bf16): recipe 69, train.py 147 images/s on an Intel Xeon, 2.1 times; 103 and 261
on an AMD EPYC, 2.6 times.

The recipe: float32, each image decoded and transformed by torchvision on Pillow every time it is seen. Rounds of the
two alternate, so that a machine whose speed drifts slows both; the ratio is the median over the rounds.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import torch
from datasets import Dataset
from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from app.errors import one_line_errors
from benchmarks.processes import describe_machine
from data_prep.pipeline.prepared import load_prepared
from models.registry import build_model, normalization_of
from training.arguments import Parser
from training.augment.batch import batch_transforms
from training.image_dataset import ImageDataset, cached_pixels, collate
from training.trainer import ImageTrainer

WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Options:
    dataset: str = field(metadata={"help": "folder that a data_prep module wrote"})
    label: str = field(default="articleType", metadata={"help": "label column"})
    model: str = field(default="mobilenet_v2", metadata={"help": "name in models/registry.py"})
    pretrained: str | None = field(default=None, metadata={"help": "local weights; default: from scratch"})
    image_size: int = field(default=96, metadata={"help": "side in pixels"})
    batch_size: int = field(default=64, metadata={"help": "images per step"})
    steps: int = field(default=30, metadata={"help": "timed steps per round"})
    rounds: int = field(default=3, metadata={"help": "rounds of both"})


class StepClock(TrainerCallback):
    """Notes the time at the end of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *args, **kwargs) -> None:
        self.times.append(time.perf_counter())

    def images_per_second(self, batch_size: int) -> float:
        times = self.times[WARM_UP_STEPS - 1 :]
        return (len(times) - 1) * batch_size / (times[-1] - times[0])


def main(argv: list[str] | None = None) -> None:
    parser = Parser(Options, prog="python -m benchmarks.train_throughput", description=__doc__.splitlines()[0])
    options = Options(**vars(parser.parse_args(argv)))
    rounds = []
    with one_line_errors(parser):
        split = load_prepared(options.dataset, options.label, ["train"])["train"]
        split = split.select(range(min(len(split), options.batch_size * (options.steps + WARM_UP_STEPS))))
        for number in range(options.rounds):
            rounds.append((recipe_speed(split, options), project_speed(split, options)))
            print(f"round {number + 1}: recipe {rounds[-1][0]:.0f}, train.py {rounds[-1][1]:.0f} images/s", flush=True)
    report(rounds, options)


def recipe_speed(split: Dataset, options: Options) -> float:
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

    images = {"train_dataset": split.with_transform(transform), "data_collator": stack}
    return speed(Trainer, options, new_model(split, options), images, {})


def project_speed(split: Dataset, options: Options) -> float:
    """images/s of train.py: decoded once, augmented in batches, channels_last, bfloat16."""
    train_transform, eval_transform = batch_transforms("basic", *normalization_of(options.pretrained))
    with tempfile.TemporaryDirectory() as folder:
        pixels = cached_pixels(split, options.image_size, Path(folder))
        images = {
            "train_dataset": ImageDataset(split, [options.label], pixels),
            "data_collator": collate,
            "train_transform": train_transform,
            "eval_transform": eval_transform,
        }
        model = new_model(split, options).to(memory_format=torch.channels_last)
        return speed(ImageTrainer, options, model, images, {"bf16": True, "optim": "adamw_torch_fused"})


def new_model(split: Dataset, options: Options) -> PreTrainedModel:
    labels = split.features[options.label].names
    return build_model(options.model, labels, options.image_size, options.pretrained, not options.pretrained)


def speed(
    trainer_class: type[Trainer], options: Options, model: PreTrainedModel, images: dict, training: dict
) -> float:
    """images: what the trainer gets beside the model. training: what differs from the defaults of TrainingArguments."""
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=options.batch_size,
            max_steps=options.steps + WARM_UP_STEPS,
            remove_unused_columns=False,
            use_cpu=not torch.accelerator.is_available(),
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            report_to="none",
            **training,
        )
        trainer_class(model=model, args=arguments, callbacks=[clock], **images).train()
    return clock.images_per_second(options.batch_size)


def report(rounds: list[tuple[float, float]], options: Options) -> None:
    recipe, project = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in rounds)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else describe_machine()
    print(f"\n{options.model}, {options.image_size} px, batch {options.batch_size}, {device}")
    print(f"run_image_classification.py recipe  {recipe:6.0f} images/s")
    print(f"train.py                            {project:6.0f} images/s  ({ratio:.1f} times)")


if __name__ == "__main__":
    main()
