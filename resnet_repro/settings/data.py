"""The settings of a data set."""

import os.path
from dataclasses import dataclass, field

from omegaconf import MISSING

from resnet_repro.errors import require
from resnet_repro.settings.identity import FREE

BOXES = ("voc", "coco", "ilsvrc_det", "ilsvrc_loc")  # formats of photographs with labelled boxes
IMAGENET = "ImageNet"  # the title of the whole of it, on which published weights were tested


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
class BoxesConfig:
    """The parts of a data set of photographs with labelled boxes.

    Attributes:
        train: The sets that are trained on. A set of PASCAL VOC's format is `FOLDER/SET`, such as
            `VOC2007/trainval`, or `SET` if the folder is the root itself; one of COCO's format is
            the name of its images' folder, such as `train2017`, or `FILE.json:FOLDER`. They are
            looked for in `data.root`, and in the folder `VOCdevkit` or `coco` there. ILSVRC's
            detection task has `train`, `val1` and `val2`, its localisation `train` and `val`.
        test: The sets that are tested on.
        longest: Longest side of a resized photograph, pixels; its shorter side is
            `data.image_size` unless that makes the other longer.
    """

    train: list[str] = MISSING
    test: list[str] = MISSING
    longest: int = 1000

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            require(bool(getattr(self, name)), f"data.boxes.{name}=[]: name at least one set")
        require(self.longest >= 8, f"data.boxes.longest={self.longest}: at least 8 pixels")


@dataclass(kw_only=True)
class DataConfig:
    """A data set.

    Attributes:
        name: `cifar10`, `cifar100`, `folder` (class folders of images, held in memory),
            `imagenet` (photographs, read while training) or `synthetic`; for detectors, `voc` or
            `coco` (photographs with labelled boxes, in the format of PASCAL VOC or COCO),
            `ilsvrc_det` or `ilsvrc_loc` (those of ILSVRC's detection or localisation task).
        title: Name in tables; also distinguishes one folder of images from another.
        root: Folder that holds the data; `~` is the home folder.
        download: Download the data if it is missing.
        image_size: Height and width in pixels; for photographs, of the training views; for
            photographs with boxes, of the shorter side.
        num_classes: Number of classes.
        num_validation: Training images held out for testing in place of the test set; 5000 gives
            the 45k/5k split on which [He15] Sec. 4.2 chose the schedule; 0: use the test set.
        generate: Size and seed of the synthetic set; null for all other sets.
        boxes: The sets of photographs with labelled boxes; null for all other data.
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
    boxes: BoxesConfig | None = None
    skip_unreadable: bool = field(default=False, metadata=FREE)

    @property
    def is_streamed(self) -> bool:
        """Whether images are read from files while training."""
        return self.name in ("imagenet", *BOXES)

    def __post_init__(self) -> None:
        require(
            self.image_size >= 8, f"data.image_size={self.image_size}: must be at least 8 pixels"
        )
        require(
            (self.boxes is not None) == (self.name in BOXES),
            f"data.boxes: set with data.name={' or '.join(BOXES)}, and only there",
        )
        require(
            self.boxes is None or self.boxes.longest >= self.image_size,
            f"data.boxes.longest: must be at least data.image_size={self.image_size}",
        )
        require(
            self.boxes is None or not self.num_validation,
            "data.num_validation: photographs with boxes have named sets: change data.boxes",
        )
        require(self.num_validation >= 0, "data.num_validation: must be 0 or more images")
        self.root = os.path.expanduser(self.root)  # noqa: PTH111 - Path.expanduser raises if there is no home
