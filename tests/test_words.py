"""The words of a command line, as people type them, and what each is answered with."""

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from resnet_repro import shipped
from resnet_repro.command import CONF
from resnet_repro.experiment import Schema


def test_experiments_are_put_together_as_hydra_does(monkeypatch):
    ConfigStore.instance().store(name="schema", node=Schema)
    names = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        right = {name: compose("config", [f"experiment={name}"]) for name in names[::4]}
        asked = []
        monkeypatch.setattr(
            shipped, "compose", lambda *words: asked.append(words) or compose(*words)
        )
        for name in names:
            made = shipped.compose_shipped(name)
            if name in right:
                assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(right[name])
    assert len(asked) == 1  # the base; no experiment needs Hydra by itself
