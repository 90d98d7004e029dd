"""The rows of `python -m studies.domain_gap`: what is trained on what. A new row is one line here.

All rows train EfficientNet-Lite0 for STEPS batches of BATCH images at SIZE pixels unless they say otherwise, with the
weights and the augmentation of train.py unless options change them, in this order. Rows for a GPU, where they take
minutes, are run only when --only names them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MODEL = "efficientnet_lite0"
SIZE = 96
BATCH = 64
STEPS = 320
SEED = 42
SPEED = 158  # training images per second at SIZE on two quiet cores
OVERHEAD_S = 25  # start, decoding from the cache, the answers about all scored images
CATALOG_IMAGES = 300  # per class, for the linear layer that helps to sort photos without labels
PHOTO_REPEATS = 4  # in joint training, how often a photo counts beside an image of the catalogue


@dataclass(frozen=True)
class Row:
    """source: what it trains on: a source, `few_N` (photos per class), `joint` (all three), `unlabelled` and
    `clusters` (the photos without their labels) or None: weights as they are.

    start: weights: `imagenet`, the name of a model in --pretrained, `fashion`, None: from scratch, or the name of an
    earlier row. labeled_photos: whether photos with labels took part. adapted: also score with test-time BatchNorm.
    work: how many times as long an image takes as with MODEL. repeats: how often a photo counts in joint training
    beside an image of the catalogue. teachers: earlier rows whose mean answer it also learns.
    """

    name: str
    what: str
    source: str | None
    start: str | None = "imagenet"
    steps: int = STEPS
    size: int = SIZE
    options: tuple[str, ...] = ()
    labeled_photos: bool = False
    adapted: bool = False
    work: float = 1.0
    repeats: int = PHOTO_REPEATS
    model: str = MODEL
    batch: int = BATCH
    teachers: tuple[str, ...] = ()
    gpu: bool = False

    def seconds(self) -> float:
        training = self.work * self.steps * self.batch / SPEED * (self.size / SIZE) ** 2
        return OVERHEAD_S + (training if self.source else 0)

    def arguments(self, start: str | None, teachers: Sequence[str] = ()) -> list[str]:
        """Of train.py; start: the folder or Hub id of the weights; teachers: folders."""
        weights = ["--pretrained", start] if start else ["--from_scratch"]
        steps = ["--max_steps", str(self.steps), "--per_device_train_batch_size", str(self.batch)]
        size = ["--image_size", str(self.size), "--seed", str(SEED)]
        taught = ["--teacher", *teachers] if teachers else []
        return ["--model", self.model, *weights, *steps, *size, *self.options, *taught]


PHONE = ("--augment", "phone")
GENTLE = ("--learning_rate", "4e-4")
WORDS = ("--teach_words", "title", "gender", "baseColour", "season", "usage", "--word_weight", "0.2")
ON_WORDS = ("--learning_rate", "6e-4", "--ema", "0.998", *WORDS)
LOADERS = ("--dataloader_num_workers", "3")
STRONG = ("--ema", "0.999", "--augment", "trivial", *WORDS, *LOADERS)
TEACHING = (*STRONG, "--label_smoothing_factor", "0.05")
TAUGHT = (*STRONG, "--learning_rate", "3e-3", "--label_smoothing_factor", "0", "--distill_weight", "0.7")
TEACHERS = ("teacher_lite2", "teacher_vit")
SETTLED = (*ON_WORDS, *GENTLE, "--label_smoothing_factor", "0", "--word_weight", "0.1")
ROWS = (
    Row("kaggle", "the catalogue alone", "kaggle", adapted=True),
    Row("clothing", "photos with labels: the upper end", "clothing", labeled_photos=True),
    Row("kaggle_phone", "images that imitate phones", "kaggle", options=PHONE, adapted=True),
    Row("kaggle_phone_balanced", "the same, every class drawn equally often", "kaggle",
        options=(*PHONE, "--sampler", "balanced"), adapted=True),
    Row("adapted", "kaggle_phone adapted to photos without their labels", "unlabelled", "kaggle_phone", 200),
    Row("adapted_longer", "the same for 600 batches", "unlabelled", "kaggle_phone", 600),
    Row("clustered", "photos sorted by kaggle_phone and features of Lite2", "clusters", "kaggle_phone", 0, 224),
    Row("joint", "all sources, coarse labels as sums of leaves", "joint", labeled_photos=True),
    Row("few_5", "5 photos per class on top of kaggle_phone", "few_5", "kaggle_phone", 60, SIZE, GENTLE, True),
    Row("few_20", "20 photos per class on top of kaggle_phone", "few_20", "kaggle_phone", 100, SIZE, GENTLE, True),
    Row("few_100", "100 photos per class on top of kaggle_phone", "few_100", "kaggle_phone", 200, SIZE, GENTLE, True),
    Row("fashion_mnist", "grey 28 px images alone", "fashion_mnist"),
    Row("kaggle_scratch", "the catalogue alone, no ImageNet weights", "kaggle", None),
    Row("fashion", "the project's fashion model before joint training", None, "fashion", 0, 128),
    Row("fashion_joint", "joint training from the fashion model, 160 px", "joint", "fashion", 1600, 160,
        (*GENTLE, "--label_smoothing_factor", "0"), True),
    Row("fashion_joint_128", "the same, shorter, smoothed labels, 128 px", "joint", "fashion", 600, 128, GENTLE, True),
    Row("fashion_words", "on from the shipped model, taught the words of titles", "joint", "fashion", 700, 160,
        ON_WORDS, True, repeats=2),
    Row("fashion_settled", "on from 60% of fashion_words and 40% of its start, gently", "joint", "fashion", 1300,
        160, SETTLED, True, repeats=2),
    Row("clothing_160", "photos with labels, 160 px", "clothing", "imagenet", 600, 160, GENTLE, True),
    Row("clothing_lite2", "photos with labels, EfficientNet-Lite2 at 192 px", "clothing",
        "efficientnet_lite2", 480, 192, GENTLE, True, work=1.7),
    Row("clothing_lite2_224", "the same at 224 px", "clothing", "efficientnet_lite2", 480, 224, GENTLE, True, work=1.7),
    Row("teacher_lite2", "a teacher: EfficientNet-Lite2 at 192 px, taught the words of titles", "joint",
        "efficientnet_lite2", 800, 192, (*TEACHING, "--learning_rate", "2.5e-3"), True, work=1.7,
        model="efficientnet_lite2", batch=512, gpu=True),
    Row("teacher_vit", "a teacher: ViT-S (DINOv2) at 168 px, the same", "joint", "dinov2_small", 800, 168,
        (*TEACHING, "--learning_rate", "3e-4"), True, work=6, model="dinov2_small", batch=512, gpu=True),
    Row("taught_lite1", "EfficientNet-Lite1 at 144 px, taught by both", "joint", "efficientnet_lite1", 2400, 144,
        TAUGHT, True, work=1.3, model="efficientnet_lite1", batch=512, teachers=TEACHERS, gpu=True),
    Row("taught_longer", "the same, on with a third of the learning rate", "joint", "taught_lite1", 900, 144,
        (*TAUGHT, "--learning_rate", "1e-3"), True, work=1.3, model="efficientnet_lite1", batch=512,
        teachers=TEACHERS, gpu=True),
)  # fmt: skip
MATRIX = ("fashion_mnist", "kaggle", "clothing")
LOWER, UPPER = "kaggle", "clothing"  # between them lies the gap
SHIPPED = "taught_lite1"
KEPT_MODELS = ("kaggle_phone", "fashion_joint", "fashion_joint_128", "fashion_words", "fashion_settled", "clothing_160",
    *TEACHERS, SHIPPED, "taught_longer")  # fmt: skip
