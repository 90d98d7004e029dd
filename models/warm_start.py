"""A model from weights that were trained for other labels: its head starts anew, and one line says so."""

import logging
import re
import sys

import torch
from transformers import PretrainedConfig, PreTrainedModel

from models.registry import build_model, checkpoint_of, head_of

# A row of the table that transformers logs after loading: the weight's name and what is the matter with it.
REPORT_ROW = re.compile(r"^(\S+)\s*\|\s*(?:\x1b\[\d+m)*(MISSING|MISMATCH)", re.MULTILINE)
SHOWN_WEIGHTS = 3


class _LoadReport(logging.Filter):
    """Keeps transformers' report of a loading from the screen and remembers which weights it found wanting."""

    def __init__(self):
        super().__init__()
        self.wanting: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        self.wanting += [name for name, _ in REPORT_ROW.findall(message)]
        return "LOAD REPORT" not in message


def start_model(
    name: str, labels: list[str], image_size: int, pretrained: str | None, from_scratch: bool
) -> PreTrainedModel:
    """models.build_model, and a head that does not carry the order of other labels over.

    Prints one line where the head starts anew, and a warning where other weights do, too.
    Raises ModelUnavailableError.
    """
    report, logger = _LoadReport(), logging.getLogger("transformers.modeling_utils")
    logger.addFilter(report)
    try:
        model = build_model(name, labels, image_size, pretrained, from_scratch)
    finally:
        logger.removeFilter(report)
    source = None if from_scratch else pretrained or checkpoint_of(name)
    if source is None:
        return model
    head = {id(parameter) for parameter in head_of(model).parameters()}
    in_head = {key for key, parameter in model.named_parameters() if id(parameter) in head}
    others = [key for key in report.wanting if key not in in_head]
    if others:
        shown = ", ".join(others[:SHOWN_WEIGHTS]) + (", …" if len(others) > SHOWN_WEIGHTS else "")
        print(f"warning: {source} lacks weights of the model, which start at random: {shown}", file=sys.stderr)
    before = _labels_of(source)
    if before != labels:
        if before and len(before) == len(labels):  # transformers takes that for the same labels
            _reset(head_of(model))
        was = f"{len(before)} other labels" if before else "no labels"
        print(f"{source} was trained for {was}: the head starts anew for {len(labels)}")
    return model


def _labels_of(source: str) -> list[str] | None:
    names = PretrainedConfig.get_config_dict(source)[0].get("id2label")
    return names and [names[key] for key in sorted(names, key=int)]


def _reset(head: torch.nn.Module) -> None:
    for module in head.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
