"""Show what in an image spoke for its label: a heat map from the ONNX graph alone, no torch.

    heat = heat_map(classifier, "shirt.jpg")                # (height, width) float32 in [0, 1], what the model sees
    overlay("shirt.jpg", heat).save("why.png")              # the image with the heat on it

Where the graph has the output `class_maps`, the last layer applied at each place of the last feature map, this is class
activation mapping (Zhou et al. 2016, https://arxiv.org/abs/1512.04150), for a ViT the share of each patch. The map is
coarse, 4×4 for a MobileNetV2 at 128 px, so it is taken at shifts of the image and put together. Other graphs are
explained by occlusion (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901).
"""

import numpy as np
from PIL import Image

from .classifier import Classifier
from .images import ImageSource, load_image

SHIFTS = 4  # a side; the steps between them divide one cell of the class map
OCCLUSION_STEPS = 10  # places of the grey patch along a side
OCCLUSION_SIZE = 0.25  # its side as a share of the image's
BATCH = 16
OVERLAY_SIDE = 512  # the longest side of an overlay, at most
# Heat from none to most: how it is drawn, in RGB, and how much of the image it covers.
COLORS = np.array([(25, 25, 70), (75, 35, 130), (190, 50, 110), (245, 120, 50), (255, 225, 80)], dtype=np.float32)
COVER = (0.6, 0.6, 0.5, 0.45, 0.4)
CONTRAST = 1.4  # a power of the heat, so that what mattered a little does not glow


def heat_map(classifier: Classifier, image: ImageSource, label: str | None = None) -> np.ndarray:
    """(height, width) float32 over the square that the model sees, padding included: 0 no part in it, 1 the most.

    label: the one to explain, the model's best if None. Raises ImageError for a bad image, ValueError for an unknown
    label.
    """
    if label is not None and label not in classifier.labels:
        raise ValueError(f"the model has no label {label!r}; it has {', '.join(classifier.labels[:10])} …")
    pixels = classifier.read(image)
    logits = classifier.logits(pixels[None])[0]
    wanted = int(logits.argmax()) if label is None else classifier.labels.index(label)
    has_maps = "class_maps" in classifier.outputs
    evidence = (_from_class_maps if has_maps else _from_occlusion)(classifier, pixels, wanted)
    lowest, highest = np.percentile(evidence, 5), evidence.max()
    return np.clip((evidence - lowest) / max(highest - lowest, 1e-6), 0, 1).astype(np.float32)


def overlay(image: ImageSource, heat: np.ndarray, padded: bool = True) -> Image.Image:
    """The image, at most OVERLAY_SIDE long, in its own aspect ratio: bright where the heat is, dark elsewhere.

    heat: from heat_map. padded: whether the model pads images to a square (`do_pad_to_square`); the heat on the
    padding is left out.
    """
    rgb = load_image(image, target_size=OVERLAY_SIDE)
    scale = OVERLAY_SIDE / max(rgb.size)
    size = tuple(max(1, round(side * scale)) for side in rgb.size)
    pixels = np.asarray(rgb.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    heat = _crop_padding(heat, size) if padded else _resized(heat, size)
    places, heat = np.linspace(0, 1, len(COLORS)), heat**CONTRAST
    colors = np.stack([np.interp(heat, places, channel) for channel in COLORS.T], axis=2)
    cover = np.interp(heat, places, COVER)[..., None]
    return Image.fromarray((pixels * (1 - cover) + colors * cover).clip(0, 255).astype(np.uint8))


def _from_class_maps(classifier: Classifier, pixels: np.ndarray, label: int) -> np.ndarray:
    """The label's class map less the mean over the labels, averaged over shifts of the image, (height, width)."""
    height, width = pixels.shape[1:]
    rows, columns = classifier.class_maps(pixels[None]).shape[2:]
    offsets = [
        (
            round((y - (SHIFTS - 1) / 2) * height / rows / SHIFTS),
            round((x - (SHIFTS - 1) / 2) * width / columns / SHIFTS),
        )
        for y in range(SHIFTS)
        for x in range(SHIFTS)
    ]
    total = np.zeros((height, width), dtype=np.float32)
    for start in range(0, len(offsets), BATCH):
        batch = offsets[start : start + BATCH]
        maps = classifier.class_maps(np.stack([_shifted(pixels, y, x) for y, x in batch]))
        evidence = maps[:, label] - maps.mean(axis=1)
        for (y, x), one in zip(batch, evidence, strict=True):
            total += _shifted(_resized(one, (width, height))[None], -y, -x)[0]
    return total / len(offsets)


def _from_occlusion(classifier: Classifier, pixels: np.ndarray, label: int) -> np.ndarray:
    """How far the label's log-probability falls while a patch of mean colour hides a place, (height, width)."""
    height, width = pixels.shape[1:]
    side = (round(OCCLUSION_SIZE * height), round(OCCLUSION_SIZE * width))
    places = [
        (round(y), round(x))
        for y in np.linspace(0, height - side[0], OCCLUSION_STEPS)
        for x in np.linspace(0, width - side[1], OCCLUSION_STEPS)
    ]
    hidden = pixels.mean(axis=(1, 2))[:, None, None]
    whole = _log_probability(classifier.logits(pixels[None]), label)[0]
    total, seen = np.zeros((2, height, width), dtype=np.float32)
    for start in range(0, len(places), BATCH):
        batch = np.repeat(pixels[None], len(places[start : start + BATCH]), axis=0)
        for one, (y, x) in zip(batch, places[start : start + BATCH], strict=True):
            one[:, y : y + side[0], x : x + side[1]] = hidden
        falls = whole - _log_probability(classifier.logits(batch), label)
        for fall, (y, x) in zip(falls, places[start : start + BATCH], strict=True):
            total[y : y + side[0], x : x + side[1]] += fall
            seen[y : y + side[0], x : x + side[1]] += 1
    return total / seen


def _log_probability(logits: np.ndarray, label: int) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return logits[:, label] - np.log(np.exp(logits).sum(axis=1))


def _shifted(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """(channels, height, width) moved, with the edge repeated where nothing moves in."""
    height, width = pixels.shape[1:]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return pixels[:, rows[:, None], columns]


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) float32 at (width, height), smooth."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def _crop_padding(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a square's heat that lies on an image of (width, height) centred in it, at that size."""
    side = max(size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    return _resized(heat, (side, side)).clip(0, 1)[top : top + size[1], left : left + size[0]]
