"""The networks next to what the paper prints of them."""

import pytest

from resnet_repro.cost.check_counts import agrees


@pytest.mark.parametrize(
    ("count", "printed", "agree"),
    [
        (269_722, 0.27e6, True),
        (1_727_962, 1.7e6, True),
        (19_421_274, 19.4e6, True),
        (3_857_973_248, 3.8e9, True),  # cut off, not rounded
        (285_000, 0.27e6, False),
        (4_089_184_256, 3.8e9, False),
    ],
)
def test_counts_agree_to_the_digits_printed(count, printed, agree):
    assert agrees(count, printed) is agree
