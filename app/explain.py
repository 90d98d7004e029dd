"""Show which parts of an image are evidence for its label: a heat map from the ONNX graph alone, no torch.

    heat = heat_map(classifier, "shirt.jpg")                # (height, width) float32 in [0, 1], as the model sees it
    overlay("shirt.jpg", heat).save("why.png")              # the image with the heat on it

A patch in the color of the image's edge hides one place after the other; where that changes the label's probability
most, the heat is (occlusion, Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901). Class activation maps are faster
but do not say where a thing is: a cell of them sees most of the image, lies half a cell off its center where strided
layers pad on one side only, and answers to the padding (benchmarks/heat_map.py measures both).
"""

from typing import TypeVar

import numpy as np
from PIL import Image

from .classifier import Classifier
from .errors import UserError
from .images import ImageSource, load_image

OCCLUSION_STEPS = 13  # places of the patch along each side
OCCLUSION_SIZE = 0.15  # side of the patch as a share of the image's
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
    evidence = _from_occlusion(classifier, pixels, label_id)
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
    heat = _crop_padding(heat, size) if padded else _resized(heat, size).clip(0, 1)
    places, heat = np.linspace(0, 1, len(COLORS)), heat**CONTRAST
    colors = np.stack([np.interp(heat, places, channel) for channel in COLORS.T], axis=2)
    cover = np.interp(heat, places, COVER)[..., None]
    return Image.fromarray((pixels * (1 - cover) + colors * cover).clip(0, 255).astype(np.uint8))


def _from_occlusion(classifier: Classifier, pixels: np.ndarray, label_id: int) -> np.ndarray:
    """How far the label's log-probability moves while a patch hides a place, (height, width).

    The patch has the color of the image's edge, so that hiding an empty background changes nothing, and it may hang
    over the edge, so that corners are hidden as often as the middle.
    """
    height, width = pixels.shape[1:]
    patch_height, patch_width = round(OCCLUSION_SIZE * height), round(OCCLUSION_SIZE * width)
    patches = [
        (_inside(y, patch_height), _inside(x, patch_width))
        for y in np.linspace(-patch_height / 2, height - patch_height / 2, OCCLUSION_STEPS)
        for x in np.linspace(-patch_width / 2, width - patch_width / 2, OCCLUSION_STEPS)
    ]
    color = _edge_color(pixels)
    whole = _log_probability(classifier.logits(pixels[None]), label_id)[0]
    total, count = np.zeros((2, height, width), dtype=np.float32)
    for batch in _batches(patches):
        occluded = np.repeat(pixels[None], len(batch), axis=0)
        for image, (rows, columns) in zip(occluded, batch, strict=True):
            image[:, rows, columns] = color
        changes = np.abs(whole - _log_probability(classifier.logits(occluded), label_id))
        for change, patch in zip(changes, batch, strict=True):
            total[patch] += change
            count[patch] += 1
    return total / np.maximum(count, 1)


def _inside(start: float, length: int) -> slice:
    """The part of a patch that lies in the image."""
    return slice(max(0, round(start)), max(0, round(start) + length))


def _edge_color(pixels: np.ndarray) -> np.ndarray:
    """(3, 1, 1): the median color along the four sides."""
    sides = [pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]]
    return np.median(np.concatenate(sides, axis=1), axis=1)[:, None, None]


def _batches(places: list[Place]) -> list[list[Place]]:
    return [places[start : start + BATCH_SIZE] for start in range(0, len(places), BATCH_SIZE)]


def _log_probability(logits: np.ndarray, label_id: int) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return logits[:, label_id] - np.log(np.exp(logits).sum(axis=1))


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) float32 at (width, height), smooth."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def _crop_padding(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a square's heat that lies on an image of (width, height) centered in it, at that size."""
    side = max(size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    return _resized(heat, (side, side)).clip(0, 1)[top : top + size[1], left : left + size[0]]
