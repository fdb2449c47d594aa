"""The experiments of the papers, and their plans."""

from functools import lru_cache

from resnet_repro.settings.groups import CONF
from tests.support.plans import plan as compose

plan = lru_cache(compose)  # it takes a second for the larger tables
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
