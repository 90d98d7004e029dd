"""The two small CNNs of the project, as Hugging Face models: a plain one and the same with skip connections.

    from transformers import AutoModelForImageClassification

    from models import small_cnns  # makes the two known to transformers
    model = AutoModelForImageClassification.from_pretrained("runs/basic_cnn")

Both read images of any size from 32 pixels on and have 1.2 million weights.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput


class BasicCNNConfig(PretrainedConfig):
    """widths: the channels of each stage; between two stages a max-pool halves the image."""

    model_type = "basic_cnn"

    widths: list[int] | tuple[int, ...] = (32, 64, 128, 256)
    dropout: float = 0.2
    image_size: int = 96


class ResidualCNNConfig(BasicCNNConfig):
    model_type = "residual_cnn"


class Stage(nn.Module):
    """Two convolutions of 3×3, each with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convolution1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.convolution2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.convolve(features))

    def convolve(self, features: torch.Tensor) -> torch.Tensor:
        return self.norm2(self.convolution2(functional.relu(self.norm1(self.convolution1(features)))))


class ResidualStage(Stage):
    """The same with a skip connection around both (He et al. 2015), 1×1 where the number of channels changes."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.convolve(features) + self.skip(features))


class Backbone(nn.Module):
    """(batch, 3, height, width) float32 -> features (batch, widths[-1], height / 16, width / 16) with four widths."""

    def __init__(self, widths: list[int] | tuple[int, ...], stage: type[Stage]):
        super().__init__()
        first, last = widths[0], widths[-1]
        self.stem = nn.Sequential(nn.Conv2d(3, first, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(first))
        inputs = [first, *widths[:-1]]
        self.stages = nn.ModuleList(map(stage, inputs, widths))
        self.features = last

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.stem(pixel_values))
        for number, stage in enumerate(self.stages):
            features = stage(functional.max_pool2d(features, 2) if number else features)
        return features


class BasicCNNForImageClassification(PreTrainedModel):
    """Convolutions and pooling, then one fully connected layer on the mean over all places."""

    config_class = BasicCNNConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    stage = Stage

    def __init__(self, config: BasicCNNConfig):
        super().__init__(config)
        self.backbone = Backbone(config.widths, self.stage)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.backbone.features, config.num_labels)
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs
    ) -> ImageClassifierOutput:
        """pixel_values: (batch, 3, height, width) float32. labels: (batch,) int64, which asks for the loss too."""
        pooled = self.backbone(pixel_values).mean(dim=(2, 3))
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module: nn.Module) -> None:
        """Kaiming's start for ReLU; transformers' own would be a normal distribution of 0.02 for every layer."""
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResidualCNNForImageClassification(BasicCNNForImageClassification):
    config_class = ResidualCNNConfig
    stage = ResidualStage


for _model in (BasicCNNForImageClassification, ResidualCNNForImageClassification):
    AutoConfig.register(_model.config_class.model_type, _model.config_class)
    AutoModelForImageClassification.register(_model.config_class, _model)
