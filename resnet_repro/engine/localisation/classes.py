"""The classes that a classifier names for photographs, by its probabilities over several looks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from resnet_repro.data import Inputs
from resnet_repro.detection.localisation.judge import top_classes
from resnet_repro.detection.localisation.looks import Look
from resnet_repro.distributed.group import Group
from resnet_repro.engine.detection.restore import file_weights, restore_network
from resnet_repro.engine.evaluate import Classifier
from resnet_repro.engine.evaluate_imported import torchvision_inputs
from resnet_repro.engine.execution import (
    Execution,
    choose_execution,
    kept_precision,
    use_tf32,
)
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.published import describe_torchvision, from_torchvision
from resnet_repro.plan import Run
from resnet_repro.records.runs import run_folder

# Looks at a photograph -> its class probabilities, summed over them: (classes,).
Probabilities = Callable[[Sequence[Look]], Tensor]


def classifier_of(
    run: Run, results: Path, execution: Execution, group: Group
) -> Probabilities | None:
    """Return the classifier that a run of localisation starts from; None if it starts from nothing.

    Args:
        run: The run.
        results: The output root.
        execution: The way networks are computed.
        group: The processes that share the test.

    Raises:
        UserError: Its weights are not there, or its classes are others.
    """
    check_classes(run)
    first, precision = _classifier(run), run.config.recipe.precision
    if run.config.detector.weights is not None:
        weights = file_weights(run.config)
        model = build_model(describe_torchvision(weights))
        model.load_state_dict(from_torchvision(weights))
        model, inputs = execution.prepare(model), torchvision_inputs().to(execution.device)
    elif first:
        precision = first.config.recipe.precision  # not that of what is tested
        with kept_precision():
            execution = choose_execution(first.config, group)
            model, inputs = restore_network(first, run_folder(first, results), execution)
    else:
        return None
    return _probabilities(Classifier(model.eval(), execution), inputs, precision)


def classifier_id(run: Run) -> str | None:
    """Return an identifier of the classifier that a run starts from; None if there is none.

    It is the digest of a run of ours, or the SHA-256 of a file.
    """
    first = _classifier(run)
    return run.config.detector.weights_sha256 or (first.digest if first else None)


def check_classes(run: Run) -> None:
    """Check that the classifier that a run of localisation starts from has as many classes.

    Raises:
        UserError: It has not, or its file cannot be read.
    """
    first = _classifier(run)
    if run.config.detector.weights is not None:
        name = Path(run.config.detector.weights).name
        number = describe_torchvision(file_weights(run.config)).num_classes
    elif first:
        name, number = first.id, first.config.data.num_classes
    else:
        return
    if number != run.config.data.num_classes:
        raise UserError(
            f"{name} has {number} classes, {run.config.data.title} has "
            f"{run.config.data.num_classes}: take a classifier of the same classes"
        )


def _classifier(run: Run) -> Run | None:
    """Return the run of the classifier among those that a run needs."""
    return next((each for each in run.needs if not each.config.detector.is_used), None)


def _probabilities(classifier: Classifier, inputs: Inputs, precision: str) -> Probabilities:
    @torch.inference_mode()
    def of(looks: Sequence[Look]) -> Tensor:
        with kept_precision():
            use_tf32(precision)
            each = [classifier(inputs.normalise(look.pixels[None]))[0] for look in looks]
        return torch.stack(each).sum(dim=0)

    return of


def named(classifiers: Sequence[Probabilities], looks: Sequence[Look]) -> Tensor:
    """Return the five classes of highest mean probability, best first: (5,), on the CPU."""
    return top_classes(torch.stack([each(looks) for each in classifiers]).sum(dim=0)).cpu()
