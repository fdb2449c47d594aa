"""Claims of a paper: judged on our runs."""

import numpy as np
import pytest

from resnet_repro.errors import UserError
from resnet_repro.judge.claims import Runs, judge_claim
from resnet_repro.judge.statistics import Spread, pool
from resnet_repro.settings.experiment import ClaimConfig
from tests.support.results import SIGMA

FALLING = ClaimConfig(text="deeper is better", falling=["20", "56", "110"])


def runs(**values):
    return {
        name.removeprefix("n"): Runs(tuple(each), 0, "CIFAR-10") for name, each in values.items()
    }


def claim_word(claim, spread=None, **values):
    return judge_claim(claim, runs(**values), {"CIFAR-10": spread}, 0.5).word


def test_an_order_holds_fails_or_is_open():
    deep, deeper, deepest = [8.7, 8.8, 8.6], [7.0, 6.9, 7.1], [6.4, 6.5, 6.6]
    spread = pool([deep, deeper, deepest])
    assert claim_word(FALLING, spread, n20=deep, n56=deeper, n110=deepest) == "holds"
    assert claim_word(FALLING, spread, n20=deepest, n56=deeper, n110=deep) == "fails"
    assert claim_word(FALLING, spread, n20=deep, n56=deep, n110=deepest) == "undecided"
    assert claim_word(FALLING, spread, n20=deep, n56=deeper, n110=[]) == "undecided"
    assert claim_word(FALLING, None, n20=[9.0], n56=[7.0], n110=[5.0]) == "undecided"


def test_equality_takes_evidence_too():
    claim = ClaimConfig(text="trains as well", equal=["1202", "110"])
    assert claim_word(claim, None, n1202=[0.1, 0.2, 0.1], n110=[0.2, 0.1, 0.1]) == "holds"
    assert claim_word(claim, None, n1202=[0.0, 2.0], n110=[2.0, 0.1]) == "undecided"
    assert claim_word(claim, None, n1202=[9.1, 9.2, 9.1], n110=[0.2, 0.1, 0.1]) == "fails"


def test_a_row_that_fails_is_worse_than_any_number():
    claim = ClaimConfig(text="identity is best", lowest="identity")
    failed = {"identity": Runs((6.6, 6.5), 0, "a"), "gate": Runs((), 5, "a")}
    assert judge_claim(claim, failed, {"a": None}, 0.5).word == "holds"
    failed["gate"] = Runs((7.0,), 4, "a")
    assert judge_claim(claim, failed, {"a": None}, 0.5).word == "undecided"
    failed = {"identity": Runs((), 2, "a"), "gate": Runs((7.0, 7.1), 0, "a")}
    assert judge_claim(claim, failed, {"a": None}, 0.5).word == "fails"


def test_the_lowest_is_compared_on_the_same_images_only():
    claim = ClaimConfig(text="best", lowest="a")
    known = {name: Runs((1.0, 1.1), 0, data) for name, data in zip("abc", "xxy", strict=True)}
    found = judge_claim(claim, known, {"x": Spread(0.1, 2), "y": None}, 0.5)
    assert [(each.higher, each.lower) for each in found.evidence] == [("b", "a")]


def test_without_a_difference_a_claim_seldom_falls():
    """Three rows alike: `holds` and `fails` are both wrong, and both rare."""
    random = np.random.default_rng(1)
    words = []
    for _ in range(800):
        values = {f"n{name}": list(random.normal(7, SIGMA, 5)) for name in (20, 56, 110)}
        words.append(claim_word(FALLING, pool(values.values()), **values))
    assert words.count("holds") / len(words) < 0.01
    assert words.count("fails") / len(words) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"falling": ["a"]},
        {"lowest": "a", "falling": ["a", "b"]},
        {"equal": ["a", "b"], "others": ["c"]},
        {"falling": ["a", "b"], "measure": "speed"},
    ],
)
def test_a_claim_that_says_nothing_is_refused(wrong):
    with pytest.raises(UserError, match="claim 'x'"):
        ClaimConfig(text="x", **wrong)
