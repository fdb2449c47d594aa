"""The settings of one run: what each means, its unit, and what it may be.

The dataclasses are the schema of `conf/`: Hydra composes the files onto them, so a misspelt key or
a word where a number belongs is refused when the configuration is put together. `parse` makes the
checked `RunConfig` that the rest of the program is handed; nothing changes one after that. (They
are not frozen only because OmegaConf makes read-only nodes of frozen ones, and nothing composes
onto those.)

A field marked `_FREE` may differ between two machines that do the same run: it is not in the run's
identity. Every other field is, unless it holds its default; a field added later with a default that
means "as before" therefore leaves every old run its id.
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError

_FREE = {"identity": False}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, f"{key}={value}: it can be {', '.join(choices)}")


SHORTCUTS = ("none", "A", "B", "C")
STRIDES_IN = ("1x1", "3x3")
PRECISIONS = ("fp32", "tf32", "bf16")
DECAYED = ("weights", "all")
IMAGENET_DEPTHS = (18, 34, 50, 101, 152)


@dataclass(kw_only=True)
class ModelConfig:
    """A network.

    Attributes:
        name: Its key in the registry: `cifar_resnet` ([He15] Sec. 4.2), `imagenet_resnet` (4.1).
        depth: Number of weight layers: 6n+2 on CIFAR; 18, 34, 50, 101 or 152 on ImageNet.
        shortcut: `none` (the plain network), or option `A`, `B` or `C` ([He15] Table 3).
        width: Channels of the first stage; 16 on CIFAR, 64 on ImageNet.
        stride_in: The bottleneck's layer that halves the map: the first `1x1` as in [He15], or the
            `3x3` as in fb.resnet.torch and torchvision.
        num_classes: Outputs of the last layer; follows the data.
    """

    name: str = MISSING
    depth: int = MISSING
    shortcut: str = MISSING
    width: int = MISSING
    stride_in: str = "1x1"
    num_classes: int = MISSING

    def __post_init__(self) -> None:
        _require_choice("model.shortcut", self.shortcut, SHORTCUTS)
        _require_choice("model.stride_in", self.stride_in, STRIDES_IN)
        _require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        _require(self.num_classes >= 2, f"data.num_classes={self.num_classes}: at least 2 classes")
        if self.name == "cifar_resnet":
            below = 6 * max(1, (self.depth - 2) // 6) + 2
            _require(
                self.depth == below,
                f"model.depth={self.depth} is not 6n+2; the nearest are {below} and {below + 6}",
            )
        elif self.name == "imagenet_resnet":
            choices = ", ".join(map(str, IMAGENET_DEPTHS))
            _require(
                self.depth in IMAGENET_DEPTHS, f"model.depth={self.depth}: it can be {choices}"
            )
        _require(
            self.stride_in == "1x1" or (self.name == "imagenet_resnet" and self.depth >= 50),
            f"model.stride_in={self.stride_in}: only bottleneck networks have the choice",
        )


@dataclass(kw_only=True)
class GenerateConfig:
    """How much of the synthetic set to make, and from which seed (not the run's)."""

    num_train: int = MISSING
    num_test: int = MISSING
    seed: int = 0

    def __post_init__(self) -> None:
        _require(min(self.num_train, self.num_test) >= 10, "data.generate: at least 10 images each")


@dataclass(kw_only=True)
class DataConfig:
    """A data set.

    Attributes:
        name: `cifar10`, `cifar100`, `folder` (class folders of images) or `synthetic`.
        title: Its name in tables, and what tells one folder of images from another.
        root: The folder in which it lies.
        download: Fetch it when it is not there.
        image_size: Height and width in pixels.
        num_classes: Number of classes.
        num_validation: Training images held out to be tested on in place of the test set; 5000 is
            the 45k/5k split on which [He15] Sec. 4.2 chose the schedule. 0 tests on the test set.
        generate: The synthetic set's size and seed; null for all others.
    """

    name: str = MISSING
    title: str = MISSING
    root: str = field(default="data", metadata=_FREE)
    download: bool = field(default=True, metadata=_FREE)
    image_size: int = MISSING
    num_classes: int = MISSING
    num_validation: int = 0
    generate: GenerateConfig | None = None

    def __post_init__(self) -> None:
        _require(self.image_size >= 8, f"data.image_size={self.image_size}: at least 8 pixels")
        _require(self.num_validation >= 0, "data.num_validation: 0 or more images")


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
        _require(self.lr > 0, f"recipe.warmup.lr={self.lr}: more than 0, or null for no warm-up")
        _require(
            (self.until_train_error is None) != (self.iterations is None),
            "recipe.warmup ends at until_train_error or after iterations: give one of the two",
        )
        _require(
            self.until_train_error is None or 1 <= self.until_train_error <= 100,
            f"recipe.warmup.until_train_error={self.until_train_error}: in percent, 1 to 100",
        )
        _require(
            self.iterations is None or self.iterations >= 1,
            f"recipe.warmup.iterations={self.iterations}: at least 1",
        )


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
        warmup: A lower rate at first.
        momentum: Of SGD.
        nesterov: Nesterov's form of it.
        weight_decay: Of the decayed parameters.
        decayed: `weights` (of convolutions and the last layer, as [He15]) or `all` (batch norm and
            biases too, as fb.resnet.torch).
        crop_padding: Zero pixels added on each side before the random crop; 0 for no crop.
        flip: Mirror every other image, at random.
        precision: `fp32`, `tf32` (fp32 with tf32 products on CUDA) or `bf16` (autocast).
        departures: In words, where the recipe departs from the paper or had to choose, and why; a
            footnote of every table made with it.
    """

    iterations: int = MISSING
    batch_size: int = MISSING
    bn_batch: int | None = None
    lr: float = MISSING
    lr_drops: list[int] = field(default_factory=list)
    lr_drop_factor: float = 0.1
    warmup: WarmupConfig = field(default_factory=WarmupConfig)
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decayed: str = "weights"
    crop_padding: int = 0
    flip: bool = False
    precision: str = "fp32"
    departures: list[str] = field(default_factory=list, metadata=_FREE)

    def __post_init__(self) -> None:
        _require_choice("recipe.precision", self.precision, PRECISIONS)
        _require_choice("recipe.decayed", self.decayed, DECAYED)
        _require(self.iterations >= 1, f"recipe.iterations={self.iterations}: at least 1")
        _require(self.batch_size >= 2, f"recipe.batch_size={self.batch_size}: at least 2 images")
        _require(self.lr > 0, f"recipe.lr={self.lr}: more than 0")
        _require(0 <= self.momentum < 1, f"recipe.momentum={self.momentum}: from 0 to below 1")
        _require(self.weight_decay >= 0, f"recipe.weight_decay={self.weight_decay}: 0 or more")
        _require(
            0 < self.lr_drop_factor <= 1,
            f"recipe.lr_drop_factor={self.lr_drop_factor}: above 0, at most 1",
        )
        _require(
            self.momentum > 0 or not self.nesterov, "recipe.nesterov=true needs recipe.momentum"
        )
        _require(self.crop_padding >= 0, f"recipe.crop_padding={self.crop_padding}: 0 or more")
        _require(
            list(self.lr_drops) == sorted(set(self.lr_drops)) and min(self.lr_drops, default=1) > 0,
            f"recipe.lr_drops={list(self.lr_drops)}: growing iterations, the first above 0",
        )
        if self.bn_batch is not None:
            _require(self.bn_batch >= 2, f"recipe.bn_batch={self.bn_batch}: at least 2 images")
            _require(
                self.batch_size % self.bn_batch == 0,
                f"recipe.batch_size={self.batch_size} is no multiple of "
                f"recipe.bn_batch={self.bn_batch}: change one of them",
            )


@dataclass(kw_only=True)
class EvaluationConfig:
    """How and when a network is tested; the weights do not depend on it.

    Attributes:
        protocol: `single_view`: the image as it is, once.
        every: Iterations between two tests; the last iteration is always tested.
        batch_size: Images per forward pass.
    """

    protocol: str = "single_view"
    every: int = 1000
    batch_size: int = 500

    def __post_init__(self) -> None:
        _require_choice("evaluation.protocol", self.protocol, ("single_view",))
        _require(self.every >= 1, f"evaluation.every={self.every}: at least 1 iteration")
        _require(self.batch_size >= 1, f"evaluation.batch_size={self.batch_size}: at least 1 image")


@dataclass(kw_only=True)
class ComputeConfig:
    """Where a run is computed; the same run on any of them.

    Attributes:
        device: `auto` (cuda, else mps, else cpu) or torch's name of one.
        threads: CPU threads; null leaves the choice to torch.
        deterministic: On CUDA, only algorithms that give the same bits each time (slower).
        log_every: Iterations between two measurements of the training error.
        save_minutes: Minutes between two checkpoints: the most work that a power cut costs.
    """

    device: str = "auto"
    threads: int | None = None
    deterministic: bool = False
    log_every: int = 200
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        _require(
            re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) is not None,
            f"compute.device={self.device}: it can be auto, cpu, cuda, cuda:1 or mps",
        )
        _require(
            1 <= self.log_every <= 50_000,
            f"compute.log_every={self.log_every}: 1 to 50000 iterations",
        )
        _require(self.save_minutes >= 0, f"compute.save_minutes={self.save_minutes}: 0 or more")
        _require(
            self.threads is None or self.threads >= 1, f"compute.threads={self.threads}: at least 1"
        )


@dataclass(kw_only=True)
class RunConfig:
    """One network, trained once."""

    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    recipe: RecipeConfig = MISSING
    evaluation: EvaluationConfig = field(default=MISSING, metadata=_FREE)
    compute: ComputeConfig = field(default=MISSING, metadata=_FREE)
    seed: int = 0

    def __post_init__(self) -> None:
        _require(
            self.model.num_classes == self.data.num_classes,
            f"model.num_classes={self.model.num_classes} follows data.num_classes="
            f"{self.data.num_classes}: set that one",
        )

    def identity(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return what the weights depend on, flat: `{"model.depth": 20, ...}`.

        Args:
            defaults: Also the fields that hold their default.
        """
        return dict(_identity(self, defaults))


def _identity(config: Any, defaults: bool, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    for item in fields(config):
        if not item.metadata.get("identity", True):
            continue
        value = getattr(config, item.name)
        default = item.default if item.default_factory is NO_DEFAULT else item.default_factory()
        if is_dataclass(value):
            yield from _identity(value, defaults, f"{prefix}{item.name}.")
        elif defaults or value != default:
            yield prefix + item.name, value


SECTIONS = tuple(item.name for item in fields(RunConfig) if item.name != "seed")


def parse(config: DictConfig) -> RunConfig:
    """Check a composed configuration and make a value of it.

    Args:
        config: At least the sections of a run; others (the experiment's) are left out.

    Raises:
        UserError: A value is missing, of the wrong type or out of range.
    """
    try:
        sections = OmegaConf.masked_copy(config, list(SECTIONS))
        run = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), sections))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(run, RunConfig)
    return run


def explain(error: OmegaConfBaseException) -> str:
    """Say in one line what OmegaConf found wrong, and at which key."""
    message = str(error.msg or error).split("\n")[0]
    return f"{error.full_key}: {message}" if error.full_key else message
