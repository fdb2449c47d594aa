"""The settings of one run: what each means, its unit, and what it may be.

The dataclasses are the schema of `conf/`: Hydra composes the files onto them, so a misspelt key or
a word where a number belongs is refused when the configuration is put together. `parse` makes the
checked `RunConfig` that the rest of the program is handed; nothing changes one after that. (They
are not frozen only because OmegaConf makes read-only nodes of frozen ones, and nothing composes
onto those.)

A field marked `FREE` may differ between two machines that do the same run: it is not in the run's
identity. Every other field is, unless it holds its default; a field added later with a default that
means "as before" therefore leaves every old run its id.
"""

import os.path
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, require
from resnet_repro.evaluation import EvaluationConfig
from resnet_repro.network import ModelConfig
from resnet_repro.recipe import FREE, RecipeConfig


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


@dataclass(kw_only=True)
class ComputeConfig:
    """Where a run is computed; the same run on any of them.

    Attributes:
        device: `auto` (cuda, else mps, else cpu) or torch's name of one.
        threads: CPU threads; null leaves the choice to torch.
        processes: Processes that train one network together, each its share of every mini-batch.
            null: one per visible GPU for photographs, else one.
        workers: Processes that read photographs, for each of these; null: one per CPU core.
        deterministic: On CUDA, only algorithms that give the same bits each time (slower).
        channels_last: Maps lie in memory as (N, H, W, C); null: where that is faster.
        graph: Capture an iteration as a CUDA graph and replay it; null: where that can be.
        compile: Compile blocks, each shape once (half a minute at the start).
        recompute: Keep the input of every so many blocks alone, and compute the rest again in the
            backward pass: less memory, a third more arithmetic; null keeps everything.
        runs_per_gpu: Runs side by side on each GPU; null: as many as a short measurement finds
            best. On a machine without a GPU, on its CPU, where null is one.
        log_every: Iterations between two measurements of the training error.
        save_minutes: Minutes between two checkpoints: the most work that a power cut costs.
    """

    device: str = "auto"
    threads: int | None = None
    processes: int | None = None
    workers: int | None = None
    deterministic: bool = False
    channels_last: bool | None = None
    graph: bool | None = None
    compile: bool = False
    recompute: int | None = None
    runs_per_gpu: int | None = None
    log_every: int = 200
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) is not None,
            f"compute.device={self.device}: it can be auto, cpu, cuda, cuda:1 or mps",
        )
        require(
            1 <= self.log_every <= 50_000,
            f"compute.log_every={self.log_every}: 1 to 50000 iterations",
        )
        require(self.save_minutes >= 0, f"compute.save_minutes={self.save_minutes}: 0 or more")
        for name, least in (
            ("threads", 1),
            ("processes", 1),
            ("workers", 0),
            ("runs_per_gpu", 1),
            ("recompute", 1),
        ):
            value = getattr(self, name)
            require(value is None or value >= least, f"compute.{name}={value}: at least {least}")
        require(
            (self.processes or 1) == 1 or ":" not in self.device,
            f"compute.processes={self.processes} takes several devices, compute.device="
            f"{self.device} is one: say compute.device=auto",
        )


@dataclass(kw_only=True)
class RunConfig:
    """One network, trained once."""

    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    recipe: RecipeConfig = MISSING
    evaluation: EvaluationConfig = field(default=MISSING, metadata=FREE)
    compute: ComputeConfig = field(default=MISSING, metadata=FREE)
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self.model.num_classes == self.data.num_classes,
            f"model.num_classes={self.model.num_classes} follows data.num_classes="
            f"{self.data.num_classes}: set that one",
        )
        if self.data.is_streamed:
            require(
                self.recipe.crop_padding == 0,
                f"recipe.crop_padding={self.recipe.crop_padding} is for images held in memory, and "
                f"{self.data.title} holds photographs: say recipe=imagenet_msra",
            )
            require(
                self.evaluation.protocol != "single_view",
                "evaluation.protocol=single_view is for images held in memory; photographs take "
                "evaluation=one_crop, ten_crop or multi_scale",
            )
        else:
            require(
                not self.recipe.photo.is_used,
                f"recipe.photo takes views of photographs, and {self.data.title} is held in "
                f"memory: say recipe=cifar_64k, or data=imagenet for photographs",
            )
            require(
                self.evaluation.protocol == "single_view",
                f"evaluation.protocol={self.evaluation.protocol} takes views of photographs; "
                f"{self.data.title} is held in memory and tested with evaluation=single_view",
            )
        scale, size = self.recipe.photo.scale, self.data.image_size
        require(
            scale is None or scale[0] >= size,
            f"recipe.photo.scale={scale and list(scale)}: a crop of data.image_size={size} "
            f"does not fit into the smallest",
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


def parse(config: DictConfig, settled: Mapping[str, Any] | None = None) -> RunConfig:
    """Check a composed configuration and make a value of it.

    Args:
        config: At least the sections of a run; others (the experiment's) are left out.
        settled: Sections that are values already, in place of those in `config`.

    Raises:
        UserError: A value is missing, of the wrong type or out of range.
    """
    try:
        # Composed sections are typed by the schema, and make their dataclasses themselves.
        others = (name for name in SECTIONS if name not in (settled or {}))
        made: dict[str, Any] = {name: OmegaConf.to_object(config[name]) for name in others}
        return RunConfig(**made, **(settled or {}))
    except OmegaConfBaseException as error:
        raise UserError(locate(error)) from error


# OmegaConf's words, and ours.
_SAID = (
    (r"Value '(.*)' of type '\w+' could not be converted to Float", r"'\1' is not a number"),
    (r"Value '(.*)' of type '\w+' could not be converted to Int.*", r"'\1' is not a whole number"),
    (r"Value '(.*)' is not a valid bool.*", r"'\1' is neither true nor false"),
    (r"field '.*' is not Optional", "it cannot be null"),
    (r"Incompatible value 'None' for .*", "it cannot be null"),
    (r".* is not a ListConfig.*", "it is a list: [...]"),
    (r"(?:Invalid type assigned|Merge error): \w+ is not a subclass of \w+\. value: (.*)",
     r"'\1' is no group of settings: {key: value}"),
    (r"Cannot merge DictConfig with ListConfig", "settings, {key: value}, where a list belongs"),
    (r"Interpolation key '(.*)' not found", r"there is no \1 to take its value from"),
    (r"Structured config of type .* has missing mandatory value: .*", "it has no value"),
    (r"Cannot convert '\w+' to string: '(.*)'", r"\1 is not a text"),
)  # fmt: skip


def locate(error: OmegaConfBaseException) -> str:
    """Say in one line what OmegaConf found wrong, and at which key."""
    message = str(error.msg or error).split("\n")[0]
    missing = re.search(r"Missing mandatory value: (\S+)", message)
    if missing:
        return f"{missing[1]} has no value: set {missing[1]}=..."
    for theirs, ours in _SAID:
        if match := re.fullmatch(theirs, message):
            message = match.expand(ours)
    section, node = error.parent_node, None
    if isinstance(section, DictConfig) and section and isinstance(error.key, str):
        node = section._get_node(error.key, validate_access=False)
    if isinstance(node, DictConfig) and message == "it cannot be null":
        keys = (f"{error.full_key}.{key!s}" for key in node)
        message = f"{message}; set what is in it: {', '.join(keys)}"
    return f"{error.full_key}: {message}" if error.full_key else message
