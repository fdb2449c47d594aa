"""The settings of a recipe: what the papers hold fixed while they vary the network."""

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
    """A lower learning rate at first.

    [He15] Sec. 4.2: 0.01 until the training error is below 80 % (about 400 iterations).

    Attributes:
        lr: That rate; null for no warm-up.
        until_train_error: It ends when the training error is below this, %; or
        iterations: it ends after so many.
    """

    lr: float | None = None
    until_train_error: float | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        if self.lr is None:
            self.until_train_error = self.iterations = None  # no warm-up is one thing, not many
            return
        require(self.lr > 0, f"recipe.warmup.lr={self.lr}: more than 0, or null for no warm-up")
        require(
            (self.until_train_error is None) != (self.iterations is None),
            "recipe.warmup ends at until_train_error or after iterations: give one of the two",
        )
        require(
            self.until_train_error is None or 1 <= self.until_train_error <= 100,
            f"recipe.warmup.until_train_error={self.until_train_error}: in percent, 1 to 100",
        )
        require(
            self.iterations is None or self.iterations >= 1,
            f"recipe.warmup.iterations={self.iterations}: at least 1",
        )


@dataclass(kw_only=True)
class PlateauConfig:
    """Dividing the learning rate "when the error plateaus" ([He15] Sec. 3.4), not at `lr_drops`.

    The paper says neither which error nor how long. Here: the training error of one window after
    another; when it has not fallen by `min_gain` below the lowest for `patience` windows, the rate
    drops.

    Attributes:
        window: Iterations over which the error is taken; null for drops at set iterations.
        patience: Windows without gain before a drop.
        min_gain: What counts as gain, % points.
        max_drops: No more drops than this.
    """

    window: int | None = None
    patience: int = 5
    min_gain: float = 0.1
    max_drops: int = 3

    def __post_init__(self) -> None:
        require(
            self.window is None or self.window >= 1,
            f"recipe.plateau.window={self.window}: at least 1 iteration",
        )
        require(self.patience >= 1, f"recipe.plateau.patience={self.patience}: at least 1 window")
        require(self.min_gain >= 0, f"recipe.plateau.min_gain={self.min_gain}: 0 or more")
        require(self.max_drops >= 0, f"recipe.plateau.max_drops={self.max_drops}: 0 or more")


@dataclass(kw_only=True)
class PhotoConfig:
    """Which view of a photograph a network is trained on; for data of photographs only.

    Attributes:
        scale: The shorter side is resized to a whole number of pixels from this range, then a crop
            of `data.image_size` is taken anywhere ([He15] Sec. 3.4: 256 to 480); or
        area: a crop of this share of the area and
        aspect: of this ratio of width to height is resized to `data.image_size` (fb.resnet.torch).
        interpolation: `bilinear` or `bicubic`.
        jitter: Brightness, contrast and saturation are changed by up to this share, in any order.
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
        """Whether the recipe is one for photographs."""
        return bool(self.scale or self.area or self.jitter or self.pca)

    def __post_init__(self) -> None:
        require_choice("recipe.photo.interpolation", self.interpolation, INTERPOLATIONS)
        require(
            self.scale is None or self.area is None,
            "recipe.photo has scale and area: a view is taken by one of them, the other is null",
        )
        for name in ("scale", "area", "aspect"):
            pair = getattr(self, name)
            require(
                pair is None or (len(pair) == 2 and 0 < pair[0] <= pair[1]),
                f"recipe.photo.{name}={pair and list(pair)}: lowest first, above 0",
            )
        require(self.area is None or self.area[1] <= 1, f"recipe.photo.area={self.area}: at most 1")
        require(0 <= self.jitter < 1, f"recipe.photo.jitter={self.jitter}: from 0 to below 1")
        require(self.pca >= 0, f"recipe.photo.pca={self.pca}: 0 or more")


@dataclass(kw_only=True)
class RecipeConfig:
    """How a network is trained.

    Attributes:
        iterations: Number of mini-batches.
        batch_size: Images per mini-batch, over all processes.
        bn_batch: Images that share batch-norm statistics; gradients of the groups are accumulated.
            null takes a process's share whole.
        lr: Learning rate.
        lr_drops: Iterations from which it is multiplied by `lr_drop_factor` once more.
        lr_drop_factor: See `lr_drops`.
        plateau: Drops when the training error no longer falls, in place of `lr_drops`.
        warmup: A lower rate at first.
        momentum: Of SGD.
        nesterov: Nesterov's form of it.
        weight_decay: Of the decayed parameters.
        decayed: `weights` (of convolutions and the last layer, as [He15]) or `all` (batch norm and
            biases too, as fb.resnet.torch).
        crop_padding: Zero pixels added on each side before the random crop; 0 for no crop.
        flip: Mirror every other image, at random.
        photo: The view taken of a photograph.
        input: What a network is shown: pixels less the mean image (`pixel_mean`, [He15]), or each
            channel less its mean, over its standard deviation (`channels`, fb.resnet.torch).
        precision: `fp32`, `tf32` (fp32 with tf32 products on CUDA) or `bf16` (autocast).
        deviations: Remarks on where the recipe deviates from the paper, or had to choose, and why,
            by topic; printed below every table made with it. A recipe or row that inherits one
            replaces it under the same topic, or removes it with null.
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
        require(self.iterations >= 1, f"recipe.iterations={self.iterations}: at least 1")
        require(self.batch_size >= 2, f"recipe.batch_size={self.batch_size}: at least 2 images")
        require(0 < self.lr < math.inf, f"recipe.lr={self.lr}: more than 0, and a number")
        require(0 <= self.momentum < 1, f"recipe.momentum={self.momentum}: from 0 to below 1")
        require(self.weight_decay >= 0, f"recipe.weight_decay={self.weight_decay}: 0 or more")
        require(
            0 < self.lr_drop_factor <= 1,
            f"recipe.lr_drop_factor={self.lr_drop_factor}: above 0, at most 1",
        )
        require(
            self.momentum > 0 or not self.nesterov, "recipe.nesterov=true needs recipe.momentum"
        )
        require(self.crop_padding >= 0, f"recipe.crop_padding={self.crop_padding}: 0 or more")
        require(
            list(self.lr_drops) == sorted(set(self.lr_drops)) and min(self.lr_drops, default=1) > 0,
            f"recipe.lr_drops={list(self.lr_drops)}: growing iterations, the first above 0",
        )
        require(
            self.plateau.window is None or not self.lr_drops,
            "recipe.plateau.window and recipe.lr_drops: the rate drops by one of them; say "
            "'recipe.lr_drops=[]'",
        )
        if self.bn_batch is not None:
            require(self.bn_batch >= 2, f"recipe.bn_batch={self.bn_batch}: at least 2 images")
            require(
                self.batch_size % self.bn_batch == 0,
                f"recipe.batch_size={self.batch_size} is no multiple of "
                f"recipe.bn_batch={self.bn_batch}: change one of them",
            )
