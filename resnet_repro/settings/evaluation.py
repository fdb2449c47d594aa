"""The settings of a test: how many views of an image a network is shown, and which.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from dataclasses import dataclass, field, replace

from resnet_repro.errors import require, require_choice
from resnet_repro.settings.recipe import INTERPOLATIONS

PROTOCOLS = ("single_view", "one_crop", "ten_crop", "multi_scale")
BATCH_NORM = ("averages", "reestimated")


@dataclass(kw_only=True)
class EvaluationConfig:
    """How and when a network is tested; the weights do not depend on it.

    | protocol      | views of an image, whose class probabilities are averaged                   |
    |---------------|-----------------------------------------------------------------------------|
    | `single_view` | the image as it is ([He15] Sec. 4.2); for images held in memory             |
    | `one_crop`    | shorter side `sizes[0]`, the centre `crop`                                  |
    | `ten_crop`    | shorter side `sizes[0]`, four corners and centre, and their mirror images   |
    | `multi_scale` | the whole image at each shorter side of `sizes` ([He15] Sec. 3.4)           |

    Attributes:
        protocol: Of the number in the table.
        sizes: Shorter sides to which photographs are resized, pixels.
        crop: Height and width of a crop, pixels.
        interpolation: With which photographs are resized: `bilinear` or `bicubic`.
        flip: The mirror image of each view too; `ten_crop` has them anyway.
        batch_norm: `averages`: those kept while training; `reestimated`: the mean over
            `batch_norm_images` training images after it, as in the authors' released models.
        batch_norm_images: See `batch_norm`.
        every: Iterations between two tests while training; the last iteration is always tested.
            These take the single view, or one crop.
        batch_size: Views per forward pass.
        responses: Measure the responses of a finished network's layers too ([He15] Fig. 7).
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

    def __post_init__(self) -> None:
        require_choice("evaluation.protocol", self.protocol, PROTOCOLS)
        require_choice("evaluation.batch_norm", self.batch_norm, BATCH_NORM)
        require_choice("evaluation.interpolation", self.interpolation, INTERPOLATIONS)
        require(self.every >= 1, f"evaluation.every={self.every}: at least 1 iteration")
        require(self.batch_size >= 1, f"evaluation.batch_size={self.batch_size}: at least 1 image")
        require(
            self.batch_norm_images >= 2,
            f"evaluation.batch_norm_images={self.batch_norm_images}: at least 2 images",
        )
        sizes = list(self.sizes)
        require(
            bool(sizes) and sizes == sorted(set(sizes)) and sizes[0] >= 8,
            f"evaluation.sizes={sizes}: growing shorter sides in pixels, the first at least 8",
        )
        several = self.protocol == "multi_scale"
        require(
            several or len(sizes) == 1,
            f"evaluation.sizes={sizes}: {self.protocol} takes one; multi_scale takes several",
        )
        require(
            several or 8 <= self.crop <= sizes[0] or self.protocol == "single_view",
            f"evaluation.crop={self.crop}: from 8 to {sizes[0]} pixels (evaluation.sizes)",
        )

    @property
    def key(self) -> str:
        """Return what tells one test of the same weights from another: `ten_crop 224/256`."""
        words = [self.protocol]
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
        return " ".join(words)

    def while_training(self) -> "EvaluationConfig":
        """Return the quick test for the curve: the single view, or one crop of the same size."""
        protocol = "single_view" if self.protocol == "single_view" else "one_crop"
        # Of several scales the first that is larger than the crop, as for ten crops: 256.
        size = next((size for size in self.sizes if size > self.crop), self.sizes[-1])
        crop = min(self.crop, size)
        return replace(
            self, protocol=protocol, sizes=[size], crop=crop, flip=False, batch_norm="averages"
        )
