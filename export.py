"""Write a trained model as an ONNX graph, check it against torch on real images, and quantize it on demand.

    python export.py --model runs/mine --dataset data/kaggle_fashion                   # model.onnx from the safetensors
    python export.py --model app/models/fashion --dataset data/kaggle_fashion --int8   # model.int8.onnx, in 30 s

The graph reads `pixel_values` and gives `logits`, `embeddings` (what the last linear layer reads) and, where that layer
follows an average over places, `class_maps`: what each place says for each label (Zhou et al. 2016). Its weights take
16 bits in the file and are float32 once loaded.
"""

import argparse
import sys
from pathlib import Path

from app.errors import OneLineParser, add_version, one_line_errors
from app.model_files import INT8_FILE, MODEL_FILE


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    from evaluation.checked_export import export_folder, quantize_folder  # torch takes some seconds
    from models.export_onnx import ExportError

    write = quantize_folder if options.int8 else export_folder
    with one_line_errors(parser):
        try:
            write(options.model, options.dataset)
        except ExportError as error:
            sys.exit(f"export.py: nothing was written: {error}")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="export.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="a model folder that train.py wrote")
    parser.add_argument("--dataset", required=True, help="the prepared dataset that it learned, to check it with")
    parser.add_argument("--int8", action="store_true", help=f"write {INT8_FILE} from the folder's {MODEL_FILE}")
    add_version(parser)
    return parser


if __name__ == "__main__":
    main()
