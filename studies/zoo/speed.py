"""How large the graph of a trained folder is and how fast it answers, and how fast the bare network learns."""

import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from models.export_onnx import ExportError, export_onnx
from models.onnx_outputs import INPUT, LOGITS
from models.registry import load_trained

ROUNDS, SECONDS_PER_ROUND = 3, 1.0
WARM_UP_STEPS, STEPS = 5, 20


def graph_facts(folder: Path, pixels: np.ndarray) -> dict:
    """`graph_megabytes` and `graph_images_per_second`, and `parameters`; where there is no graph, why.

    pixels: (rows, 3, size, size) float32 as the model reads them, real images.
    """
    model = load_trained(folder)
    facts = {"parameters": model.num_parameters()}
    path = folder / "model.onnx"
    try:
        export_onnx(model, pixels, path)
    except ExportError as error:  # the training is worth more than its graph
        return {**facts, "graph_megabytes": None, "graph_images_per_second": None, "graph_error": str(error)}
    size = round(path.stat().st_size / 1e6, 2)
    return {**facts, "graph_megabytes": size, "graph_images_per_second": round(images_per_second(path, pixels[:1]), 1)}


def images_per_second(path: Path, image: np.ndarray) -> float:
    """Of onnxruntime on all cores, one image at a time; the best of ROUNDS. image: (1, 3, size, size) float32."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    session.run([LOGITS], {INPUT: image})
    best = 0.0
    for _ in range(ROUNDS):
        count, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < SECONDS_PER_ROUND or not count:
            session.run([LOGITS], {INPUT: image})
            count += 1
        best = max(best, count / seconds)
    return best


def model_only_rate(folder: Path, size: int, batch_size: int) -> float:
    """Training images per second of forward and backward pass alone, on pixels that lie on the device already."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = load_trained(folder).train().to(device, memory_format=torch.channels_last)
    pixels = torch.zeros(batch_size, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    start = 0.0
    for step in range(WARM_UP_STEPS + STEPS):
        if step == WARM_UP_STEPS:
            start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(pixel_values=pixels).logits.float().square().mean()
        loss.backward()
        if step in (WARM_UP_STEPS - 1, WARM_UP_STEPS + STEPS - 1):
            loss.item()  # waits for the device
    return STEPS * batch_size / (time.perf_counter() - start)
