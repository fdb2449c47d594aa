"""Networks of plugins and libraries: building them, and checking that they return logits."""

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_repro.errors import UserError, shortage
from resnet_repro.plugins.code import in_line
from resnet_repro.plugins.registry import find
from resnet_repro.settings.external_model import ExternalModelConfig, typed_settings

NUM_IMAGES = 2  # size of the batch with which a network is checked and measured


class Traits(NamedTuple):
    """What a training must know of a network.

    Attributes:
        draws_numbers: Whether it draws random numbers in training.
        has_batch_norm: Whether images of a mini-batch share statistics in it.
    """

    draws_numbers: bool
    has_batch_norm: bool


_traits: dict[str, Traits] = {}  # by the network's settings


def build_external(config: ExternalModelConfig) -> nn.Module:
    """Build a network of a plugin's or a library's, with newly initialised weights.

    Raises:
        UserError: The network's code fails, returns no network, or changed after the run's id was
            made.
    """
    network, name = find(config.name), config.name
    if network.source != config.source:
        raise UserError(
            f"{network.plugin} changed while this command ran: run the same command again, for a "
            f"changed network is another run"
        )
    settings = typed_settings(network, config.settings)
    try:
        model = network.build(settings, config.num_classes, config.image_size)
    except Exception as error:
        raise _told(error, f"model {name} cannot be built") from error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model {name}: its builder returns {type(model).__name__}, not an nn.Module"
        )
    if next(model.parameters(), None) is None:
        raise UserError(f"model {name} has no parameters to train")
    return model


def apply_own(model: nn.Module, config: ExternalModelConfig, images: Tensor) -> None:
    """Apply a network to images (N, 3, H, W), to see that it gives logits (N, num_classes).

    Raises:
        UserError: It fails, or gives something else.
    """
    try:
        output = model(images)
    except Exception as error:
        what = f"model {config.name} fails on images of shape {tuple(images.shape)}"
        raise _told(error, what) from error
    expected = (len(images), config.num_classes)
    given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if given != expected:
        raise UserError(
            f"model {config.name} returns {given} for {len(images)} images; expected {expected}"
        )


def check_external(config: ExternalModelConfig) -> Traits:
    """Check that a network can be trained; return what the training must know of it.

    It is built once more on the CPU, and applied to two images; the generators, torch's, Python's
    and NumPy's, stay as they were.

    Raises:
        UserError: It cannot be built or applied, or gives no logits.
    """
    key = repr(config)
    if key not in _traits:
        with torch.random.fork_rng(devices=[]), _other_generators_kept():
            model = build_external(config).train()
            before = _generators()
            with torch.no_grad():
                apply_own(model, config, image_batch(config))
            draws = before != _generators()
        norms = any(isinstance(module, _BatchNorm) for module in model.modules())
        _traits[key] = Traits(draws, norms)
    return _traits[key]


def _generators() -> bytes:
    """Return the states of all generators that a network can draw from."""
    of_torch = torch.get_rng_state().numpy().tobytes()
    return pickle.dumps((of_torch, random.getstate(), np.random.get_state()))


@contextmanager
def _other_generators_kept() -> Iterator[None]:
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def image_batch(config: ExternalModelConfig) -> Tensor:
    """Return `NUM_IMAGES` images (N, 3, H, W), of the size that the network is built for."""
    return torch.zeros(NUM_IMAGES, 3, config.image_size, config.image_size)


def _told(error: Exception, what: str) -> Exception:
    if isinstance(error, UserError) or shortage(error):
        return error
    return UserError(f"{what}: {in_line(error)}")
