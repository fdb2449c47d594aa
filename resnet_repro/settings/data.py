"""The settings of a data set."""

import os.path
from dataclasses import dataclass, field

from omegaconf import MISSING

from resnet_repro.errors import require
from resnet_repro.settings.identity import FREE


@dataclass(kw_only=True)
class GenerateConfig:
    """How much of the synthetic set to make, and from which seed (not the run's)."""

    num_train: int = MISSING
    num_test: int = MISSING
    seed: int = 0

    def __post_init__(self) -> None:
        require(min(self.num_train, self.num_test) >= 10, "data.generate: at least 10 images each")


@dataclass(kw_only=True)
class DataConfig:
    """A data set.

    Attributes:
        name: `cifar10`, `cifar100`, `folder` (class folders of images, held in memory),
            `imagenet` (photographs, read while training) or `synthetic`.
        title: Its name in tables, and what tells one folder of images from another.
        root: The folder in which it lies; `~` is the home folder.
        download: Fetch it when it is not there.
        image_size: Height and width in pixels; of photographs, of the views trained on.
        num_classes: Number of classes.
        num_validation: Training images held out to be tested on in place of the test set; 5000 is
            the 45k/5k split on which [He15] Sec. 4.2 chose the schedule. 0 tests on the test set.
        generate: The synthetic set's size and seed; null for all others.
        skip_unreadable: Leave out images that cannot be read, and count them, in place of stopping
            at the first; of photographs, in training the next one of the list stands in.
    """

    name: str = MISSING
    title: str = MISSING
    root: str = field(default="data", metadata=FREE)
    download: bool = field(default=True, metadata=FREE)
    image_size: int = MISSING
    num_classes: int = MISSING
    num_validation: int = 0
    generate: GenerateConfig | None = None
    skip_unreadable: bool = field(default=False, metadata=FREE)

    @property
    def is_streamed(self) -> bool:
        """Whether images are read from files while training."""
        return self.name == "imagenet"

    def __post_init__(self) -> None:
        require(self.image_size >= 8, f"data.image_size={self.image_size}: at least 8 pixels")
        require(self.num_validation >= 0, "data.num_validation: 0 or more images")
        self.root = os.path.expanduser(self.root)  # noqa: PTH111 - Path's raises without a home
