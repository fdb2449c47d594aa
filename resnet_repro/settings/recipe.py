"""The settings of a recipe, which the papers keep fixed while they vary the network."""

import math
from dataclasses import dataclass, field

from omegaconf import MISSING

from resnet_repro.errors import require, require_choice
from resnet_repro.settings.identity import FREE

PRECISIONS = ("fp32", "tf32", "bf16")
DECAYED = ("weights", "all")
INPUTS = ("pixel_mean", "channels")
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(kw_only=True)
class WarmupConfig:
    """A lower learning rate at the start.

    [He15] Sec. 4.2: 0.01 until the training error is below 80 % (about 400 iterations).

    Attributes:
        lr: Learning rate of the warm-up; null for no warm-up.
        until_train_error: Training error below which the warm-up ends, %.
        iterations: Length of the warm-up, as an alternative to `until_train_error`.
    """

    lr: float | None = None
    until_train_error: float | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        if self.lr is None:
            self.until_train_error = self.iterations = None  # no warm-up, one id
            return
        require(self.lr > 0, f"recipe.warmup.lr={self.lr}: must be above 0, or null for no warm-up")
        require(
            (self.until_train_error is None) != (self.iterations is None),
            "recipe.warmup: set either until_train_error or iterations",
        )
        require(
            self.until_train_error is None or 1 <= self.until_train_error <= 100,
            f"recipe.warmup.until_train_error={self.until_train_error}: in percent, 1 to 100",
        )
        require(
            self.iterations is None or self.iterations >= 1,
            f"recipe.warmup.iterations={self.iterations}: must be at least 1",
        )


@dataclass(kw_only=True)
class PlateauConfig:
    """Learning rate drops "when the error plateaus" ([He15] Sec. 3.4), instead of at `lr_drops`.

    The paper does not specify which error, or how long a plateau is. Here the training error is
    averaged over consecutive windows, and the rate drops when the error has not fallen by
    `min_gain` below its lowest value for `patience` windows.

    Attributes:
        window: Iterations per window; null: drops at `lr_drops`.
        patience: Number of windows without gain before a drop.
        min_gain: Smallest decrease that counts as gain, % points.
        max_drops: Largest number of drops.
    """

    window: int | None = None
    patience: int = 5
    min_gain: float = 0.1
    max_drops: int = 3

    def __post_init__(self) -> None:
        require(
            self.window is None or self.window >= 1,
            f"recipe.plateau.window={self.window}: must be at least 1 iteration",
        )
        require(self.patience >= 1, f"recipe.plateau.patience={self.patience}: at least 1 window")
        require(self.min_gain >= 0, f"recipe.plateau.min_gain={self.min_gain}: 0 or more")
        require(self.max_drops >= 0, f"recipe.plateau.max_drops={self.max_drops}: 0 or more")


@dataclass(kw_only=True)
class PhotoConfig:
    """The training view of a photograph; for data sets of photographs only.

    Attributes:
        scale: Range of the random shorter side, pixels, to which a photograph is resized before a
            random crop of `data.image_size` is taken ([He15] Sec. 3.4: 256 to 480).
        area: Alternative to `scale`: range of the random crop's share of the area; the crop is
            resized to `data.image_size` (fb.resnet.torch).
        aspect: Range of that crop's ratio of width to height.
        interpolation: Interpolation for resizing: `bilinear` or `bicubic`.
        jitter: Largest relative change of brightness, contrast and saturation, in random order.
        pca: Standard deviation of AlexNet's colour shift along the principal components of the
            training set's colours.
    """

    scale: list[int] | None = None
    area: list[float] | None = None
    aspect: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])
    interpolation: str = "bilinear"
    jitter: float = 0.0
    pca: float = 0.0

    @property
    def is_used(self) -> bool:
        """Whether the recipe is for photographs."""
        return bool(self.scale or self.area or self.jitter or self.pca)

    def __post_init__(self) -> None:
        require_choice("recipe.photo.interpolation", self.interpolation, INTERPOLATIONS)
        require(
            self.scale is None or self.area is None,
            "recipe.photo: scale and area exclude each other: set one of them to null",
        )
        for name in ("scale", "area", "aspect"):
            pair = getattr(self, name)
            require(
                pair is None or (len(pair) == 2 and 0 < pair[0] <= pair[1]),
                f"recipe.photo.{name}={pair and list(pair)}: must be [lowest,highest], above 0",
            )
        require(
            self.area is None or self.area[1] <= 1, f"recipe.photo.area={self.area}: must be <= 1"
        )
        require(0 <= self.jitter < 1, f"recipe.photo.jitter={self.jitter}: must be in [0, 1)")
        require(self.pca >= 0, f"recipe.photo.pca={self.pca}: 0 or more")


@dataclass(kw_only=True)
class RecipeConfig:
    """How a network is trained.

    Attributes:
        iterations: Number of mini-batches.
        batch_size: Images per mini-batch, over all processes.
        bn_batch: Images that share batch-norm statistics; a process computes the groups of its
            slice at once, or one after the other where memory is short (`compute.accumulate`).
            null: all images of the mini-batch, which one process computes.
        lr: Initial learning rate.
        lr_drops: Iterations at which the learning rate is multiplied by `lr_drop_factor`.
        lr_drop_factor: Factor of each drop.
        plateau: Drops when the training error stops falling, instead of `lr_drops`.
        warmup: A lower learning rate at the start.
        momentum: Momentum of SGD.
        nesterov: Whether to use Nesterov momentum.
        weight_decay: Weight decay of the parameters in `decayed`.
        decayed: `weights` (of convolutions, as in [He15], and of the last layer) or `all` (also
            batch norm and biases, as in fb.resnet.torch).
        crop_padding: Zero pixels added on each side before the random crop; 0 for no crop.
        flip: Whether to mirror each image with probability 1/2.
        photo: The training view of a photograph.
        input: Input normalization: pixels minus the mean image (`pixel_mean`, [He15]), or channels
            minus mean, over standard deviation (`channels`, fb.resnet.torch).
        precision: `fp32`, `tf32` (fp32 with tf32 products on CUDA) or `bf16` (autocast).
        deviations: Remarks on where the recipe deviates from the paper, or had to choose, and why,
            by topic; printed below every table made with it. A recipe or row that inherits one
            replaces it under the same topic, or removes it with null. That on `warmup` counts for
            runs whose warm-up ends by the training error only.
    """

    iterations: int = MISSING
    batch_size: int = MISSING
    bn_batch: int | None = None
    lr: float = MISSING
    lr_drops: list[int] = field(default_factory=list)
    lr_drop_factor: float = 0.1
    plateau: PlateauConfig = field(default_factory=PlateauConfig)
    warmup: WarmupConfig = field(default_factory=WarmupConfig)
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decayed: str = "weights"
    crop_padding: int = 0
    flip: bool = False
    photo: PhotoConfig = field(default_factory=PhotoConfig)
    input: str = "pixel_mean"
    precision: str = "fp32"
    deviations: dict[str, str | None] = field(default_factory=dict, metadata=FREE)

    def __post_init__(self) -> None:
        require_choice("recipe.precision", self.precision, PRECISIONS)
        require_choice("recipe.decayed", self.decayed, DECAYED)
        require_choice("recipe.input", self.input, INPUTS)
        require(self.iterations >= 1, f"recipe.iterations={self.iterations}: must be at least 1")
        require(self.batch_size >= 1, f"recipe.batch_size={self.batch_size}: at least 1 image")
        require(0 < self.lr < math.inf, f"recipe.lr={self.lr}: must be above 0 and finite")
        require(0 <= self.momentum < 1, f"recipe.momentum={self.momentum}: must be in [0, 1)")
        require(self.weight_decay >= 0, f"recipe.weight_decay={self.weight_decay}: 0 or more")
        require(
            0 < self.lr_drop_factor <= 1,
            f"recipe.lr_drop_factor={self.lr_drop_factor}: must be above 0, at most 1",
        )
        require(
            self.momentum > 0 or not self.nesterov, "recipe.nesterov=true needs recipe.momentum"
        )
        require(self.crop_padding >= 0, f"recipe.crop_padding={self.crop_padding}: 0 or more")
        require(
            list(self.lr_drops) == sorted(set(self.lr_drops)) and min(self.lr_drops, default=1) > 0,
            f"recipe.lr_drops={list(self.lr_drops)}: must be increasing iterations above 0",
        )
        require(
            self.plateau.window is None or not self.lr_drops,
            "recipe.plateau.window and recipe.lr_drops exclude each other: set "
            "'recipe.lr_drops=[]'",
        )
        if self.bn_batch is not None:
            require(self.bn_batch >= 2, f"recipe.bn_batch={self.bn_batch}: at least 2 images")
            require(
                self.batch_size % self.bn_batch == 0,
                f"recipe.batch_size={self.batch_size} is not a multiple of "
                f"recipe.bn_batch={self.bn_batch}: change one of them",
            )

    def remarks(self) -> list[str]:
        """Return the deviations that apply."""
        unused = {"warmup"} if self.warmup.until_train_error is None else set()
        return [text for topic, text in self.deviations.items() if text and topic not in unused]
