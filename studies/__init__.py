"""Studies: several trainings each, from the data to a page in results/."""

import models.torchvision_cpu  # noqa: F401  before anything in this package imports torchvision
