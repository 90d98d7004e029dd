"""The views of an image for test-time augmentation: the image itself, its mirror image, and crops of it and theirs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .images import ImageSource, load_image, preprocess, resize

SCALE = 1.125  # crops are cut from an image this much larger than what the model reads
CORNERS = ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0))  # left and top share of what is cut away
MAX_TTA = 2 + 2 * len(CORNERS)


def read_views(image: ImageSource, preprocessor: Mapping[str, Any], target_size: Any, out: np.ndarray) -> None:
    """As many views as `out` takes, (views, 3, height, width) float32: one, or an even number. Raises ImageError.

    target_size: what to ask of load_image for the image itself.
    """
    height, width = out.shape[2:]
    loaded = load_image(image, target_size if len(out) <= 2 or isinstance(target_size, int) else None)
    preprocess(loaded, preprocessor, out[0])
    if len(out) > 2:
        larger = (round(SCALE * width), round(SCALE * height))
        loaded = resize(loaded, larger, preprocessor.get("resample", 2), preprocessor.get("do_pad_to_square", False))
    for view in range(2, len(out), 2):
        x, y = CORNERS[view // 2 - 1]
        left, top = round(x * (loaded.width - width)), round(y * (loaded.height - height))
        preprocess(loaded.crop((left, top, left + width, top + height)), preprocessor, out[view])
    for view in range(1, len(out), 2):
        out[view] = out[view - 1, :, :, ::-1]
