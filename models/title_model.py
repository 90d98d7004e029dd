"""A text model of titles, a graph that needs onnxruntime only: TF-IDF of n-grams and a linear support vector machine.

    model = fit_title_model(titles, truth, num_labels=141)      # 40 s for 31,700 titles of 141 labels
    write_title_graph(model, Path("runs/mine/titles.onnx"))     # 7 MB

The n-grams come from app/title_text.py, hashed, so training and prediction read titles alike in every script. ONNX's
operators for text, which skl2onnx writes, depend on the machine's locales (docs/models.md). Weights take 8 bits, with a
scale for each n-gram.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import scipy.sparse
from onnx import TensorProto, helper, numpy_helper
from sklearn.svm import LinearSVC

from app.errors import UserError
from app.files import replacing
from app.title_text import clean_title, ngrams

LEAST_TITLES = 2  # in which an n-gram occurs
MAX_BYTES = 9_000_000  # of the graph
BYTES_PER_NGRAM = 30  # beside its weights: hash, number, scale, rarity
STRENGTH = 0.5  # C of the support vector machine
RARE_CLASSES = 0.25  # the power of a label's rarity that weighs its titles
ITERATIONS, TOLERANCE = 300, 1e-2
OPSET, ML_OPSET, IR_VERSION = 17, 3, 9


@dataclass(frozen=True, slots=True, eq=False)
class TitleModel:
    """hashes: (ngrams,) int64, sorted. rarity: (1 + ngrams,) float32, inverse document frequency; the first is that of
    an n-gram that is not among the hashes. weights: (ngrams, labels) float32. bias: (labels,) float32."""

    hashes: np.ndarray
    rarity: np.ndarray
    weights: np.ndarray
    bias: np.ndarray


def fit_title_model(titles: Sequence[str], truth: np.ndarray, num_labels: int) -> TitleModel:
    """truth: (titles,) label ids. Titles without a word are left out. Raises UserError where nothing can be learned."""
    counts = [ngrams(clean_title(title)) for title in titles]
    rows = np.array([number for number, grams in enumerate(counts) if grams], dtype=int)
    truth = truth[rows]
    if len(np.unique(truth)) < 2:
        raise UserError("the titles of the train split are of fewer than two labels: there is nothing to tell apart")
    counts = [counts[row] for row in rows]
    hashes, rarity = vocabulary(counts, MAX_BYTES // (num_labels + BYTES_PER_NGRAM))
    learned, weights, bias = fit_linear(tf_idf(counts, hashes, rarity), truth)
    all_weights = np.zeros((len(hashes), num_labels), dtype=np.float32)
    all_bias = np.full(num_labels, bias.min() - 1, dtype=np.float32)  # a label without a title is not expected
    all_weights[:, learned], all_bias[learned] = weights, bias
    return TitleModel(hashes, rarity, all_weights, all_bias)


def vocabulary(counts: Sequence[Counter[int]], most: int) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent n-grams, and the rarity of each as scikit-learn's TfidfTransformer computes it."""
    frequency = Counter(gram for grams in counts for gram in grams)
    kept = [(gram, titles) for gram, titles in frequency.most_common(most) if titles >= LEAST_TITLES]
    if not kept:
        raise UserError("no two titles of the train split have a word in common: there is nothing to learn from them")
    hashes, titles = (np.array(column) for column in zip(*sorted(kept), strict=True))
    rarity = np.log((1 + len(counts)) / (1 + np.concatenate([[0], titles]))) + 1
    return hashes.astype(np.int64), rarity.astype(np.float32)


def tf_idf(counts: Sequence[Counter[int]], hashes: np.ndarray, rarity: np.ndarray) -> scipy.sparse.csr_matrix:
    """(titles, ngrams), as the graph computes it: n-grams that it does not know count for the length of a row."""
    column_of = {int(gram): column for column, gram in enumerate(hashes)}
    values, columns, ends = [], [], [0]
    for grams in counts:
        numbers = np.array([column_of.get(gram, -1) for gram in grams])
        row = (1 + np.log(np.array(list(grams.values())))) * rarity[numbers + 1]
        known = numbers >= 0
        values.append(row[known] / max(np.linalg.norm(row), 1e-9))
        columns.append(numbers[known])
        ends.append(ends[-1] + int(known.sum()))
    flat = (np.concatenate(part) for part in (values, columns))
    return scipy.sparse.csr_matrix((*flat, ends), shape=(len(counts), len(hashes)))


def fit_linear(features: scipy.sparse.csr_matrix, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels that occur, (ngrams, those) weights, (those,) bias."""
    rows = np.bincount(truth)[truth]
    weights = (len(truth) / rows) ** RARE_CLASSES
    machine = LinearSVC(C=STRENGTH, tol=TOLERANCE, max_iter=ITERATIONS, random_state=0)
    machine.fit(features, truth, weights / weights.mean())
    if len(machine.classes_) == 2:  # one machine tells two labels apart
        return machine.classes_, np.outer(machine.coef_[0], [-1, 1]), machine.intercept_[0] * np.array([-1, 1])
    return machine.classes_, machine.coef_.T, machine.intercept_


def write_title_graph(model: TitleModel, path: Path) -> None:
    """hashes (n,) int64 and counts (n,) float32 of one title -> logits (labels,) and `known`, the share of the title
    that the model knows."""
    with replacing(path) as partial:
        onnx.save(title_graph(model), partial)


def title_graph(model: TitleModel) -> onnx.ModelProto:
    scale = np.maximum(np.abs(model.weights).max(axis=1), 1e-9) / 127
    small = np.round(model.weights / scale[:, None]).astype(np.int8)
    first_row = np.zeros((1, small.shape[1]), dtype=np.int8)  # of n-grams that are not known
    constants = {
        "weights": np.vstack([first_row, small]),
        "scale": np.concatenate([[0], scale]).astype(np.float32),
        "is_known": np.concatenate([[0], np.ones(len(scale))]).astype(np.float32),
        "rarity": model.rarity,
        "bias": model.bias,
        "one": np.float32(1),
        "tiny": np.float32(1e-9),
    }
    numbers = range(1, len(model.hashes) + 1)
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["hashes"],
            ["numbers"],
            domain="ai.onnx.ml",
            keys_int64s=model.hashes.tolist(),
            values_int64s=list(numbers),
            default_int64=0,
        ),  # fmt: skip
        *(helper.make_node("Gather", [table, "numbers"], [f"{table}_of"]) for table in list(constants)[:4]),
        helper.make_node("Log", ["counts"], ["logarithm"]),
        helper.make_node("Add", ["logarithm", "one"], ["frequency"]),
        helper.make_node("Mul", ["frequency", "rarity_of"], ["raw"]),
        helper.make_node("ReduceL2", ["raw"], ["length"], keepdims=0),
        helper.make_node("Max", ["length", "tiny"], ["divisor"]),
        helper.make_node("Div", ["raw", "divisor"], ["values"]),
        helper.make_node("Mul", ["values", "is_known_of"], ["known_values"]),
        helper.make_node("ReduceSumSquare", ["known_values"], ["known"], keepdims=0),
        helper.make_node("Mul", ["values", "scale_of"], ["scaled"]),
        helper.make_node("Cast", ["weights_of"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["scaled", "rows"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("hashes", TensorProto.INT64, ["ngrams"]),
        helper.make_tensor_value_info("counts", TensorProto.FLOAT, ["ngrams"]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [len(model.bias)]),
        helper.make_tensor_value_info("known", TensorProto.FLOAT, []),
    ]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "titles", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="snapshelf")
