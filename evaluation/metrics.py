"""The project's metrics as `evaluate.Metric`s, so that nothing is downloaded to compute them.

ClassificationMetrics().compute(predictions=logits, references=labels)
# {"accuracy": …, "top5": …, "macro_f1": …}
"""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import f1_score

TOP_K = 5


class ClassificationMetrics(evaluate.Metric):
    """Accuracy, top-5 accuracy and macro-F1 (over the classes that occur in references or predictions)."""

    def __init__(self, **kwargs):
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Scores of a single-label classifier.",
            citation="",
            inputs_description="predictions: (rows, labels) logits or probabilities; references: (rows,) label ids",
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        scores, references = np.asarray(predictions), np.asarray(references)
        top_k = np.argpartition(-scores, min(TOP_K, scores.shape[1]) - 1, axis=1)[:, :TOP_K]
        predicted = scores.argmax(axis=1)
        return {
            "accuracy": float((predicted == references).mean()),
            "top5": float((top_k == references[:, None]).any(axis=1).mean()),
            "macro_f1": float(f1_score(references, predicted, average="macro")),
        }
