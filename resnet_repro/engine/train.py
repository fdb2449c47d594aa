"""One run, from its first iteration to its last: read `train` from top to bottom."""

import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.config import ComputeConfig
from resnet_repro.data import load_data
from resnet_repro.data.images import BatchOrder, crop_and_flip, normalise, per_pixel_mean
from resnet_repro.engine import checkpoint, environment
from resnet_repro.engine.device import choose_device, choose_precision
from resnet_repro.engine.evaluate import count_errors
from resnet_repro.engine.log import Log, log_file
from resnet_repro.engine.optim import build_optimizer, learning_rate, set_learning_rate
from resnet_repro.engine.signals import stop_signals
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.records import Record, write_atomically

logger = logging.getLogger("resnet_repro")

# [He15] Sec. 4.2 ends ResNet-110's warm-up when "the training error is below 80% (about 400
# iterations)", and does not say over which images; here, over the last 100 mini-batches.
WARMUP_WINDOW = 100


class StoppedRun(KeyboardInterrupt):
    """The user or the machine's owner asked the run to stop; it is saved. No error."""


@dataclass
class Progress:
    """What a resumed run must know beside the weights and the optimizer's state.

    Attributes:
        iteration: Number of iterations done.
        warmup_end: The first iteration after the warm-up, once it is known.
        totals: Summed loss and number of errors over the `num_images` since the last `train` event.
        num_images: See `totals`.
        warmup_errors: Errors since the last look at whether the warm-up ends.
        seconds: Spent so far, all sessions together.
    """

    iteration: int
    warmup_end: int | None
    totals: Tensor
    num_images: int
    warmup_errors: Tensor
    seconds: float


def train(run: Run, folder: Path) -> None:
    """Train one network and record what happens; go on where it was left; return if it is done.

    Args:
        run: What to train.
        folder: Of the run; all that it writes goes there.

    Raises:
        UserError: The settings, the data or the device do not allow it.
        StoppedRun: SIGINT or SIGTERM came; the run is saved.
        records.LockedError: Another process trains it.
    """
    config, recipe = run.config, run.config.recipe
    record, name = Record(folder), f"{run.row} seed {run.seed}"
    with record.locked(), log_file(folder / "run.log"), stop_signals() as stop:
        if record.state() == "finished":
            return

        # Device and data. The data stays on the device, as uint8.
        device = choose_device(_as_begun(config.compute, record))
        autocast = choose_precision(recipe.precision, device)
        data = load_data(config.data)
        _stop_if(stop.is_set, f"{name}: stopped before it began")
        _begin_session(record, run, environment.describe(device, data))
        train_images, test_images = data.train.to(device), data.test.to(device)
        mean = per_pixel_mean(train_images)
        order = BatchOrder(
            len(train_images),
            recipe.batch_size,
            padding=recipe.crop_padding,
            flip=recipe.flip,
            seed=run.seed,
            device=device,
        )

        # Network and optimizer. Weights are drawn on the CPU: the same ones for every device.
        torch.manual_seed(run.seed)
        model = build_model(config.model).to(device).train()
        optimizer = build_optimizer(model, recipe)
        progress = _resume(folder, record, model, optimizer, device)
        diverged, saved = _why_diverged(progress), progress.seconds
        counts: dict[str, int] = {}

        def test() -> dict[str, int]:
            return count_errors(model, test_images, mean, config.evaluation.batch_size, autocast)

        # Iterations: the papers count them, so we do.
        with Log(run, record, progress.iteration, progress.seconds) as log:
            while progress.iteration < recipe.iterations and not diverged:
                lr = learning_rate(progress.iteration, recipe, progress.warmup_end)
                set_learning_rate(optimizer, lr)
                indices, views = order[progress.iteration]
                images = normalise(train_images.pixels[indices], mean)
                images = crop_and_flip(images, views, recipe.crop_padding)
                labels = train_images.labels[indices]
                totals = train_iteration(
                    model, optimizer, images, labels, recipe.bn_batch or len(labels), autocast
                )
                progress.iteration += 1
                progress.num_images += len(labels)
                progress.totals += totals
                _end_warmup(progress, run, record, totals[1])
                log.step(len(labels))

                if _is_due(progress.iteration, config.compute.log_every, recipe.iterations):
                    loss, num_errors = progress.totals.tolist()  # waits for the device
                    diverged = _why_diverged(progress)
                    if diverged:
                        break
                    log.train(progress.iteration, loss, int(num_errors), progress.num_images, lr)
                    progress.totals.zero_()
                    progress.num_images = 0
                if _is_due(progress.iteration, config.evaluation.every, recipe.iterations):
                    with log.testing():
                        counts = test()
                    log.test(progress.iteration, counts)

                progress.seconds = log.seconds()
                stopping = stop.is_set and progress.iteration < recipe.iterations
                if stopping or progress.seconds - saved >= 60 * config.compute.save_minutes:
                    _save(folder, model, optimizer, progress)
                    saved = progress.seconds
                at = f"iteration {progress.iteration} of {recipe.iterations}"
                _stop_if(stopping, f"{name}: saved at {at}; the same line goes on from there")

        # The end: weights kept, result recorded.
        _save(folder, model, optimizer, progress)
        (folder / checkpoint.PREVIOUS).unlink(missing_ok=True)
        end = {"seconds": round(progress.seconds, 1), "weights": checkpoint.weights_hash(model)}
        if diverged:
            record.append("diverged", progress.iteration, reason=diverged, **end)
            logger.warning("%s diverged: %s", name, diverged)
        else:
            # A run that was killed just before this line has its last test behind it.
            record.append("finished", progress.iteration, **(counts or test()), **end)
        _stop_if(stop.is_set, f"{name} is finished; stopped before the next run")


def train_iteration(
    model: nn.Module,
    optimizer: SGD,
    images: Tensor,
    labels: Tensor,
    bn_batch: int,
    autocast: torch.autocast,
) -> Tensor:
    """Take one step of SGD on the mean loss of a mini-batch.

    Args:
        model: In training mode.
        optimizer: Of its weights.
        images: (B, C, H, W), as the network is shown them.
        labels: (B,).
        bn_batch: Images that share batch-norm statistics; the gradients of the groups add up to
            that of the whole mini-batch, as on GPUs that each hold one group.
        autocast: The precision the network is computed in.

    Returns:
        (2,), on the device: the summed loss and the number of errors, before the step.
    """
    optimizer.zero_grad(set_to_none=True)
    totals = torch.zeros(2, device=images.device)
    for group, targets in zip(
        torch.split(images, bn_batch), torch.split(labels, bn_batch), strict=True
    ):
        with autocast:
            logits = model(group)
        loss = F.cross_entropy(logits.float(), targets, reduction="sum")
        (loss / len(labels)).backward()  # type: ignore[no-untyped-call]
        totals[0] += loss.detach()
        totals[1] += (logits.argmax(dim=1) != targets).sum()
    optimizer.step()
    return totals


def _stop_if(condition: bool, message: str) -> None:
    if condition:
        raise StoppedRun(message)


def _why_diverged(progress: Progress) -> str | None:
    """Return why training cannot go on; also of a run that was killed before it could say so."""
    loss = progress.totals[0].item()
    if math.isfinite(loss):
        return None
    return f"the loss became {loss} by iteration {progress.iteration}"


def _is_due(iteration: int, every: int, last: int) -> bool:
    return iteration % every == 0 or iteration == last


def _as_begun(compute: ComputeConfig, record: Record) -> ComputeConfig:
    """Return the settings with as many threads as the run began with: sums come out the same."""
    before = record.environment()
    if not before or compute.threads is not None:
        return compute
    return replace(compute, threads=before[0]["threads"])


def _begin_session(record: Record, run: Run, session: dict[str, Any]) -> None:
    before = record.environment()
    if before and before[0]["data"] != session["data"]:
        raise UserError(
            f"{record.folder} was begun on other data (checksum {before[0]['data']}, now "
            f"{session['data']}): bring that data back, or delete the folder to begin anew"
        )
    for what in ("torch", "device", "threads"):
        if before and before[0][what] != session[what]:
            logger.warning(
                "%s was begun with %s %s and goes on with %s: it will not end with the same bits",
                record.folder.name,
                what,
                before[0][what],
                session[what],
            )
    record.add_session(session)
    write_atomically(record.folder / "config.yaml", OmegaConf.to_yaml(asdict(run.config)))


def _resume(
    folder: Path, record: Record, model: nn.Module, optimizer: SGD, device: torch.device
) -> Progress:
    """Return to the last checkpoint, or begin; the record returns with it."""
    zeros = {
        "totals": torch.zeros(2, device=device),
        "warmup_errors": torch.zeros((), device=device),
    }
    progress = Progress(iteration=0, warmup_end=None, num_images=0, seconds=0.0, **zeros)
    state = checkpoint.restore(folder)
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(**state["progress"])
        progress.totals = progress.totals.to(device)
        progress.warmup_errors = progress.warmup_errors.to(device)
        logger.info("%s: going on from iteration %d", folder.name, progress.iteration)
    record.rewind(progress.iteration)
    return progress


def _save(folder: Path, model: nn.Module, optimizer: SGD, progress: Progress) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }
    checkpoint.save(folder, state)


def _end_warmup(progress: Progress, run: Run, record: Record, num_errors: Tensor) -> None:
    """End a warm-up that lasts until a training error is reached, when it is."""
    warmup = run.config.recipe.warmup
    if warmup.lr is None or warmup.until_train_error is None or progress.warmup_end is not None:
        return
    progress.warmup_errors += num_errors
    if progress.iteration % WARMUP_WINDOW == 0:
        num_images = WARMUP_WINDOW * run.config.recipe.batch_size
        error = 100 * progress.warmup_errors.item() / num_images
        progress.warmup_errors.zero_()
        if error < warmup.until_train_error:
            progress.warmup_end = progress.iteration
            record.append("warmup_end", progress.iteration, train_error=error)
