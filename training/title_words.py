"""Titles as teachers: in training alone, the embedding also learns which words the product's title has.

    words = word_targets(dataset["train"], ["title", "baseColour"])     # (rows, words), sparse
    head = WordHead(words, model)

An article type is one of 141 names; a title such as "Puma Men Navy Blue Striped Polo T-shirt" says what else is to be
seen. The words' head is a second classifier on the same embedding and goes when the training ends, so that the model
that is left has the size, the speed and the files of any other.
"""

import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse
import torch
from datasets import ClassLabel, Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import PreTrainedModel

from app.errors import UserError
from models.layers import WORD_HEAD, head_of

MAX_WORDS = 2000
LEAST_ROWS = 8  # that have a word; a rarer one teaches a product, not a look
WORD = r"[^\W\d_]{2,}"


class WordHead:
    """A linear layer from a model's embedding to its training images' words.

    words: (rows, words) as word_targets gives them. The layer lives in the model as `word_head`, so that optimizer,
    checkpoints, averages and DistributedDataParallel treat it like the rest; `remove()` takes it out.
    """

    def __init__(self, words: scipy.sparse.csr_matrix, model: PreTrainedModel):
        head = head_of(model)
        if not isinstance(head, torch.nn.Linear):
            raise UserError(f"--teach_words needs a model with one linear head; this one has {type(head).__name__}")
        linear = torch.nn.Linear(head.in_features, words.shape[1], device=head.weight.device)
        # transformers' wrapper of timm reads every weight of a checkpoint as one of the network within.
        self.owner = getattr(model, "timm_model", model)
        self.owner.add_module(WORD_HEAD, linear)
        self.words, self.logits = words, None

        # A function, which a copy of the model shares, where a method would copy the words with it.
        def answer(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
            self.logits = linear(inputs[0]) if linear.training else None

        self.hook = head.register_forward_pre_hook(answer)

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the last batch's words. rows: (batch,) numbers in the dataset's training split; those
        beyond it, images of another source, have no title and count nothing."""
        titled = rows < self.words.shape[0]
        targets = torch.from_numpy(self.words[rows[titled].cpu().numpy()].toarray()).to(self.logits.device)
        logarithms = self.logits[titled.to(self.logits.device)].float().log_softmax(dim=1)
        return -(targets * logarithms).sum() / max(1, len(targets))

    def remove(self) -> None:
        self.hook.remove()
        delattr(self.owner, WORD_HEAD)


def word_targets(split: Dataset, columns: Sequence[str]) -> scipy.sparse.csr_matrix:
    """(rows, words) float32: each row sums to 1, rare words count more (TF-IDF); a row without a word is empty.

    columns: texts, of which each word counts, or class labels, which count as one word. Raises UserError.
    """
    missing = [name for name in columns if name not in split.features]
    if missing:
        raise UserError(f"--teach_words {missing[0]} is not a column; there are {', '.join(split.features)}")
    vectorizer = TfidfVectorizer(
        analyzer=str.split, min_df=LEAST_ROWS, max_features=MAX_WORDS, norm="l1", binary=True, dtype=np.float32
    )
    parts = [_words_of(split, name) for name in columns]
    try:
        return vectorizer.fit_transform([" ".join(words) for words in zip(*parts, strict=True)]).tocsr()
    except ValueError as error:  # scikit-learn's, where no word is left
        raise UserError(f"--teach_words: no word of {', '.join(columns)} occurs in {LEAST_ROWS} rows") from error


def _words_of(split: Dataset, column: str) -> list[str]:
    """Of every row, the column's words with spaces between them."""
    feature, values = split.features[column], split[column][:]
    if isinstance(feature, ClassLabel):
        names = [f"{column}={name.replace(' ', '_')}" for name in feature.names]
        return [names[value] if value >= 0 else "" for value in values]
    return [" ".join(re.findall(WORD, str(value or "").lower())) for value in values]
