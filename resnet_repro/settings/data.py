"""The settings of a data set."""

import os.path
from dataclasses import dataclass, field

from omegaconf import MISSING

from resnet_repro.errors import require
from resnet_repro.settings.identity import FREE


@dataclass(kw_only=True)
class GenerateConfig:
    """Size and seed of the synthetic data set (the seed is not the run's)."""

    num_train: int = MISSING
    num_test: int = MISSING
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            min(self.num_train, self.num_test) >= 10,
            "data.generate: at least 10 images in each set",
        )


@dataclass(kw_only=True)
class DataConfig:
    """A data set.

    Attributes:
        name: `cifar10`, `cifar100`, `folder` (class folders of images, held in memory),
            `imagenet` (photographs, read while training) or `synthetic`.
        title: Name in tables; also distinguishes one folder of images from another.
        root: Folder that holds the data; `~` is the home folder.
        download: Download the data if it is missing.
        image_size: Height and width in pixels; for photographs, of the training views.
        num_classes: Number of classes.
        num_validation: Training images held out for testing in place of the test set; 5000 gives
            the 45k/5k split on which [He15] Sec. 4.2 chose the schedule; 0: use the test set.
        generate: Size and seed of the synthetic set; null for all other sets.
        skip_unreadable: Skip and count unreadable images instead of stopping at the first; while
            training on photographs, the next one in the list is used instead.
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
        require(
            self.image_size >= 8, f"data.image_size={self.image_size}: must be at least 8 pixels"
        )
        require(self.num_validation >= 0, "data.num_validation: must be 0 or more images")
        self.root = os.path.expanduser(self.root)  # noqa: PTH111 - Path.expanduser raises if there is no home
