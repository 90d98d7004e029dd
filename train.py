"""Train a classifier on your images, or on a prepared dataset, and say how good it is.

    python train.py --dataset photos/                               # or shop.zip, or a table: docs/own_catalogue.md
    python train.py --dataset catalogue.xlsx --image_root photos/ --label_columns department kind
    python train.py --dataset photos/ --frozen                 # a linear layer on frozen features: a minute

    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python train.py --model mobilenet_v2 --dataset data/kaggle_fashion --label articleType
    python train.py ... --image_size 96 --num_train_epochs 4        # accuracy 84.6% on test, results/README.md

Any TrainingArguments follow, such as `--num_train_epochs 3 --report_to wandb`; `--resume_from_checkpoint True` goes on
after an interruption. The output folder is a complete Hugging Face model with `model.onnx` beside it.

    python train.py --ema 0.999 --mixup 0.2 --augment trivial ...   # the recipe: training/arguments.py
    python train.py --pretrained runs/big --freeze_backbone 1 ...   # from weights for other labels
    python train.py --teacher runs/big --model mobilenet_v2 ...     # distillation: training/distillation.py
    python train.py --folds 5 ...                                   # cross-validation: training/cross_validation.py
    python train.py --title_column title ...                        # reads titles too: training/titles.py
    python train.py --report_to wandb ...                           # or trackio: training/tracking.py
    python train.py --streaming --dataset hf://datasets/me/x ...    # shards without a copy: training/streaming.py
    torchrun --nproc_per_node 2 train.py ...                        # two GPUs; on two machines, in each of them:
    torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 train.py ...
"""

import time

from app.errors import EXIT_FAILED, one_line_errors


def main(argv: list[str] | None = None) -> None:
    started = time.monotonic()
    # Not above: each process that checks images imports this file, and would spend 8 s on what only a training needs.
    import models.torchvision_cpu  # noqa: F401  before transformers

    from evaluation.provenance import command_line
    from models.export_onnx import ExportError
    from training.arguments import build_parser, parse_command_line
    from training.one_command import run
    from training.trainer import DivergedError

    parser = build_parser(__doc__.splitlines()[0])
    with one_line_errors(parser):
        line = parse_command_line(parser, argv)
        try:
            run(line, command_line("train.py", argv), started)
        except (DivergedError, ExportError) as error:
            parser.exit(EXIT_FAILED, f"{error}\n")


if __name__ == "__main__":
    main()
