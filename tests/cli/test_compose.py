"""Experiments are put together as Hydra does."""

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from resnet_repro.cli import shipped
from resnet_repro.cli.line import expand
from resnet_repro.cli.verbs import VERBS
from resnet_repro.settings.groups import CONF
from resnet_repro.settings.schema import Schema


def test_experiments_are_put_together_as_hydra_does(monkeypatch):
    ConfigStore.instance().store(name="schema", node=Schema)
    names = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        right = {name: compose("config", [f"experiment={name}"]) for name in names[::4]}
        by_hydra = []
        monkeypatch.setattr(shipped, "compose", lambda *w: by_hydra.append(w) or compose(*w))
        for name in names:
            made = shipped.compose_shipped(name)
            if name in right:
                assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(right[name])
    assert len(by_hydra) == 1  # the base; no experiment needs Hydra by itself


def test_hydras_own_flags_get_no_verb():
    """It would be read as a setting that Hydra has not, or as what --info is to show."""
    assert expand(["--hydra-help"], VERBS) == [["--hydra-help"]]
    assert expand(["--info"], VERBS) == [["--info=all"]]
    assert expand([], VERBS) == [["mode=list"]]
