"""When the learning rate changes."""

import pytest
import torch

from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine import schedule
from resnet_repro.engine.optim import learning_rate
from resnet_repro.settings.recipe import PlateauConfig, RecipeConfig, WarmupConfig
from tests.support.training import RECIPE


@pytest.mark.parametrize(
    ("iteration", "lr"),
    [(0, 0.1), (31999, 0.1), (32000, 0.01), (47999, 0.01), (48000, 0.001), (63999, 0.001)],
)
def test_the_learning_rate_drops_where_the_paper_says(iteration, lr):
    assert learning_rate(iteration, RECIPE, None) == pytest.approx(lr)


def test_the_warmup_lasts_until_its_end_is_known():
    until_error = RecipeConfig(
        **{**vars(RECIPE), "warmup": WarmupConfig(lr=0.01, until_train_error=80)}
    )
    assert learning_rate(5000, until_error, None) == 0.01
    assert learning_rate(399, until_error, 400) == 0.01
    assert learning_rate(400, until_error, 400) == 0.1
    assert learning_rate(48000, until_error, 400) == pytest.approx(0.001)
    fixed = RecipeConfig(**{**vars(RECIPE), "warmup": WarmupConfig(lr=0.01, iterations=400)})
    assert [learning_rate(i, fixed, None) for i in (399, 400)] == [0.01, 0.1]


def test_the_learning_rate_drops_when_the_training_error_no_longer_falls():
    """Windows of 10 iterations of 100 images; two without a gain of a point make a plateau."""
    plateau = PlateauConfig(window=10, patience=2, min_gain=1.0, max_drops=2)
    recipe = RecipeConfig(iterations=1, batch_size=100, lr=0.1, plateau=plateau)
    windows = [90, 80, 79.5, 79.2, 70, 69.5, 69.4, 69.3, 69.2, 69.1]
    state, rates, events = schedule.Schedule(), [], []
    for number, error in enumerate(windows):
        for iteration in range(10 * number + 1, 10 * number + 11):
            event = state.observe(iteration, recipe, torch.tensor(error), SINGLE_PROCESS)
            if event:
                events.append((iteration, *event))
        rates.append(round(state.learning_rate(10 * number + 10, recipe), 6))
    # 79.5 and 79.2 are no point below 80; 69.5 and 69.4 none below 70; then no more drops.
    assert rates == [0.1] * 3 + [0.01] * 3 + [0.001] * 4
    assert [(at, name, values["number"]) for at, name, values in events] == [
        (40, "plateau", 1),
        (70, "plateau", 2),
    ]
    assert events[0][2]["train_error"] == pytest.approx(79.2)
