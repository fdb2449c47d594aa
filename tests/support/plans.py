"""The plan of an experiment, as the command line makes it."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from resnet_repro.plan.expand import make_plan
from resnet_repro.settings import groups
from resnet_repro.settings.schema import Schema
from tests.support.configurations import pickled_once

_shipped: dict[tuple, bytes] = {}


def plan(experiment, *overrides):
    # Where results are is each test's own, and no other reason to compose or expand anew.
    roots = [word.partition("=")[2] for word in overrides if word.startswith("results=")]
    others = [word for word in overrides if not word.startswith("results=")]
    if others:
        made = _made(experiment, others)
    else:
        key = "plan", experiment, groups.CONF, os.environ.get("RESNET_REPRO_DATA")
        if key not in _shipped:
            _shipped[key] = pickled_once(key, lambda: _made(experiment, []))
        made = pickle.loads(_shipped[key])
    for root in roots:
        made = replace(made, results=Path(root))
    return made


def _made(experiment, words):
    ConfigStore.instance().store(name="schema", node=Schema)
    with initialize_config_dir(str(groups.CONF), version_base="1.3"):
        shipped = compose("config", [f"experiment={experiment}"])
        config = compose("config", [f"experiment={experiment}", *words]) if words else shipped
    config.name = experiment
    return make_plan(config, shipped, words)
