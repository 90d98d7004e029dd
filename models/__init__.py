"""Model architectures, their pretrained weights and their export to ONNX."""

from . import torchvision_cpu as torchvision_cpu  # before anything in this package imports torchvision
