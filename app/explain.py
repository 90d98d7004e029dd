"""Show which parts of an image are evidence for its label: a heat map from the ONNX graph alone, no torch.

    heat = heat_map(classifier, "shirt.jpg")                # (height, width) float32 in [0, 1], as the model sees it
    overlay("shirt.jpg", heat).save("why.png")              # the image with the heat on it

If the graph has the output `class_maps`, the last layer applied at each place of the last feature map, this is class
activation mapping (Zhou et al. 2016, https://arxiv.org/abs/1512.04150), for a ViT the share of each patch. The map is
coarse, 4x4 for a MobileNetV2 at 128 px, so it is averaged over shifts of the image. Other graphs are explained by
occlusion (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901).
"""

from typing import TypeVar

import numpy as np
from PIL import Image

from .classifier import Classifier
from .errors import UserError
from .images import ImageSource, load_image

SHIFTS = 4  # along each side; the steps between them divide one cell of the class map
OCCLUSION_STEPS = 10  # places of the gray patch along each side
OCCLUSION_SIZE = 0.25  # side of the patch as a share of the image's
BATCH_SIZE = 16
OVERLAY_SIDE = 512  # the longest side of an overlay, at most
# Heat from none to most: how it is drawn, in RGB, and how much of the image it covers.
COLORS = np.array([(25, 25, 70), (75, 35, 130), (190, 50, 110), (245, 120, 50), (255, 225, 80)], dtype=np.float32)
COVER = (0.6, 0.6, 0.5, 0.45, 0.4)
CONTRAST = 1.4  # a power of the heat, so that weak evidence does not glow

Place = TypeVar("Place")


def heat_map(classifier: Classifier, image: ImageSource, label: str | None = None) -> np.ndarray:
    """(height, width) float32 over the square that the model sees, padding included: 0 is no evidence, 1 the most.

    label: the one to explain, by default the model's best. Raises ImageError for a bad image, UserError for an unknown
    label.
    """
    if label is not None and label not in classifier.labels:
        raise UserError(f"the model has no label {label!r}; it has {', '.join(classifier.labels[:10])} …")
    pixels = classifier.read(image)
    logits = classifier.logits(pixels[None])[0]
    label_id = int(logits.argmax()) if label is None else classifier.labels.index(label)
    explain = _from_class_maps if "class_maps" in classifier.outputs else _from_occlusion
    evidence = explain(classifier, pixels, label_id)
    lowest, highest = np.percentile(evidence, 5), evidence.max()
    return np.clip((evidence - lowest) / max(highest - lowest, 1e-6), 0, 1).astype(np.float32)


def overlay(image: ImageSource, heat: np.ndarray, padded: bool = True) -> Image.Image:
    """The image, at most OVERLAY_SIDE long, in its own aspect ratio: bright where the heat is, dark elsewhere.

    heat: from heat_map. padded: whether the model pads images to a square (`do_pad_to_square`); the heat on the
    padding is cropped away.
    """
    rgb = load_image(image, target_size=OVERLAY_SIDE)
    scale = OVERLAY_SIDE / max(rgb.size)
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    pixels = np.asarray(rgb.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    heat = _crop_padding(heat, size) if padded else _resized(heat, size)
    places, heat = np.linspace(0, 1, len(COLORS)), heat**CONTRAST
    colors = np.stack([np.interp(heat, places, channel) for channel in COLORS.T], axis=2)
    cover = np.interp(heat, places, COVER)[..., None]
    return Image.fromarray((pixels * (1 - cover) + colors * cover).clip(0, 255).astype(np.uint8))


def _from_class_maps(classifier: Classifier, pixels: np.ndarray, label_id: int) -> np.ndarray:
    """The label's class map minus the mean over the labels, averaged over shifts of the image, (height, width)."""
    height, width = pixels.shape[1:]
    rows, columns = classifier.class_maps(pixels[None]).shape[2:]
    steps = np.arange(SHIFTS) - (SHIFTS - 1) / 2
    offsets = [(round(y * height / rows / SHIFTS), round(x * width / columns / SHIFTS)) for y in steps for x in steps]
    total = np.zeros((height, width), dtype=np.float32)
    for batch in _batches(offsets):
        maps = classifier.class_maps(np.stack([_shifted(pixels, y, x) for y, x in batch]))
        evidence = maps[:, label_id] - maps.mean(axis=1)
        for (y, x), shifted_map in zip(batch, evidence, strict=True):
            total += _shifted(_resized(shifted_map, (width, height))[None], -y, -x)[0]
    return total / len(offsets)


def _from_occlusion(classifier: Classifier, pixels: np.ndarray, label_id: int) -> np.ndarray:
    """How far the label's log-probability drops while a patch of mean color hides a place, (height, width)."""
    height, width = pixels.shape[1:]
    patch_height, patch_width = round(OCCLUSION_SIZE * height), round(OCCLUSION_SIZE * width)
    patches = [
        (slice(round(y), round(y) + patch_height), slice(round(x), round(x) + patch_width))
        for y in np.linspace(0, height - patch_height, OCCLUSION_STEPS)
        for x in np.linspace(0, width - patch_width, OCCLUSION_STEPS)
    ]
    mean_color = pixels.mean(axis=(1, 2))[:, None, None]
    whole = _log_probability(classifier.logits(pixels[None]), label_id)[0]
    total, count = np.zeros((2, height, width), dtype=np.float32)
    for batch in _batches(patches):
        occluded = np.repeat(pixels[None], len(batch), axis=0)
        for image, (rows, columns) in zip(occluded, batch, strict=True):
            image[:, rows, columns] = mean_color
        drops = whole - _log_probability(classifier.logits(occluded), label_id)
        for drop, patch in zip(drops, batch, strict=True):
            total[patch] += drop
            count[patch] += 1
    return total / count


def _batches(places: list[Place]) -> list[list[Place]]:
    return [places[start : start + BATCH_SIZE] for start in range(0, len(places), BATCH_SIZE)]


def _log_probability(logits: np.ndarray, label_id: int) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return logits[:, label_id] - np.log(np.exp(logits).sum(axis=1))


def _shifted(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """(channels, height, width) moved; the edge is repeated where nothing moves in."""
    height, width = pixels.shape[1:]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return pixels[:, rows[:, None], columns]


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) float32 at (width, height), smooth."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def _crop_padding(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a square's heat that lies on an image of (width, height) centered in it, at that size."""
    side = max(size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    return _resized(heat, (side, side)).clip(0, 1)[top : top + size[1], left : left + size[0]]
