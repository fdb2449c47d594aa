"""The settings of a test: the views of an image that a network is tested on.

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
    | `single_view` | the unmodified image ([He15] Sec. 4.2); for images held in memory           |
    | `one_crop`    | centre `crop`, at shorter side `sizes[0]`                                   |
    | `ten_crop`    | four corner crops, centre crop, and their mirror images, at `sizes[0]`      |
    | `multi_scale` | the whole image at each shorter side of `sizes` ([He15] Sec. 3.4)           |

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
        several = self.protocol == "multi_scale"
        require(
            several or len(sizes) == 1,
            f"evaluation.sizes={sizes}: {self.protocol} takes one size; multi_scale takes several",
        )
        require(
            several or 8 <= self.crop <= sizes[0] or self.protocol == "single_view",
            f"evaluation.crop={self.crop}: must be 8 to {sizes[0]} pixels (evaluation.sizes)",
        )

    @property
    def key(self) -> str:
        """Return the key that identifies a test of given weights: `ten_crop 224/256`."""
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
        """Return the quick test for the error curve: the single view, or one crop of that size."""
        protocol = "single_view" if self.protocol == "single_view" else "one_crop"
        # Of several scales, the first one larger than the crop, as for ten crops: 256.
        size = next((size for size in self.sizes if size > self.crop), self.sizes[-1])
        crop = min(self.crop, size)
        return replace(
            self, protocol=protocol, sizes=[size], crop=crop, flip=False, batch_norm="averages"
        )
