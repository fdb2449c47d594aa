"""What tests of reports share: records that are mine or published."""

import pytest

from tests.support.paths import ROOTS
from tests.support.results import write_table


@pytest.fixture
def write(tmp_path):
    """Write records of cifar_depth, mine or published."""

    def call(whose, *words, **errors):
        return write_table(tmp_path / ROOTS[whose], "cifar_depth", *words, **errors)

    return call
