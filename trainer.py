"""A Transformers Trainer for uint8 picture batches: augments whole batches, scores each level of the taxonomy."""

import cpu_torchvision  # noqa: F401  before transformers

import numpy as np
import torch
import torch.nn.functional as F
from transformers import EvalPrediction, Trainer
from transformers.modeling_outputs import ImageClassifierOutput

from metrics import CatalogueMetrics


class CatalogueTrainer(Trainer):
    """Batches arrive as image_data.collate makes them and are augmented and normalised on the model's device."""

    def __init__(self, *args, train_transform: torch.nn.Module, eval_transform: torch.nn.Module, **kwargs):
        super().__init__(*args, **kwargs)
        self.train_transform, self.eval_transform = train_transform, eval_transform
        self.model_accepts_loss_kwargs = False

    def _prepare_inputs(self, inputs: dict) -> dict:
        inputs = super()._prepare_inputs(inputs)
        transform = self.train_transform if self.model.training else self.eval_transform
        with torch.no_grad(), torch.autocast(inputs["pixel_values"].device.type, enabled=False):
            pixels = transform(inputs["pixel_values"])
        inputs["pixel_values"] = pixels.contiguous(memory_format=torch.channels_last)
        return inputs

    def compute_loss(self, model, inputs: dict, return_outputs: bool = False, num_items_in_batch=None):
        """Cross-entropy; label smoothing only while training, so that validation losses stay comparable."""
        logits = model(pixel_values=inputs["pixel_values"]).logits.float()
        smoothing = self.args.label_smoothing_factor if model.training else 0.0
        loss = F.cross_entropy(logits, inputs["labels"], label_smoothing=smoothing)
        return (loss, ImageClassifierOutput(logits=logits)) if return_outputs else loss


def score(prediction: EvalPrediction, ancestors: list[np.ndarray], levels: list[str]) -> dict[str, float]:
    """Accuracy, top-5, macro-F1 and, for each coarser level, the accuracy of the predicted label's ancestor.

    ancestors: for each level above the label, fine to coarse, the ancestor's id for every label id.
    levels: the names of these levels.
    """
    labels, coarser = prediction.label_ids
    scores = CatalogueMetrics().compute(predictions=prediction.predictions, references=labels)
    predicted = prediction.predictions.argmax(axis=1)
    for column, (level, ancestor) in enumerate(zip(levels, ancestors, strict=True)):
        scores[f"{level}_accuracy"] = float((ancestor[predicted] == coarser[:, column]).mean())
    return scores
