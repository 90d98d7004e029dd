"""The rows of `python -m studies.slash8`: which recipes are compared. A new row is one line here.

Every row is trained on the same five folds with the same seed, for EPOCHS epochs at SMALL pixels unless it says
otherwise. They are run in this order: what may become the shipped model first.
"""

from dataclasses import dataclass

EPOCHS = 12
SMALL = 96
SPEED_AT = 96  # pixels
# Training images per second at that size, measured on two quiet cores (AMD EPYC, bf16); Lite1 and Lite2 by their ratio
# to Lite0.
SPEED = {
    "mobilenet_v2": 250, "efficientnet_lite0": 158, "efficientnet_lite1": 110, "efficientnet_lite2": 93,
    "basic_cnn": 794, "residual_cnn": 747, "resnet18": 256, "vit_tiny": 238, "efficientnet_b0": 115, "resnet50": 103,
    "inception_v3": 182, "dinov2_small": 76, "convnext_tiny": 72, "vgg16": 13,
}  # fmt: skip
OVERHEAD_S = 8  # start of a training, and the answers about the images held out

MIX = ("--mixup", "0.2", "--cutmix", "1.0", "--ema", "0.98")


@dataclass(frozen=True)
class Row:
    """section: of the page. weights: which option of the study names them; None: from scratch.

    options: more arguments of train.py. views: all of predict.py --tta, not the mirror image only. slow: run with --all
    or when named.
    """

    name: str
    section: str
    model: str
    weights: str | None
    what: str
    size: int = SMALL
    epochs: int = EPOCHS
    options: tuple[str, ...] = ()
    views: bool = False
    slow: bool = False

    def seconds(self, images: int) -> float:
        """Estimate for one fold with so many training images."""
        speed = SPEED[self.model] * (SPEED_AT / self.size) ** 2
        return OVERHEAD_S + images * self.epochs / speed * (1.1 if self.views else 1.0)

    def arguments(self, weights: str | None) -> list[str]:
        """Of train.py; weights: the folder or Hub id behind self.weights."""
        start = ["--pretrained", weights] if weights else ["--from_scratch"]
        epochs = ["--num_train_epochs", str(self.epochs), "--per_device_train_batch_size", "32"]
        return ["--model", self.model, *start, *epochs, *self.options]


LITE0, MOBILENET = "efficientnet_lite0", "mobilenet_v2"
GENTLE = ("--learning_rate", "4e-4", "--layer_decay", "0.9")
# On so few images a new head first learns on frozen features, then all layers learn.
HEAD_FIRST = ("--learning_rate", "1e-3", "--layer_decay", "0.9", "--freeze_backbone", "4", "--mixup", "0.2")
# fmt: off
ROWS = (
    # What may be shipped.
    Row("lite0_192", "lift", LITE0, "lite0", "larger input, head first, longer, mixup", 192, 20, HEAD_FIRST, True),
    Row("lite0_160", "lift", LITE0, "lite0", "larger input, learning rate falling by layer", 160, 12, GENTLE, True),
    Row("mobilenet_160", "lift", MOBILENET, "mobilenet", "the same", 160, 12, GENTLE, True, slow=True),
    Row("lite0_160_mix", "lift", LITE0, "lite0", "and mixup, cutmix, EMA", 160, 12, (*GENTLE, *MIX), True, slow=True),
    Row("fashion_warm", "lift", MOBILENET, "fashion", "mobilenet_v2 below, but from the project's fashion model"),
    # The architectures, all alike.
    Row("efficientnet_lite0", "architecture", LITE0, "lite0", "ImageNet weights"),
    Row("mobilenet_v2", "architecture", MOBILENET, "mobilenet", "ImageNet weights"),
    Row("mobilenet_v2_scratch", "architecture", MOBILENET, None, "from scratch"),
    Row("basic_cnn", "architecture", "basic_cnn", None, "from scratch"),
    Row("residual_cnn", "architecture", "residual_cnn", None, "from scratch"),
    Row("resnet18", "architecture", "resnet18", None, "from scratch"),
    Row("vit_tiny", "architecture", "vit_tiny", None, "from scratch"),
    # Imbalance: against mobilenet_v2 above, which does nothing about it.
    Row("weights", "imbalance", MOBILENET, "mobilenet", "class weights", options=("--class_weights", "inverse")),
    Row("balanced", "imbalance", MOBILENET, "mobilenet", "balanced sampler", options=("--sampler", "balanced")),
    Row("augment_none", "imbalance", MOBILENET, "mobilenet", "no augmentation", options=("--augment", "none")),
    Row("trivial", "imbalance", MOBILENET, "mobilenet", "TrivialAugment", options=("--augment", "trivial"), slow=True),
    Row("adjusted", "imbalance", MOBILENET, "mobilenet", "logit adjustment",
        options=("--logit_adjustment", "1"), slow=True),
    Row("lite0_224", "lift", LITE0, "lite0", "largest input", 224, 12, GENTLE, True, slow=True),
    Row("efficientnet_lite0_scratch", "architecture", LITE0, None, "from scratch", slow=True),
    Row("efficientnet_b0", "architecture", "efficientnet_b0", None, "from scratch", slow=True),
    Row("resnet50", "architecture", "resnet50", None, "from scratch", slow=True),
    Row("inception_v3", "architecture", "inception_v3", None, "from scratch", slow=True),
    Row("dinov2_small", "architecture", "dinov2_small", None, "from scratch", size=98, slow=True),
    Row("convnext_tiny", "architecture", "convnext_tiny", None, "from scratch", slow=True),
    Row("vgg16", "architecture", "vgg16", None, "from scratch", slow=True),
)
# fmt: on
# Features of weights that are not trained further, for a linear classifier and for nearest neighbours.
PROBES = {
    "probe_lite0": ("lite0", 224),
    "probe_lite1": ("lite1", 240),
    "probe_lite2": ("lite2", 260),
    "probe_mobilenet": ("mobilenet", 224),
    "probe_fashion": ("fashion", 128),
}  # fmt: skip
IMAGENET_PROBES = tuple(f"{name}, linear" for name, (weights, _) in PROBES.items() if weights != "fashion")
# Chosen before any of their scores was known: the mean of the probabilities of these lines of the page.
ENSEMBLES = {
    "ImageNet probes together": IMAGENET_PROBES,
    "lite0_192 and the ImageNet probes": ("lite0_192, views", *IMAGENET_PROBES),
}
