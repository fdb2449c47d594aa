"""A budget of time: which runs are chosen for it."""

from dataclasses import replace

import pytest

from resnet_repro.cost import budget
from resnet_repro.cost.budget import parse_budget
from resnet_repro.cost.estimates import Estimates
from resnet_repro.cost.missing import Missing, half_width
from resnet_repro.errors import UserError
from resnet_repro.judge.spread import Spread
from resnet_repro.records.results import write_records
from resnet_repro.settings.experiment import ClaimConfig
from resnet_repro.text import duration
from tests.support.costs import row_of, seconds_of
from tests.support.plans import plan
from tests.support.results import cells, record_run, result
from tests.support.runs import SMALL


def choose_runs(*args):
    few, spent = budget.choose_runs(*args)
    return few, budget.budget_text(spent)


def claim(text, *falling, **fields):
    return ClaimConfig(text=text, falling=list(falling), **fields)


def chosen(made):
    return {row.name: row.seeds for row in made.rows if row.name in made.selected}


def test_the_claims_that_cost_least_are_settled_first_and_runs_that_they_share_count_once(
    tmp_path, timed
):
    claims = (
        claim("all", "plain-110", "plain-56", "plain-44", "plain-32", "plain-20"),
        claim("44 after 20", "plain-44", "plain-20"),
        claim("32 after 20", "plain-32", "plain-20", where="Fig. 6"),
    )
    made = replace(plan("cifar_plain", f"results={tmp_path}"), claims=claims)
    # The paper prints no numbers: three seeds each.
    three = seconds_of(made, ("plain-20", 3), ("plain-32", 3), ("plain-44", 3))
    few, text = choose_runs(made, three + 1, Estimates(made))
    assert chosen(few) == dict.fromkeys(["plain-20", "plain-32", "plain-44"], (0, 1, 2))
    assert len(few.rows) == len(made.rows)
    assert text.splitlines()[1:4] == [
        "Expected to settle:", '- "32 after 20" (Fig. 6)', '- "44 after 20"'
    ]  # fmt: skip
    rest = seconds_of(made, ("plain-56", 3), ("plain-110", 3))
    assert f'- "all": {duration(rest)}' in text
    assert f"- plain-110 seed 0: {duration(seconds_of(made, ('plain-110', 1)))}" in text
    # A little less, and the second claim does not fit; its time goes to rows without a result.
    few, text = choose_runs(made, three - 1, Estimates(made))
    assert chosen(few)["plain-20"] == chosen(few)["plain-32"] == (0, 1, 2)
    assert chosen(few)["plain-44"] == (0,)
    assert '- "44 after 20":' in text.split("Left out")[1]


def test_the_papers_difference_says_how_many_seeds(tmp_path, timed):
    claims = (
        claim("far apart", "ResNet-20", "ResNet-32"),  # 8.75 and 7.51
        claim("close", "ResNet-44", "ResNet-56"),  # 7.17 and 6.97
        ClaimConfig(text="equal", equal=["ResNet-44", "ResNet-56"]),  # 0.3 from the margin
    )
    made = replace(plan("cifar_depth", f"results={tmp_path}"), claims=claims)
    spread = Spread(0.16, 4)  # that the paper prints of ResNet-110
    assert half_width(2, spread) < 8.75 - 7.51
    assert half_width(6, spread) > 7.17 - 6.97 > half_width(7, spread)
    needed = {each.text: [run.seed for run in each.runs] for each in Missing(made).claims}
    assert needed['"far apart"'] == [0, 1] * 2
    assert needed['"close"'] == [*range(7)] * 2
    assert half_width(4, spread) < 0.5 - (7.17 - 6.97) < half_width(3, spread)
    assert needed['"equal"'] == [*range(4)] * 2


@pytest.mark.slow
def test_what_is_settled_or_recorded_is_not_paid_for_again(tmp_path, timed):
    claims = (
        claim("settled", "ResNet-20", "ResNet-32"),
        claim("open", "ResNet-32", "ResNet-44"),
    )
    made = replace(plan("cifar_depth", f"results={tmp_path}"), claims=claims)
    errors = {"ResNet-20": [8.7, 8.8, 8.9], "ResNet-32": [7.5, 7.4]}
    results = {
        name: [result(row_of(made, name), seed, error) for seed, error in enumerate(each)]
        for name, each in errors.items()
    }
    write_records(made, results)
    missing = Missing(made)
    assert missing.num_settled == 1
    (waiting,) = missing.claims  # of ResNet-32 only what is beyond its two
    seeds = {name: [r.seed for r in waiting.runs if r.row == name] for name in errors}
    assert seeds["ResNet-20"] == []
    assert 0 not in seeds["ResNet-32"] and 1 not in seeds["ResNet-32"]
    few, text = choose_runs(made, 1e9, Estimates(made))
    assert "ResNet-20" not in few.selected
    assert "Already settled: 1 claim." in text
    assert "Left out" not in text


def test_half_done_runs_cost_half_and_too_little_names_the_cheapest(tmp_path, timed):
    made = plan("cifar_plain", f"results={tmp_path}", "row=[plain-20,plain-32]")
    run = row_of(made, "plain-32").run(0)
    record_run(made, run, iteration=63000)
    estimates = Estimates(made)
    assert estimates.seconds_left(run) < estimates.seconds_left(made.runs[0])
    few, _ = choose_runs(made, estimates.seconds_left(run), estimates)
    assert chosen(few) == {"plain-32": (0,)}
    with pytest.raises(UserError, match=rf"too short for any run: the shortest, {run.id}, takes"):
        choose_runs(made, 10.0, estimates)


def test_an_ensemble_without_its_members_is_left_out(tmp_path, timed):
    made = replace(plan("imagenet_ensemble", f"results={tmp_path}"), claims=())
    one = seconds_of(made, ("ResNet-34 B", 1))
    few, _ = choose_runs(made, 1.01 * one, Estimates(made))
    assert [run.row for run in few.runs] == ["ResNet-34 B"]
    everything, _ = choose_runs(made, 1e12, Estimates(made))
    assert everything.runs == made.runs
    assert everything.ensembles == made.ensembles


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("30s", 30), ("90min", 5400), ("8h", 28800), ("1.5h", 5400), ("2d", 172800)],
)
def test_a_budget_is_a_number_and_a_unit(word, seconds):
    assert parse_budget(word) == seconds


@pytest.mark.parametrize("word", ["8", "h", "8hours", "-1h", "0h", "1h30min", "", "inf"])
def test_other_words_are_no_budget(word):
    with pytest.raises(UserError, match="with a unit: 30s, 90min, 8h or 2d"):
        parse_budget(word)


def test_plan_and_run_go_by_the_budget_and_other_verbs_refuse_it(
    run_cli, timed, monkeypatch, tmp_path
):
    words = [word for word in SMALL if not word.startswith("row=")] + ["seeds=[0,1]"]
    made = plan(*(word.removeprefix("experiment=") for word in words), f"results={tmp_path}/x")
    monkeypatch.setattr("tests.support.costs.RATE", 1e6)
    within = f"budget={1.01 * seconds_of(made, ('plain-8', 1), ('ResNet-8', 1)):.0f}s"
    planned = run_cli("plan", *words, within)
    assert planned.code == 0, planned.err
    assert "2 runs, 2 to do" in planned.out
    assert "plain-8 seed 0; ResNet-8 seed 0." in planned.out
    assert "- ResNet-32 seeds 0, 1: " in planned.out
    done = run_cli(*words, within)
    assert done.code == 0, done.err
    assert {path.name[:8] for path in (tmp_path / "results/runs").glob("*-seed*")} == {
        "plain-8-", "ResNet-8"
    }  # fmt: skip
    assert "| plain-32 " in done.out  # the table is whole
    assert cells(done.out, "plain-8")[-1] == "1/2"
    assert run_cli("verify", "results").code == 0
    for verb in ("table", "status", "evaluate"):
        refused = run_cli(verb, *words, within)
        assert refused.code == 1
        assert "budget= works with `run` and `plan` only" in refused.err
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert "budget= needs a single process" in run_cli(*words, within).err
