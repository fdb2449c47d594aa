"""Values of settings that are swept: as they are typed, as a file lists them, as they are kept."""

import pytest

from resnet_repro.errors import UserError
from resnet_repro.settings.sweep import SweepConfig, grid_words, points, unite_sweeps, value_text

KINDS = {
    "recipe.bn_batch": [None, 8],
    "recipe.lr": [1.0, 0.1, 2],
    "recipe.lr_drops": [[2], [4, 5], []],
    "recipe.warmup": [{"lr": 0.01, "iterations": 2}, {"lr": None, "iterations": 2}],
    "recipe.flip": [True, False],
    "data.name": ["null", "a, b", "range(1,2)", "it's", "plain"],
}


@pytest.mark.parametrize("key", KINDS)
def test_the_words_that_are_kept_give_the_same_values_again(key):
    made = points(SweepConfig(vary={key: KINDS[key]}))
    assert [dict(point)[key] for point in made] == KINDS[key]
    (word,) = grid_words(made)
    assert unite_sweeps([word], [word]) == (word,)  # read, and written again
    (single,) = grid_words(made[:1])
    assert unite_sweeps([single], [single]) == (single,)


@pytest.mark.parametrize("typed", ["0.1,0.10", "1,1.0", "choice(1,1)", "1e-1,0.1", "100000,1e5"])
def test_a_number_is_the_same_value_however_it_is_written(typed):
    with pytest.raises(UserError, match="listed twice"):
        points(SweepConfig(grid=[f"recipe.lr={typed}"]))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("range(1,4,0)", "has a step of 0"),
        ("range(0.1,0.4,0)", "has a step of 0"),
        ("range(3,1)", "has no values"),
        ("range(1,200000)", "has more than 100,000 values"),
        ("range(1,3),7", "does not list its values"),
        ("glob(*)", "does not list its values"),
    ],
)
def test_what_lists_no_values_is_refused(typed, message):
    with pytest.raises(UserError, match=message):
        points(SweepConfig(grid=[f"recipe.lr={typed}"]))


def test_a_whole_float_is_written_as_one_types_it():
    assert [value_text(each) for each in (1.0, 1e5, -2.0, 0.1, 1e300, True)] == [
        "1", "100000", "-2", "0.1", "1e+300", "true",
    ]  # fmt: skip
