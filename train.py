"""Fine-tune one model on one prepared dataset with the Transformers Trainer.

    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python train.py --model mobilenet_v2 --dataset data/kaggle_fashion --label articleType
    python train.py ... --image_size 96 --num_train_epochs 4        # accuracy 84.6% on test, results/README.md

Any TrainingArguments follow, such as `--num_train_epochs 3 --report_to wandb`; `--resume_from_checkpoint True` goes on
after an interruption. The output folder is a complete Hugging Face model with `model.onnx` beside it.

    python train.py --ema 0.999 --mixup 0.2 --augment trivial ...   # the recipe: training/arguments.py
    python train.py --pretrained runs/big --freeze_backbone 1 ...   # from weights for other labels
    python train.py --teacher runs/big --model mobilenet_v2 ...     # distillation: training/distillation.py
    python train.py --folds 5 ...                                   # cross-validation: training/cross_validation.py
    python train.py --report_to wandb ...                           # or trackio: training/tracking.py
    python train.py --streaming --dataset hf://datasets/me/x ...    # shards without a copy: training/streaming.py
    torchrun --nproc_per_node 2 train.py ...                        # two GPUs; on two machines, in each of them:
    torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 train.py ...
"""

from functools import partial

import models.torchvision_cpu  # noqa: F401  before transformers

from app.errors import EXIT_FAILED, one_line_errors
from evaluation.provenance import command_line
from models.export_onnx import ExportError
from training.arguments import build_parser, parse
from training.cross_validation import check_folds, cross_validate
from training.data import open_data
from training.run import train_model
from training.tracking import check_tracking
from training.trainer import DivergedError


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__.splitlines()[0])
    with one_line_errors(parser):
        arguments, recipe, training = parse(parser, argv)
        train_one = partial(train_model, arguments=arguments, recipe=recipe, command=command_line("train.py", argv))
        check_tracking(training)
        check_folds(arguments)
        data = open_data(arguments, recipe)
        try:
            if arguments.folds:
                cross_validate(data, arguments, training, train_one)
            else:
                train_one(data, training)
        except (DivergedError, ExportError) as error:
            parser.exit(EXIT_FAILED, f"{error}\n")


if __name__ == "__main__":
    main()
