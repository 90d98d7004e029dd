"""The scores of evaluation/scoring.py as an `evaluate.Metric`, so that nothing is downloaded to compute them.

ClassificationMetrics().compute(predictions=logits, references=labels)
# {"accuracy": …, "top5": …, "macro_f1": …}
"""

import datasets
import evaluate
import numpy as np

from evaluation.scoring import score_once


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
        return score_once(np.asarray(predictions), np.asarray(references))
