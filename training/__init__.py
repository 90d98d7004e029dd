"""One training, from its first check to the finished model folder."""

import models.torchvision_cpu  # noqa: F401  before anything in this package imports torchvision
