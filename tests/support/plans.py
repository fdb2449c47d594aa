"""The plan of an experiment, as the command line makes it."""

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from resnet_repro.plan.expand import make_plan
from resnet_repro.settings import groups
from resnet_repro.settings.schema import Schema


def plan(experiment, *overrides):
    ConfigStore.instance().store(name="schema", node=Schema)
    with initialize_config_dir(str(groups.CONF), version_base="1.3"):
        shipped = compose("config", [f"experiment={experiment}"])
        # Where results are is each test's own, and no other reason to compose anew.
        roots = [word.partition("=")[2] for word in overrides if word.startswith("results=")]
        others = [word for word in overrides if not word.startswith("results=")]
        config = compose("config", [f"experiment={experiment}", *others])
    config.name = experiment
    for root in roots:
        config.results = root
    return make_plan(config, shipped, overrides)
