"""`predict.py --embed`: what the model's last layer reads of each image, as a Parquet file.

Its columns are `image`, as in every output, `embedding` (dim float32 of length 1, null for an image that cannot be
read) and `error`. Images of similar products have a large dot product.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from app.calibration import normalized
from app.classifier import Classifier, image_of
from app.files import replacing
from app.images import ImageError
from app.model_files import ModelError
from inference.options import PredictOptions
from inference.readers.base import NamedImage
from inference.writers import NAME_COLUMN, storable

ROWS_PER_GROUP = 1000

Embedded = tuple[str, np.ndarray | None, str | None]  # name, embedding, error


def run(options: PredictOptions) -> Counter[str]:
    """Write the embeddings; returns the number of images by status. Raises ModelError for a graph without them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert options.output, "options.py asks for it"
    classifier = Classifier.load(options.models[0], precision=options.precision, device=options.device)
    if "embeddings" not in classifier.outputs:
        raise ModelError(f"{classifier.name} has no embeddings; python export.py --model FOLDER writes them")
    schema = pa.schema([(NAME_COLUMN, pa.string()), ("embedding", pa.list_(pa.float32())), ("error", pa.string())])
    counts: Counter[str] = Counter()
    rows = embed(classifier, chain.from_iterable(options.readers), options.batch_size)
    with replacing(Path(options.output)) as partial, pq.ParquetWriter(partial, schema) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            counts.update("error" if error else "ok" for _, _, error in group)
            names, embeddings, errors = zip(*group, strict=True)
            writer.write_table(pa.table([[*map(storable, names)], [*embeddings], [*errors]], schema=schema))
    return counts


def embed(classifier: Classifier, images: Iterable[NamedImage], batch_size: int) -> Iterator[Embedded]:
    """A row per image, in their order; a bad one fails only its own."""

    def of_batch(batch: list[NamedImage]) -> list[Embedded]:
        read = [pixels_or_error(classifier, image) for image in batch]
        pixels = [image for image in read if isinstance(image, np.ndarray)]
        embeddings = iter(normalized(classifier.run(np.stack(pixels), ["embeddings"])[0]) if pixels else ())
        return [
            (name, None, image) if isinstance(image, str) else (name, next(embeddings), None)
            for (name, _), image in zip(batch, read, strict=True)
        ]

    return classifier.in_batches(images, batch_size, of_batch)


def pixels_or_error(classifier: Classifier, image: NamedImage) -> np.ndarray | str:
    source = image_of(image[1])
    try:
        if isinstance(source, ImageError):
            raise source
        return classifier.read(source)
    except ImageError as error:
        return str(error)
