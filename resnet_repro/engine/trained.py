"""A network that a run trained, for programs of your own."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from torch import nn

from resnet_repro.data import Inputs
from resnet_repro.engine import checkpoint
from resnet_repro.engine.restore import check_final
from resnet_repro.errors import UserError
from resnet_repro.models import MODELS, build_model
from resnet_repro.plugins.registry import load
from resnet_repro.settings.external_model import ExternalModelConfig, Model
from resnet_repro.settings.model import ModelConfig


def load_network(folder: Path | str, plugins: Sequence[str] = ()) -> tuple[nn.Module, Inputs]:
    """Return a trained classifier, and how pixels are made its inputs.

        model, inputs = load_network("results/runs/ResNet-20-seed0-261958b2")
        logits = model(inputs.normalise(pixels))

    Args:
        folder: A run's folder; an unfinished run has the weights that were saved last.
        plugins: Modules and files of networks, as `plugins=` of the command line has them, in place
            of those that were loaded before. An installed package with an entry point needs none.

    Returns:
        The network, to be tested, on the CPU: (N, 3, H, W) float32 -> logits (N, num_classes). And
        the normalisation of the training images: (N, 3, H, W) uint8 -> float32.

    Raises:
        UserError: It is no run's folder, has no weights, or is of a detector; or its network is not
            known, or has changed since.
        DamagedError: None of its checkpoints can be used, or they have other weights.
    """
    folder = Path(folder)
    settings = folder / "config.yaml"
    if not settings.is_file():
        raise UserError(f"{folder} is not the folder of a run: there is no {settings.name}")
    found = OmegaConf.to_container(OmegaConf.load(settings))
    assert isinstance(found, dict)
    if found["detector"]["step"] != "classification":
        raise UserError(f"{folder} is of a detector, not of a classifier")
    if plugins:
        load(plugins)
    given = found["model"]
    config: Model = (
        ModelConfig(**given) if given["name"] in MODELS else ExternalModelConfig(**given)
    )
    model = build_model(config)
    state = checkpoint.restore(folder.resolve(), folder.resolve().name, lambda _: None)
    if state is None:
        raise UserError(f"{folder} has no weights: copy last.pt back from where it was trained")
    check_final(state, folder)
    model.load_state_dict(state["model"])
    return model.eval(), Inputs(**state["inputs"])
