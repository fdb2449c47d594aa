"""What a resumed run restores: of its checkpoint, checked before use, and of its record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.data import Inputs
from resnet_repro.distributed.group import Group
from resnet_repro.engine.averages import restore_own, running_averages
from resnet_repro.engine.device import choose_device, free_threads
from resnet_repro.engine.optim import restore_optimizer
from resnet_repro.engine.schedule import Schedule
from resnet_repro.records import Record
from resnet_repro.settings.compute import ComputeConfig

KEYS = {"run", "model", "optimizer", "progress", "schedule", "inputs", "unreadable"}
OPTIONAL = {"own_averages"}  # only a run of several processes has them


@dataclass
class Progress:
    """The progress of a run: its state apart from weights, optimizer and schedule.

    Attributes:
        iteration: The number of iterations done.
        totals: (2,), the summed loss and the errors since the last `train` event, of this process's
            share of the images.
        num_images: The number of images since the last `train` event, in all processes.
        seconds: The time spent so far in all sessions.
        joules: The GPU's energy used so far; None if unknown.
    """

    iteration: int = 0
    totals: Tensor = field(default_factory=lambda: torch.zeros(2))
    num_images: int = 0
    seconds: float = 0.0
    joules: float | None = 0.0


def check_state(
    state: dict[str, Any], model: nn.Module, iterations: int, optimizer: SGD | None = None
) -> None:
    """Check that the content of a checkpoint fits a network and its recipe.

    Args:
        state: The checkpoint's content.
        model: The network.
        iterations: The recipe's number of iterations.
        optimizer: The network's optimizer; None if it is not restored.

    Raises:
        ValueError: The content does not fit; the message says why.
    """
    if state.keys() - OPTIONAL != KEYS:
        odd = (state.keys() - OPTIONAL) ^ KEYS
        raise ValueError(f"its entries are not this version's: {', '.join(map(str, odd))}")
    _check_tensors("weights", state["model"], model.state_dict())
    every = state.get("own_averages", [])
    if not isinstance(every, list):
        raise ValueError("its averages are not those of several processes")
    for own in every:
        _check_tensors("averages", own, running_averages(model))
    _check_fields("progress", state["progress"], Progress())
    _check_fields("schedule", state["schedule"], Schedule())
    if state["progress"]["iteration"] > iterations:
        raise ValueError(f"iteration is {state['progress']['iteration']}, of {iterations}")
    inputs = state["inputs"]
    if not isinstance(inputs, dict) or inputs.keys() != {each.name for each in fields(Inputs)}:
        raise ValueError("its statistics of the images are not this version's")
    if not isinstance(inputs["mean"], Tensor) or not all(
        each is None or isinstance(each, Tensor) for each in inputs.values()
    ):
        raise ValueError("its statistics of the images are not tensors")
    texts = state["unreadable"]
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError("its list of unreadable images is not a list of texts")
    if optimizer is not None:
        _check_momentum(state["optimizer"], optimizer)


def _check_momentum(saved: Any, optimizer: SGD) -> None:  # noqa: ANN401
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(states, dict):
        raise ValueError("it has no optimizer state")
    for number, own in states.items():
        if number not in range(len(weights)) or not isinstance(own, dict):
            raise ValueError("its optimizer state is that of other weights")
        momentum = own.get("momentum_buffer")
        if momentum is not None:
            _check_tensors("momentum", {number: momentum}, {number: weights[number]})


def _check_tensors(what: str, saved: Any, expected: Mapping[Any, Tensor]) -> None:  # noqa: ANN401
    if not isinstance(saved, dict) or saved.keys() != expected.keys():
        raise ValueError(f"its {what} are those of another network")
    for name, tensor in expected.items():
        other = saved[name]
        if not isinstance(other, Tensor) or other.is_sparse or other.is_quantized:
            raise ValueError(f"its {what} {name} are not a plain tensor")
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise ValueError(
                f"its {what} {name} are {other.dtype} {tuple(other.shape)}, the network's "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )


def _check_fields(what: str, saved: Any, like: Progress | Schedule) -> None:  # noqa: ANN401
    """Check that values have the names and types of a new object's; a number may be None."""
    expected = vars(like)
    if not isinstance(saved, dict) or saved.keys() != expected.keys():
        raise ValueError(f"its {what} is not this version's")
    for name, value in expected.items():
        found = saved[name]
        if isinstance(value, Tensor):
            right = isinstance(found, Tensor) and found.shape == value.shape
        elif type(value) is int:
            right = type(found) is int and found >= 0
        else:  # float, or None at first
            number = type(found) in (int, float) and math.isfinite(found) and found >= 0
            right = number or (found is None and name != "seconds")
        if not right:
            raise ValueError(f"its {what} has {name} = {found!r:.40}")


def resume(
    state: dict[str, Any] | None, model: nn.Module, optimizer: SGD, group: Group
) -> tuple[Progress, Schedule]:
    """Restore a checked checkpoint, or start from the beginning if there is none."""
    progress, schedule = Progress(), Schedule()
    if state:
        model.load_state_dict(state["model"])
        restore_own(model, state.get("own_averages", []), group)
        restore_optimizer(optimizer, state["optimizer"])
        progress, schedule = Progress(**state["progress"]), Schedule(**state["schedule"])
    device = next(model.parameters()).device
    progress.totals = progress.totals.to(device)
    schedule.errors = schedule.errors.to(device)
    if not group.is_main:  # the first process has the sums of all
        progress.totals.zero_()
        schedule.errors.zero_()
    return progress, schedule


def as_before(compute: ComputeConfig, record: Record, group: Group) -> ComputeConfig:
    """Return the settings with what they leave open as a resumed run had it, for the same bits.

    That is the number of threads, whether batch-norm groups are computed one after the other, and
    on a CPU the memory format. A run that starts on a CPU, or moves to it, takes the free cores.
    """
    on_cpu = choose_device(compute, group).type == "cpu"
    first = record.first_session(on_cpu)
    if first:
        words = str(first.get("execution", "")).split()
        threads, accumulate = compute.threads, compute.accumulate
        if not threads and first.get("processes", 1) == group.size:  # else they share the cores
            threads = first.get("threads")
        if accumulate is None and "accumulate" in words:
            accumulate = True
        last = compute.channels_last
        if last is None and words and on_cpu:
            last = "channels_last" in words
        return replace(compute, threads=threads, accumulate=accumulate, channels_last=last)
    if compute.threads or group.size > 1 or not on_cpu:
        return compute
    return replace(compute, threads=free_threads())
