"""One set of classes for Fashion-MNIST, the Kaggle catalogue and people's own photos, and how each source names them.

    TABLE["trousers"]["kaggle"]        # the article types that count as trousers

Classes that no line names are left out of the study. The official T-shirt/top of Fashion-MNIST is called T-shirt by
data_prep; the catalogue's Tops are of that class, too. The catalogue does not tell sleeves apart: long-sleeved Tshirts
stay T-shirts there, while the photos have a class of their own for them, which Sweaters and Sweatshirts come nearest.
"""

import numpy as np

from training.network import Network

SOURCES = {"fashion_mnist": "label", "kaggle": "articleType", "clothing": "label"}  # source -> its label column

# fmt: off
TABLE = {
    "t-shirt": {"fashion_mnist": ["T-shirt"], "clothing": ["t-shirt"], "kaggle": ["Tshirts", "Lounge Tshirts", "Tops"]},
    "shirt": {"fashion_mnist": ["Shirt"], "clothing": ["shirt"], "kaggle": ["Shirts"]},
    "long sleeve": {
        "fashion_mnist": ["Pullover"], "clothing": ["longsleeve"], "kaggle": ["Sweaters", "Sweatshirts"],
    },
    "dress": {
        "fashion_mnist": ["Dress"], "clothing": ["dress"], "kaggle": ["Dresses", "Nightdress", "Jumpsuit"],
    },
    "outerwear": {
        "fashion_mnist": ["Coat"], "clothing": ["outwear"],
        "kaggle": ["Jackets", "Blazers", "Rain Jacket", "Nehru Jackets", "Waistcoat", "Shrug"],
    },
    "trousers": {
        "fashion_mnist": ["Trouser"], "clothing": ["pants"],
        "kaggle": [
            "Jeans", "Trousers", "Track Pants", "Jeggings", "Leggings", "Capris", "Tights", "Churidar", "Patiala",
            "Salwar", "Lounge Pants",
        ],
    },
    "shorts": {"clothing": ["shorts"], "kaggle": ["Shorts", "Lounge Shorts"]},
    "skirt": {"clothing": ["skirt"], "kaggle": ["Skirts"]},
    "shoes": {
        "fashion_mnist": ["Sandal", "Sneaker", "Ankle boot"], "clothing": ["shoes"],
        "kaggle": [
            "Casual Shoes", "Sports Shoes", "Formal Shoes", "Flats", "Heels", "Sandals", "Sports Sandals", "Flip Flops",
        ],
    },
    "hat": {"clothing": ["hat"], "kaggle": ["Caps", "Hat"]},
    "bag": {
        "fashion_mnist": ["Bag"],
        "kaggle": [
            "Backpacks", "Handbags", "Clutches", "Duffel Bag", "Laptop Bag", "Messenger Bag", "Rucksacks",
            "Trolley Bag", "Waist Pouch",
        ],
    },
}
# fmt: on
COMMON = list(TABLE)
SHARED = [name for name, line in TABLE.items() if set(line) == set(SOURCES)]  # the classes that every source has
ON_PHOTOS = [name for name, line in TABLE.items() if "clothing" in line]


def common_id(source: str) -> dict[str, int]:
    """For each of the source's own class names the number of the common class."""
    return {own: number for number, line in enumerate(TABLE.values()) for own in line.get(source, [])}


def leaves(labels: list[str]) -> np.ndarray:
    """(common classes, labels) bool: which of a model's article types belong to each class."""
    number_of = common_id("kaggle")
    return np.array([number_of.get(label, -1) for label in labels]) == np.arange(len(COMMON))[:, None]


def in_common(probabilities: np.ndarray, labels: list[str]) -> np.ndarray:
    """(rows, labels) -> (rows, common classes): itself, or sums over the article types of each class."""
    return probabilities if labels == COMMON else probabilities @ leaves(labels).T


def common_probabilities(network: Network, pixels: np.ndarray) -> np.ndarray:
    """(rows, height, width, 3) uint8 -> (rows, common classes) float32."""
    return in_common(network.probabilities(pixels), network.labels).astype(np.float32)


def among(probabilities: np.ndarray, truth: np.ndarray, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of these classes alone, as a choice between them: probabilities (rows, classes) and truth (rows,)."""
    numbers = np.array([COMMON.index(name) for name in classes])
    kept = np.isin(truth, numbers)
    chosen = probabilities[np.ix_(kept, numbers)].astype(np.float64) + np.finfo(np.float32).tiny
    return chosen / chosen.sum(axis=1, keepdims=True), np.searchsorted(numbers, truth[kept])
