"""The size of what a run trains: a classifier, or a detector (which imports torchvision)."""

from collections.abc import Iterable

from resnet_repro.models import complexity
from resnet_repro.models.complexity import Complexity
from resnet_repro.settings.run import RunConfig


def measure(config: RunConfig) -> Complexity:
    """Return the size of a run's network; see `models.complexity` and `detection.complexity`."""
    if config.detector.localises:
        from resnet_repro.detection.localisation.complexity import measure_localiser

        return measure_localiser(config)
    if config.detector.is_used:
        from resnet_repro.detection.complexity import measure_detector

        return measure_detector(config)
    return complexity.measure(config)


def training_bytes(config: RunConfig) -> int:
    """Return the memory that training needs, in bytes, without computing the network."""
    if config.detector.localises:
        from resnet_repro.detection.localisation.complexity import localiser_training_bytes

        return localiser_training_bytes(config)
    if config.detector.is_used:
        from resnet_repro.detection.complexity import detector_training_bytes

        return detector_training_bytes(config)
    return complexity.training_bytes(config)


def about_detectors(configs: Iterable[RunConfig | None]) -> str:
    """Return what the sizes of detectors are; empty if there is none among some runs' settings."""
    detectors = [
        each for each in configs if each and each.detector.is_used and not each.detector.localises
    ]
    if not detectors:
        return ""
    from resnet_repro.detection.complexity import usual_size

    sizes = dict.fromkeys(usual_size(each) for each in detectors)
    pixels = " or ".join(f"{height} x {width}" for height, width in sizes)
    return (
        f"Multiply-adds of a detector: those of what it trains, for a photograph of {pixels} "
        f"pixels, with as many regions as are sampled."
    )
