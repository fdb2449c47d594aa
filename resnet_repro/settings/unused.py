"""Settings that nothing of a run reads: each would make another run, with the same result."""

from typing import Any

from resnet_repro.errors import require
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import RecipeConfig

OF_DETECTORS = ("threshold", "nms", "most", "refine", "refine_per_class")


def refuse_unused(
    data: DataConfig, recipe: RecipeConfig, evaluation: EvaluationConfig, detector: DetectorConfig
) -> None:
    """Refuse settings without an effect, where they do not have their default.

    Raises:
        UserError: There is one; the message says what it is for.
    """
    photo, plateau = recipe.photo, recipe.plateau
    if plateau.window is None:
        only = "needs recipe.plateau.window"
        _refuse("recipe.plateau", plateau, ("patience", "min_gain", "max_drops"), only)
    if photo.area is None:
        _refuse("recipe.photo", photo, ("aspect",), "needs recipe.photo.area")
    if not data.is_streamed or (detector.is_used and photo.scale is None):
        only = "is for the photographs of classifiers"
        _refuse("recipe.photo", photo, ("interpolation",), only)
    if not detector.is_used:
        names = tuple(name for name in vars(detector) if name != "step")
        only = "is for detectors, and detector.step=classification trains none"
        _refuse("detector", detector, names, only)
    else:
        require(
            recipe.input == RecipeConfig.input,
            f"recipe.input={recipe.input}: is for classifiers: a detector has the normalisation of "
            f"the one that it starts from",
        )
    if evaluation.protocol == "boxes":
        only = "is for crops: detectors are tested on whole photographs, resized bilinearly"
        _refuse("evaluation", evaluation, ("crop", "interpolation"), only)
    else:
        only = "is for tests of detectors"
        _refuse("evaluation", evaluation, OF_DETECTORS, only)
    if evaluation.protocol != "boxes" and detector.step != "localisation_regions":
        only = "is for tests of detectors, and of localisation_regions"
        _refuse("evaluation", evaluation, ("num_proposals",), only)
    if evaluation.protocol == "single_view":
        only = "is for photographs, and evaluation.protocol=single_view for images held in memory"
        _refuse("evaluation", evaluation, ("sizes", "crop", "interpolation"), only)


def _refuse(prefix: str, section: Any, names: tuple[str, ...], only: str) -> None:  # noqa: ANN401
    usual = type(section)()
    for name in names:
        value = getattr(section, name)
        require(value == getattr(usual, name), f"{prefix}.{name}={value}: {only}")
