"""Testing finished networks by other protocols than while they were trained, alone or together."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_repro.distributed.group import SINGLE_PROCESS, Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.classification import count_errors
from resnet_repro.engine.evaluate import Classifier, decoded_by, predict, reestimated
from resnet_repro.engine.responses import layer_responses
from resnet_repro.engine.restore import restore_classifier
from resnet_repro.engine.signals import stop_signals
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from resnet_repro.records.headline import in_words
from resnet_repro.settings.evaluation import EvaluationConfig

logger = logging.getLogger("resnet_repro")


def finish(run: Run, folder: Path, group: Group = SINGLE_PROCESS, stop: Flag | None = None) -> None:
    """Do what a trained run lacks: its protocol's test, its responses; nothing if it diverged.

    Arguments and errors are those of `evaluate_run` and `measure_responses`.
    """
    if not group.broadcast(group.is_main and Record(folder).events()[-1]["event"] == "finished"):
        return
    with stop_signals(stop or group.stop) as stopping:
        evaluate_run(run, folder, group, stopping)
        if not run.config.evaluation.responses:
            return
        stopped = None
        if group.is_main:
            try:
                measure_responses(run, folder, stopping)
            except StoppedRun as error:
                stopped = str(error)
        if (stopped := group.broadcast(stopped)) is not None:  # all stop, or none
            raise StoppedRun(stopped)


def evaluate_run(
    run: Run, folder: Path, group: Group = SINGLE_PROCESS, stop: Flag | None = None
) -> None:
    """Test a finished run by its protocol, and record it; return if that was done before.

    Args:
        run: The run.
        folder: Its folder.
        group: The processes that share the test.
        stop: What the user's signals set; None where they are raised.

    Raises:
        UserError: The weights are not there, or data or device do not allow it.
    """
    evaluation = run.config.evaluation
    record = Record(folder, writes=group.is_main)
    if group.broadcast(evaluation.key in record.evaluations()):
        return
    counts, weights = _test(run, folder, group, stop)
    record.add_evaluation(evaluation.key, **counts, weights=weights)
    if group.is_main:
        logger.info("%s seed %d, %s: %s", run.row, run.seed, evaluation.key, in_words(counts))


def _test(run: Run, folder: Path, group: Group, stop: Flag | None) -> tuple[dict[str, Any], str]:
    if run.config.detector.is_used:
        from resnet_repro.engine.evaluate_task import evaluate  # imports torchvision

        return evaluate(run, folder, group, stop)
    scores, labels, weights = _scores(run, folder, run.config.evaluation, group, stop)
    return count_errors(scores, labels, group) | decoded_by(run.config), weights


def evaluate_ensemble(
    ensemble: Ensemble, folder: Path, folders: list[Path], group: Group = SINGLE_PROCESS
) -> None:
    """Test the mean of several finished networks' class probabilities, and record it.

    Args:
        ensemble: Its members, and the protocol.
        folder: Where it is recorded.
        folders: The members' folders.
        group: The processes that share the test.

    Raises:
        UserError: The weights of a member are not there.
    """
    record, key = Record(folder, writes=group.is_main), ensemble.evaluation.key
    if group.broadcast(_is_of(record.evaluations().get(key), folders)):
        return
    with stop_signals(group.stop) as stop:
        counts, hashes = _test_together(ensemble, folder, folders, group, stop)
    if group.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        logger.info("%s, %s: %s", ensemble.row, key, in_words(counts))
    members = [run.id for run in ensemble.needs]
    record.add_evaluation(key, **counts, members=members, weights=hashes)


def _is_of(test: dict[str, Any] | None, folders: list[Path]) -> bool:
    """Return whether an ensemble was tested, and its members still have the same weights."""
    if test is None or "weights" not in test:  # another machine's may lack them
        return False
    ended = [Record(folder).events()[-1].get("weights") for folder in folders]
    return all(one in (None, other) for one, other in zip(ended, test["weights"], strict=False))


def _test_together(
    ensemble: Ensemble, folder: Path, folders: list[Path], group: Group, stop: Flag
) -> tuple[dict[str, Any], list[str]]:
    config = ensemble.needs[0].config
    if config.detector.localises:
        from resnet_repro.engine.localisation.evaluate import evaluate_localisers  # torchvision

        return evaluate_localisers(ensemble, folders, group, stop)
    if config.detector.is_used:
        from resnet_repro.engine.detection.evaluate import evaluate_detectors  # torchvision

        return evaluate_detectors(ensemble, folder, folders, group, stop)
    total, labels, hashes = None, torch.empty(0), []
    for run, member in zip(ensemble.needs, folders, strict=True):
        scores, labels, weights = _scores(run, member, ensemble.evaluation, group, stop)
        total = scores if total is None else total + scores
        hashes.append(weights)
    assert total is not None, "an ensemble has members"
    return count_errors(total, labels, group) | decoded_by(config), hashes


def measure_responses(run: Run, folder: Path, stop: Flag | None = None) -> None:
    """Measure how strongly the 3x3 layers of a finished run respond, and record it ([He15] Fig. 7).

    The standard deviation of the layer's outputs after batch norm, before ReLU and addition, over
    the test images, batch norm with its averages. Return if that was done before.

    Raises:
        UserError: The weights are not there, or no layer of the network is followed by batch norm.
    """
    record = Record(folder)
    if "responses" in record.evaluations():
        return
    model, execution, feed = restore_classifier(run, folder, SINGLE_PROCESS)
    with layer_responses(model) as responses:
        predict(Classifier(model, execution), feed, run.config.evaluation, stop)
    stds = [response.std() for response in responses]
    if not stds:
        raise UserError(f"{run.row}: no 3x3 layer with batch norm behind it, as in [He15] Fig. 7")
    record.add_evaluation("responses", std=stds, weights=checkpoint.weights_hash(model))
    logger.info("%s seed %d: responses of %d layers", run.row, run.seed, len(stds))


def _scores(
    run: Run,
    folder: Path,
    evaluation: EvaluationConfig,
    group: Group,
    stop: Flag | None = None,
) -> tuple[Tensor, Tensor, str]:
    """Return a finished network's scores, the labels, and the hash of its weights."""
    model, execution, feed = restore_classifier(run, folder, group)
    recipe = run.config.recipe
    with ExitStack() as stack:
        if evaluation.batch_norm == "reestimated":
            last = -(-evaluation.batch_norm_images // recipe.batch_size)
            batches = stack.enter_context(closing(feed.train(0, last)))
            stop = stop or group.stop
            stack.enter_context(
                reestimated(model, batches, recipe.bn_batch, execution, group, stop)
            )
        scores = predict(Classifier(model, execution), feed, evaluation, stop or group.stop, group)
    return scores, feed.test_labels, checkpoint.weights_hash(model)
