"""The settings of a test: the views of an image that a network is tested on.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[Gid15]  Object detection via a multi-region & semantic segmentation-aware CNN, arXiv:1505.01749
"""

from dataclasses import dataclass, field, replace

from resnet_repro.errors import require, require_choice
from resnet_repro.settings.recipe import INTERPOLATIONS

PROTOCOLS = ("single_view", "one_crop", "ten_crop", "multi_scale", "boxes")
BATCH_NORM = ("averages", "reestimated")
NOT_IN_KEY = ("every", "batch_size", "responses")  # settings that make no other test
PROPOSALS = 300  # of a photograph, if nothing else is set


@dataclass(kw_only=True)
class EvaluationConfig:
    """How and when a network is tested; the weights do not depend on it.

    | protocol      | views of an image, whose class probabilities are averaged                   |
    |---------------|-----------------------------------------------------------------------------|
    | `single_view` | the unmodified image ([He15] Sec. 4.2); for images held in memory           |
    | `one_crop`    | centre `crop`, at shorter side `sizes[0]`                                   |
    | `ten_crop`    | four corner crops, centre crop, and their mirror images, at `sizes[0]`      |
    | `multi_scale` | the whole image at each shorter side of `sizes` ([He15] Sec. 3.4)           |

    A detector is tested by `boxes`: its detections on whole photographs ([He15] App. A). With
    several `sizes`, each region is pooled at two of them, merged by maxout ([He15] App. B).

    Attributes:
        protocol: The test protocol of the number in the table.
        sizes: Shorter sides that photographs are resized to, pixels.
        crop: Height and width of a crop, pixels.
        interpolation: Interpolation for resizing photographs: `bilinear` or `bicubic`.
        flip: Also use the mirror image of each view; `ten_crop` always does.
        batch_norm: `averages`: the running averages of training; `reestimated`: means over
            `batch_norm_images` training images after it, as in the authors' released models.
        batch_norm_images: Number of training images for `reestimated`.
        every: Iterations between two tests while training; the last iteration is always tested.
            These tests use the single view, or one crop.
        batch_size: Views per forward pass.
        responses: Also measure the layer responses of a finished network ([He15] Fig. 7).
        num_proposals: Best proposals per photograph that a detector classifies.
        threshold: Score at or below which detections are dropped.
        nms: Overlap (IoU) above which the lower of two detections of a class is suppressed.
        most: Largest number of detections per photograph; null: all.
        refine: Classify the regressed boxes too, suppress among both, and let the suppressed vote
            on the place of a box: "box refinement" ([He15] App. B). Of a region, the box of its
            best class is classified again.
        refine_per_class: With `refine`, classify the box of every class again, for this class alone
            ([Gid15]), in place of the best class's: for each class as many regions again.
    """

    protocol: str = "single_view"
    sizes: list[int] = field(default_factory=lambda: [256])
    crop: int = 224
    interpolation: str = "bilinear"
    flip: bool = False
    batch_norm: str = "averages"
    batch_norm_images: int = 50_000
    every: int = 1000
    batch_size: int = 500
    responses: bool = False
    num_proposals: int = PROPOSALS
    threshold: float = 0.0
    nms: float = 0.3
    most: int | None = None
    refine: bool = False
    refine_per_class: bool = False

    def __post_init__(self) -> None:
        require_choice("evaluation.protocol", self.protocol, PROTOCOLS)
        require_choice("evaluation.batch_norm", self.batch_norm, BATCH_NORM)
        require_choice("evaluation.interpolation", self.interpolation, INTERPOLATIONS)
        require(self.every >= 1, f"evaluation.every={self.every}: must be at least 1 iteration")
        require(
            self.batch_size >= 1, f"evaluation.batch_size={self.batch_size}: must be at least 1"
        )
        require(
            self.batch_norm_images >= 2,
            f"evaluation.batch_norm_images={self.batch_norm_images}: must be at least 2 images",
        )
        sizes = list(self.sizes)
        require(
            bool(sizes) and sizes == sorted(set(sizes)) and sizes[0] >= 8,
            f"evaluation.sizes={sizes}: must be increasing shorter sides in pixels, at least 8",
        )
        self._check_boxes()
        several = self.protocol == "multi_scale"
        require(
            several or self.protocol == "boxes" or len(sizes) == 1,
            f"evaluation.sizes={sizes}: {self.protocol} takes one size; multi_scale takes several",
        )
        require(
            several or 8 <= self.crop <= sizes[0] or self.protocol in ("single_view", "boxes"),
            f"evaluation.crop={self.crop}: must be 8 to {sizes[0]} pixels (evaluation.sizes)",
        )

    def _check_boxes(self) -> None:
        require(
            self.num_proposals >= 1, f"evaluation.num_proposals={self.num_proposals}: at least 1"
        )
        require(0 <= self.threshold < 1, f"evaluation.threshold={self.threshold}: 0 to below 1")
        require(0 < self.nms <= 1, f"evaluation.nms={self.nms}: above 0, at most 1")
        require(self.most is None or self.most >= 1, f"evaluation.most={self.most}: at least 1")

    @property
    def key(self) -> str:
        """Return the key that identifies a test of given weights: `ten_crop 224/256`."""
        words = [self.protocol]
        if self.protocol == "boxes":
            return self._boxes_key()
        if self.protocol == "multi_scale":
            words.append(",".join(map(str, self.sizes)))
        elif self.protocol != "single_view":
            words.append(f"{self.crop}/{self.sizes[0]}")
        if self.interpolation != "bilinear" and self.protocol != "single_view":
            words.append(self.interpolation)
        if self.flip and self.protocol != "ten_crop":
            words.append("flip")
        if self.batch_norm == "reestimated":
            words.append(f"reestimated:{self.batch_norm_images}")
        if self.num_proposals != PROPOSALS:  # of localisation
            words.append(f"top:{self.num_proposals}")
        return " ".join(words)

    def _boxes_key(self) -> str:
        limits = {
            "top": (self.num_proposals, PROPOSALS),
            "above": (self.threshold, 0.0),
            "nms": (self.nms, 0.3),
            "most": (self.most, None),
        }
        words = ["boxes", ",".join(map(str, self.sizes))]
        if self.refine:
            words.append("refined-per-class" if self.refine_per_class else "refined")
        return " ".join([*words, *(f"{k}:{v:g}" for k, (v, usual) in limits.items() if v != usual)])

    def while_training(self, size: int) -> "EvaluationConfig":
        """Return the quick test for the error curve: the single view, or one crop of that size.

        Args:
            size: Shorter side of the photographs that a detector is trained on, pixels.
        """
        if self.protocol == "boxes":
            return replace(self, sizes=[size], refine=False)
        protocol = "single_view" if self.protocol == "single_view" else "one_crop"
        # Of several scales, the first one larger than the crop, as for ten crops: 256.
        side = next((side for side in self.sizes if side > self.crop), self.sizes[-1])
        crop = min(self.crop, side)
        return replace(
            self, protocol=protocol, sizes=[side], crop=crop, flip=False, batch_norm="averages"
        )
