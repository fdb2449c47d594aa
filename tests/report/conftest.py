"""What tests of reports share: records that are mine or published."""

import pytest

from resnet_repro.records.results import write_records
from tests.support.paths import ROOTS
from tests.support.plans import plan
from tests.support.results import results_of


@pytest.fixture
def write(tmp_path):
    """Write records of cifar_depth, mine or published."""

    def call(whose, *words, **errors):
        made = plan("cifar_depth", f"results={tmp_path / ROOTS[whose]}", *words)
        return write_records(made, results_of(made, **errors))

    return call
