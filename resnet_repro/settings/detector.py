"""The settings of an object detector: Faster R-CNN on one of the networks, as in the papers.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[Ren15]  Faster R-CNN, arXiv:1506.01497
[Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

from dataclasses import dataclass, field

from resnet_repro.errors import require, require_choice
from resnet_repro.settings.identity import FREE

LOCALISATION = ("localisation", "localisation_regions")
STEPS = ("classification", "proposals", "regions", "joint", *LOCALISATION)
FROZEN = ("early", "body")


@dataclass(kw_only=True)
class DetectorConfig:
    """A detector, and which part of it a run trains.

    | step                   | trains                                                              |
    |------------------------|---------------------------------------------------------------------|
    | `classification`       | no detector: an image classifier, as everywhere else                |
    | `proposals`            | the region proposal network ([Ren15] Sec. 3.1)                      |
    | `regions`              | Fast R-CNN on the proposals of another run ([He15] App. A)          |
    | `joint`                | both at once ([Ren15] Sec. 3.2, "approximate joint training")       |
    | `localisation`         | proposals with outputs for each class, on crops ([He15] App. C)     |
    | `localisation_regions` | R-CNN with outputs for each class, on such proposals ([He15] App. C)|

    Attributes:
        step: What the run trains.
        frozen: Layers that keep their weights: `early` (to conv2_x; of VGG-16, to conv2_2) or
            `body` (all that proposals and regions share).
        anchors: Scales of the anchors, in multiples of the stride of 16 pixels.
        sampled_anchors: Anchors per image in a mini-batch of proposals.
        min_size: Smallest height and width of a proposal, pixels of the photograph.
        num_proposals: Best proposals per image that regions are trained on.
        proposal_sizes: Shorter sides of the photographs in which `localisation_regions` has the
            proposals that it is trained on; [] of all other steps.
        sampled_regions: Regions per image in a mini-batch, at most a quarter of them objects.
        background: Range of the overlap (IoU) of a region with objects that makes it background.
        context: Whether each region is classified together with the whole image ([He15] App. B).
        batch_norm_images: Training images of the classifier over which batch norm's statistics are
            computed before they are fixed ([He15] App. A); 0: the averages of its training.
        bias_lr: Factor of the learning rate for biases.
        weights: A file of torchvision's classification weights that training starts from, in place
            of another run's; see `settings.experiment.StepConfig`.
        weights_sha256: The SHA-256 of that file, which is part of the run's identity.
    """

    step: str = "classification"
    frozen: str = "early"
    anchors: list[float] = field(default_factory=lambda: [8.0, 16.0, 32.0])
    sampled_anchors: int = 256
    min_size: float = 16.0
    num_proposals: int = 2000
    proposal_sizes: list[int] = field(default_factory=list)
    sampled_regions: int = 64
    background: list[float] = field(default_factory=lambda: [0.0, 0.5])
    context: bool = False
    batch_norm_images: int = 0
    bias_lr: float = 1.0
    weights: str | None = field(default=None, metadata=FREE)
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        require_choice("detector.step", self.step, STEPS)
        require_choice("detector.frozen", self.frozen, FROZEN)
        scales = list(self.anchors)
        require(
            bool(scales) and scales == sorted(set(scales)) and scales[0] > 0,
            f"detector.anchors={scales}: must be increasing scales above 0",
        )
        for name, least in (
            ("sampled_anchors", 2),
            ("num_proposals", 1),
            ("sampled_regions", 2),
            ("min_size", 0),
            ("batch_norm_images", 0),
        ):
            value = getattr(self, name)
            require(value >= least, f"detector.{name}={value}: must be at least {least}")
        sizes, of_proposals = list(self.proposal_sizes), self.step == "localisation_regions"
        require(
            bool(sizes) == of_proposals
            and sizes == sorted(set(sizes))
            and min(sizes, default=8) >= 8,
            f"detector.proposal_sizes={sizes}: for detector.step=localisation_regions, increasing "
            f"shorter sides of at least 8 pixels, and [] for others",
        )
        low, high = (*self.background, -1, -1)[:2]
        require(
            len(self.background) == 2 and 0 <= low < high <= 0.5,
            f"detector.background={list(self.background)}: must be [lowest,highest], 0 to 0.5",
        )
        require(self.bias_lr > 0, f"detector.bias_lr={self.bias_lr}: must be above 0")
        require(
            self.weights is None or self.weights_sha256 is not None,
            f"detector.weights={self.weights}: set steps.NAME.weights of the step that the file "
            f"stands for, such as steps.classification.weights",
        )
        require(
            not self.context or self.step in ("regions", "joint"),
            f"detector.context=true: only detector.step=regions and joint have it, not {self.step}",
        )

    @property
    def is_used(self) -> bool:
        """Whether the run trains a detector, or a part of one."""
        return self.step != "classification"

    @property
    def takes_proposals(self) -> bool:
        """Whether the run is trained on the proposals of another."""
        return self.step in ("regions", "localisation_regions")

    @property
    def localises(self) -> bool:
        """Whether the run trains where an image's class is, not what all of its objects are."""
        return self.step in LOCALISATION
