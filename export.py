"""Write a trained model as an ONNX graph, check it against torch on real images, and quantize it on demand.

    python export.py --model runs/mine --dataset data/kaggle_fashion                   # model.onnx from the safetensors
    python export.py --model app/models/fashion --dataset data/kaggle_fashion --int8   # model.int8.onnx, in 30 s
    python export.py --model runs/mine --dataset data/mine --half                      # safetensors in 16 bits, too
    python export.py --model runs/mine --push me/shop-shirts                           # the folder to the Hub

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
    if not options.dataset and not options.push:
        parser.error("--dataset is needed to check the graph with; only --push goes without")
    if options.push and not options.dataset and (options.int8 or options.half):
        parser.error("--int8 and --half need --dataset, to check the graph with")
    from evaluation.checked_export import export_folder, quantize_folder  # torch takes some seconds
    from models.export_onnx import ExportError
    from models.hub import check_push, push_folder

    with one_line_errors(parser):
        if options.push:
            check_push(options.push)
        try:
            if options.dataset and not options.int8:
                export_folder(options.model, options.dataset, options.half)
            elif options.int8:
                quantize_folder(options.model, options.dataset)
        except ExportError as error:
            sys.exit(f"export.py: nothing was written: {error}")
        if options.push:
            print(push_folder(options.model, options.push, options.private or None))


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="export.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="a model folder that train.py wrote")
    parser.add_argument("--dataset", help="the prepared dataset that it learned, to check it with")
    parser.add_argument("--int8", action="store_true", help=f"write {INT8_FILE} from the folder's {MODEL_FILE}")
    parser.add_argument("--half", action="store_true", help="store the safetensors in 16 bits and export these")
    parser.add_argument("--push", metavar="USER/NAME", help="upload the finished folder to the Hugging Face Hub")
    parser.add_argument("--private", action="store_true", help="only you can see a repository that --push creates")
    add_version(parser)
    return parser


if __name__ == "__main__":
    main()
