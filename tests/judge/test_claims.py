"""Claims of a paper: judged on our runs."""

import numpy as np
import pytest

from resnet_repro.errors import UserError
from resnet_repro.judge.claims import Runs, judge_claim
from resnet_repro.judge.spread import Spread, TableSpread, pool
from resnet_repro.judge.statistics import gain
from resnet_repro.settings.experiment import ClaimConfig, GainConfig
from tests.support.results import SIGMA

FALLING = ClaimConfig(text="deeper is better", falling=["20", "56", "110"])


def of(values, num_failed, data):
    """Return the values of a row, of runs that no other row has."""
    return Runs({f"{values} {n}": value for n, value in enumerate(values)}, num_failed, data)


def runs(**values):
    return {name.removeprefix("n"): of(tuple(each), 0, "CIFAR-10") for name, each in values.items()}


def claim_word(claim, spread=None, **values):
    return judge_claim(
        claim, runs(**values), {"CIFAR-10": TableSpread(printed=(spread,) if spread else ())}, 0.5
    ).word


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
    failed = {"identity": of((6.6, 6.5), 0, "a"), "gate": of((), 5, "a")}
    assert judge_claim(claim, failed, {"a": TableSpread()}, 0.5).word == "holds"
    failed["gate"] = of((7.0,), 4, "a")
    assert judge_claim(claim, failed, {"a": TableSpread()}, 0.5).word == "undecided"
    failed = {"identity": of((), 2, "a"), "gate": of((7.0, 7.1), 0, "a")}
    assert judge_claim(claim, failed, {"a": TableSpread()}, 0.5).word == "fails"


def test_where_higher_is_better_rows_rise():
    rising = ClaimConfig(text="deeper is better", rising=["20", "56"], measure="map")
    found = judge_claim(
        rising, runs(n20=[20.0, 20.1], n56=[26.0, 26.1]), {"CIFAR-10": TableSpread()}, 0.5
    )
    assert [(each.higher, each.lower) for each in found.evidence] == [("56", "20")]
    assert found.word == "holds"
    assert claim_word(rising, n20=[26.0, 26.1], n56=[20.0, 20.1]) == "fails"
    highest = ClaimConfig(text="best", highest="56", measure="map50")
    assert claim_word(highest, n20=[20.0, 20.1], n56=[26.0, 26.1]) == "holds"
    failed = {"20": of((), 2, "a"), "56": of((26.0,), 0, "a")}  # a failed run has no mAP
    assert judge_claim(highest, failed, {"a": TableSpread()}, 0.5).word == "holds"
    failed = {"20": of((20.0,), 0, "a"), "56": of((), 2, "a")}
    assert judge_claim(rising, failed, {"a": TableSpread()}, 0.5).word == "fails"


def test_a_relative_gain_is_as_large_as_the_papers_but_for_the_margin():
    """[He15] Sec. 4.3: 28 % of 21.2 are 5.9 points; 0.5 points of 21.2 are 2.4 %."""
    claim = ClaimConfig(
        text="28 %", gain=GainConfig(of="101", over="16", percent=28), measure="map"
    )
    base = [21.1, 21.3, 21.2]
    assert claim_word(claim, n16=base, n101=[27.2, 27.1, 27.3]) == "holds"
    assert claim_word(claim, n16=base, n101=[30.2, 30.1, 30.3]) == "holds"
    assert claim_word(claim, n16=base, n101=[26.0, 25.9, 26.1]) == "fails"
    assert claim_word(claim, n16=base, n101=[26.6, 26.5, 26.8]) == "undecided"
    assert claim_word(claim, Spread(40.0, 4), n16=[21.2], n101=[27.2]) == "undecided"
    errors = ClaimConfig(text="10 %", gain=GainConfig(of="b", over="a", percent=10))
    found = judge_claim(
        errors, runs(a=[10.0, 10.1], b=[8.0, 8.1]), {"CIFAR-10": TableSpread()}, 0.2
    )
    (evidence,) = found.evidence
    assert (found.word, evidence.higher) == ("holds", "a")
    assert evidence.interval.difference == pytest.approx(100 * (1 - 8.05 / 10.05))
    assert evidence.interval.low < evidence.interval.difference < evidence.interval.high


def test_the_interval_of_a_gain_holds_the_true_one_in_95_percent():
    random = np.random.default_rng(0)
    hits, number = 0, 2000
    for _ in range(number):
        ours, theirs = random.normal(27.2, 2.0, 3), random.normal(21.2, 2.0, 3)
        found = gain(list(ours), list(theirs), pool([ours, theirs]))
        hits += found.low < 100 * (27.2 / 21.2 - 1) < found.high
    assert hits / number == pytest.approx(0.95, abs=3 * (0.05 * 0.95 / number) ** 0.5)


def test_the_lowest_is_compared_on_the_same_images_only():
    claim = ClaimConfig(text="best", lowest="a")
    known = {name: of((1.0, 1.1), 0, data) for name, data in zip("abc", "xxy", strict=True)}
    found = judge_claim(claim, known, {"x": TableSpread(), "y": TableSpread()}, 0.5)
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
        {"falling": ["a", "b"], "measure": "map"},
        {"highest": "a"},
        {"rising": ["a", "b"], "equal": ["a", "b"], "measure": "map"},
    ],
)
def test_a_claim_that_says_nothing_is_refused(wrong):
    with pytest.raises(UserError, match="claim 'x'"):
        ClaimConfig(text="x", **wrong)
