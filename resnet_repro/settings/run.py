"""The settings of one run, and checks across their sections.

The dataclasses are the schema of `conf/`: Hydra composes the files onto them, so a misspelt key or
a value of the wrong type is refused at composition. `parse` returns the checked `RunConfig` that
the rest of the program uses and never changes. (The dataclasses are not frozen only because
OmegaConf makes frozen ones read-only, and nothing can be composed onto those.)

A field marked `FREE` may differ between two machines that do the same run: it is not part of the
run's identity. Every other field is, unless it has its default; a field added later whose default
means "as before" therefore keeps the ids of old runs.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, require
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.detector import LOCALISATION, DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.external_model import Model, parse_model
from resnet_repro.settings.identity import FREE, identity_fields
from resnet_repro.settings.mistakes import locate
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.settings.unused import refuse_unused


@dataclass(kw_only=True)
class RunConfig:
    """The settings of one training of one network."""

    model: Model = MISSING
    data: DataConfig = MISSING
    recipe: RecipeConfig = MISSING
    evaluation: EvaluationConfig = field(default=MISSING, metadata=FREE)
    compute: ComputeConfig = field(default=MISSING, metadata=FREE)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self.model.num_classes == self.data.num_classes,
            f"model.num_classes={self.model.num_classes} follows data.num_classes="
            f"{self.data.num_classes}: set data.num_classes instead",
        )
        require(
            self.compute.recompute is None
            or (isinstance(self.model, ModelConfig) and self.model.has_blocks),
            f"compute.recompute={self.compute.recompute}: {self.model.name} has no blocks to "
            f"recompute; set compute.recompute=null for it",
        )
        self._check_detector()
        if not self.detector.is_used:
            self._check_classifier()
        refuse_unused(self.data, self.recipe, self.evaluation, self.detector)

    def _check_classifier(self) -> None:
        require(
            self.data.num_classes >= 2,
            f"data.num_classes={self.data.num_classes}: a classifier needs at least 2 (a detector "
            f"can have 1)",
        )
        require(
            self.recipe.batch_size >= 2,
            f"recipe.batch_size={self.recipe.batch_size}: at least 2 images, for batch norm",
        )
        if self.data.is_streamed:
            require(
                self.recipe.crop_padding == 0,
                f"recipe.crop_padding={self.recipe.crop_padding} is for images held in memory, and "
                f"{self.data.title} holds photographs: set recipe=imagenet_msra",
            )
            require(
                self.evaluation.protocol != "single_view",
                "evaluation.protocol=single_view is for images held in memory; photographs need "
                "evaluation=one_crop, ten_crop or multi_scale",
            )
        else:
            require(
                self.recipe.crop_padding <= self.data.image_size,
                f"recipe.crop_padding={self.recipe.crop_padding}: must be at most data.image_size="
                f"{self.data.image_size}, or crops have nothing but padding",
            )
            require(
                not self.recipe.photo.is_used,
                f"recipe.photo is for photographs, and {self.data.title} is held in memory: "
                f"set recipe=cifar_64k, or data=imagenet for photographs",
            )
            require(
                self.evaluation.protocol == "single_view",
                f"evaluation.protocol={self.evaluation.protocol} is for photographs; "
                f"{self.data.title} is held in memory: set evaluation=single_view",
            )
        scale, size = self.recipe.photo.scale, self.data.image_size
        require(
            scale is None or scale[0] >= size,
            f"recipe.photo.scale={scale and list(scale)}: must be at least "
            f"data.image_size={size}, the size of the crop",
        )

    def _check_detector(self) -> None:
        if self.detector.is_used:
            self._check_tests_of_classifiers()
        if self.detector.localises:
            self._check_localisation()
            return
        step, boxes = self.detector.step, self.evaluation.protocol == "boxes"
        require(
            self.data.name != "ilsvrc_loc",
            f"data.name=ilsvrc_loc is for detector.step={' and '.join(LOCALISATION)}, not {step}",
        )
        require(
            self.detector.is_used == (self.data.boxes is not None) == boxes,
            f"detector.step={step}, data.name={self.data.name} and evaluation.protocol="
            f"{self.evaluation.protocol}: a detector needs photographs with boxes (such as "
            f"data=voc0712 or data=coco2017) and evaluation=boxes, a classifier can use neither",
        )
        if not self.detector.is_used:
            require(
                self.model.name != "vgg16" or self.data.image_size >= 32,
                f"data.image_size={self.data.image_size}: model.name=vgg16 halves images five "
                f"times, which needs at least 32 pixels",
            )
            return
        self._check_training_of_detector("imagenet_resnet", "vgg16")
        require(
            not self.recipe.photo.is_used and self.recipe.crop_padding == 0,
            "recipe.photo and recipe.crop_padding are for classifiers: a detector's are "
            "only resized and mirrored",
        )

    def _check_tests_of_classifiers(self) -> None:
        test, step = self.evaluation, self.detector.step
        for key, usual in (("flip", False), ("batch_norm", "averages"), ("responses", False)):
            require(
                getattr(test, key) == usual,
                f"evaluation.{key}={str(getattr(test, key)).lower()} is for classifiers, not for "
                f"detector.step={step}",
            )

    def _check_localisation(self) -> None:
        step, photo = self.detector.step, self.recipe.photo
        require(
            self.data.name == "ilsvrc_loc",
            f"detector.step={step} needs photographs of one class with boxes: set data=ilsvrc_loc",
        )
        require(
            self.evaluation.protocol in ("one_crop", "multi_scale"),
            f"evaluation.protocol={self.evaluation.protocol}: detector.step={step} is tested by "
            f"one_crop or multi_scale",
        )
        require(
            photo.scale is not None if step == "localisation" else not photo.is_used,
            "recipe.photo: detector.step=localisation needs photo.scale, the range of the shorter "
            "side, and localisation_regions nothing",
        )
        require(
            not (photo.pca or photo.jitter or self.recipe.crop_padding),
            f"recipe.photo.pca, recipe.photo.jitter and recipe.crop_padding are for classifiers, "
            f"not for detector.step={step}",
        )
        scale, size = photo.scale, self.data.image_size
        require(
            scale is None or scale[0] >= size,
            f"recipe.photo.scale={scale and list(scale)}: must be at least data.image_size={size}, "
            f"the size of the crop",
        )
        self._check_training_of_detector("imagenet_resnet")

    def _check_training_of_detector(self, *networks: str) -> None:
        require(
            isinstance(self.model, ModelConfig)
            and self.model.name in networks
            and self.model.activation == "original",
            f"model.name={self.model.name}: detector.step={self.detector.step} needs "
            f"imagenet_resnet with model.activation=original"
            + (", or vgg16" if len(networks) > 1 else ""),
        )
        require(
            self.compute.decode != "cuda",
            "compute.decode=cuda is for classifiers; set compute.decode=cpu",
        )
        require(
            self.recipe.plateau.window is None and self.recipe.warmup.until_train_error is None,
            "recipe.plateau and recipe.warmup.until_train_error need a classifier's training "
            "error; set recipe.lr_drops and recipe.warmup.iterations",
        )

    def with_compute(self, **changes: bool | int | None) -> "RunConfig":
        """Return these settings with some of `compute` changed."""
        return replace(self, compute=replace(self.compute, **changes))  # type: ignore[arg-type]

    def quick_test(self) -> EvaluationConfig:
        """Return the test for the error curve: see `EvaluationConfig.while_training`."""
        return self.evaluation.while_training(self.data.image_size)

    def training_proposals(self) -> EvaluationConfig:
        """Return how the proposals are made that R-CNN of localisation is trained on."""
        detector = self.detector
        return EvaluationConfig(
            protocol="multi_scale",
            sizes=list(detector.proposal_sizes),
            crop=self.data.image_size,
            num_proposals=detector.num_proposals,
        )

    @property
    def decodes_on_gpu(self) -> bool:
        """Whether the GPU decodes photographs; images held in memory are decoded before."""
        return self.data.is_streamed and self.compute.decode == "cuda"

    def identity(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return the settings that the weights depend on, flat: `{"model.depth": 20, ...}`.

        Args:
            defaults: Whether to include fields that have their default.
        """
        return dict(identity_fields(self, defaults))


SECTIONS = tuple(item.name for item in fields(RunConfig) if item.name != "seed")


def parse(config: DictConfig) -> RunConfig:
    """Check a composed configuration and return it as a `RunConfig`.

    Args:
        config: At least the sections of a run; others (the experiment's) are ignored.

    Raises:
        UserError: A value is missing, of the wrong type or out of range.
    """
    try:
        # Composed sections are typed by the schema, so OmegaConf creates their dataclasses.
        made = {name: OmegaConf.to_object(config[name]) for name in SECTIONS if name != "model"}
        return RunConfig(model=parse_model(config.model, config.data), **made)  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        raise UserError(locate(error)) from error
