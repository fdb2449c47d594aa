"""What a plan says of time: speeds timed once and kept, how far off that was; a budget's choice."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import SMALL
from test_plan import plan
from test_report import SESSION, result

from resnet_repro.cost import budget, calibration
from resnet_repro.cost import table as cost
from resnet_repro.cost.budget import parse_budget
from resnet_repro.cost.calibration import chip
from resnet_repro.cost.estimates import Estimates
from resnet_repro.cost.missing import Missing, half_width
from resnet_repro.errors import UserError
from resnet_repro.judge.statistics import Spread
from resnet_repro.models.complexity import measure
from resnet_repro.records import Record
from resnet_repro.records.results import write_records
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.experiment import ClaimConfig
from resnet_repro.text import count, duration

RATE = 1e10  # multiply-adds per second of the machine that is put in place of this one


class Machine:
    """One on which speeds follow multiply-adds, in place of this one.

    Attributes:
        timed: The depths and shortcuts that were timed, half a second each.
        bursts: Seconds from and to which other programs make it 20 times slower.
    """

    def __init__(self):
        self.timed, self.bursts, self.now = [], [], 0.0

    def busy_cores(self):
        return float(any(begin <= self.now - 0.25 < end for begin, end in self.bursts))

    def images_per_second(self, config):
        self.timed.append((config.model.depth, config.model.shortcut))
        self.now += 0.5
        return RATE / measure(config).multiply_adds / (20 if self.busy_cores() else 1)


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(calibration, "images_per_second", made.images_per_second)
    monkeypatch.setattr(calibration, "Watch", lambda: made)
    monkeypatch.setattr(calibration, "is_crowded", lambda busy, threads: busy > 0)
    monkeypatch.setattr(calibration, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def timed(machine, monkeypatch):
    """Return the depths and shortcuts timed, once each."""
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    return machine.timed


def plan_text(made):
    return cost.cost_text(cost.plan_cost(made))


def choose_runs(*args):
    few, spent = budget.choose_runs(*args)
    return few, budget.budget_text(spent)


def row_of(made, name):
    return next(row for row in made.rows if row.name == name)


def record_run(made, run, seconds=None, iteration=500, **machine):
    """Record a run on this chip, as far as an iteration; finished where it took `seconds`."""
    record = Record(run_folder(run, made.results))
    record.folder.mkdir(parents=True)
    here = {"device": "cpu", "cpu": calibration.cpu_name(), "processes": 1}
    here["threads"] = calibration.torch.get_num_threads()
    record.add_session({**SESSION, **here, **machine})
    counts = {"num_errors": 1, "num_images": 10}
    record.append("train", iteration, loss=1.0, lr=0.1, images_per_second=50.0, **counts)
    record.note_saved(iteration)
    if seconds is not None:
        record.add_evaluation("single_view", **counts)
        record.append("finished", iteration, seconds=seconds, weights="ab")


def test_networks_are_timed_once_and_kept_by_chip_and_software(tmp_path, timed, monkeypatch):
    made = plan("quickstart", f"results={tmp_path}", "seeds=[0,1]")
    first = Estimates(made)
    assert timed == [(8, "none"), (8, "A"), (32, "none"), (32, "A")]
    assert Estimates(made).speeds == first.speeds
    # What speed does not depend on does not time again; what it depends on does.
    Estimates(plan("quickstart", f"results={tmp_path}", "recipe.lr=0.2", "seeds=[7]"))
    assert len(timed) == 4
    Estimates(plan("quickstart", f"results={tmp_path}", "recipe.batch_size=32", "row=ResNet-8"))
    assert len(timed) == 5
    monkeypatch.setattr(calibration, "cpu_name", lambda: "another CPU")
    Estimates(made)
    assert len(timed) == 9
    monkeypatch.setattr(calibration.torch, "__version__", "99.0")
    Estimates(made)
    assert len(timed) == 13


FOUR = [(8, "none"), (8, "A"), (32, "none"), (32, "A")]


def rates(estimates, made):
    """Return the multiply-adds per second of each row."""
    sizes = {row.name: measure(row.config).multiply_adds for row in made.rows}
    return [s.images_per_second * sizes[name] for name, s in estimates.speeds.items()]


@pytest.mark.parametrize(
    ("bursts", "expected"),
    [
        ([(2, 3.5)], FOUR * 3),  # in the second round: the other two count
        ([(1, 2), (3, 4), (5, 6)], [*FOUR * 3, *FOUR[2:]]),  # in each round, while these are timed
    ],
)
def test_a_burst_of_other_work_does_not_make_a_network_slow(tmp_path, machine, bursts, expected):
    machine.bursts = bursts
    made = plan("quickstart", f"results={tmp_path}")
    text = plan_text(made)
    assert machine.timed == expected
    assert rates(Estimates(made), made) == pytest.approx([RATE] * 4, rel=1e-3)
    assert "kept the CPU busy" not in text
    assert len(machine.timed) == len(expected), "what was timed is kept"


def test_a_network_that_really_costs_more_is_timed_again_and_believed(
    tmp_path, machine, monkeypatch
):
    real = machine.images_per_second
    slow = lambda config: real(config) / (5 if config.model.shortcut == "A" else 1)  # noqa: E731
    monkeypatch.setattr(calibration, "images_per_second", slow)
    made = plan("quickstart", f"results={tmp_path}", "row=[plain-8,plain-32,ResNet-8]")
    assert rates(Estimates(made), made) == pytest.approx([RATE, RATE, RATE / 5], rel=1e-3)
    assert machine.timed.count((8, "A")) == calibration.ROUNDS + calibration.ROUNDS_AGAIN
    assert machine.timed.count((8, "none")) == calibration.ROUNDS


def test_what_was_timed_on_a_busy_machine_is_said_and_timed_again(tmp_path, machine):
    machine.bursts = [(0, 1e9)]
    made = plan("quickstart", f"results={tmp_path}", "row=[plain-8,plain-32]")
    said = "Other programs kept the CPU busy while this was timed: plain-8, plain-32."
    assert said in plan_text(made)
    first = len(machine.timed)
    machine.bursts = []
    assert "kept the CPU busy" not in plan_text(made)
    assert len(machine.timed) == 2 * first
    assert rates(Estimates(made), made) == pytest.approx([RATE] * 2, rel=1e-3)
    assert len(machine.timed) == 2 * first


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1, "spe',
        "[]",
        '{"format": 99, "speeds": {}, "estimates": {}}',
        '{"format": 1, "speeds": {"a": {"chip": "c", "images_per_second": 0}}, "estimates": {}}',
    ],
)
def test_a_damaged_file_costs_a_warning_and_is_written_anew(
    text, tmp_path, timed, caplog, monkeypatch
):
    monkeypatch.setattr(calibration.logger, "propagate", True)
    (tmp_path / "calibration.json").write_text(text)
    made = plan("quickstart", f"results={tmp_path}")
    Estimates(made)
    assert len(timed) == 4
    assert {record.getMessage() for record in caplog.records} == {
        f"{tmp_path}/calibration.json is damaged: networks are timed anew"
    }
    assert len(json.loads((tmp_path / "calibration.json").read_text())["speeds"]) == 4
    Estimates(made)
    assert len(timed) == 4


def test_what_does_not_fit_the_seconds_is_scaled_and_marked(tmp_path, timed, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_SECONDS", 0.0)
    made = plan("quickstart", f"results={tmp_path}")
    text = plan_text(made)
    assert timed == [(8, "none")]
    marked = {line.split()[1]: "~" in line for line in text.splitlines() if "| todo" in line}
    assert list(marked.values()) == [False, True, True, True]
    assert "~: by multiply-adds from the nearest network that was timed." in text
    sizes = {row.name: measure(row.config).multiply_adds for row in made.rows}
    speeds = {name: s.images_per_second * sizes[name] for name, s in Estimates(made).speeds.items()}
    assert speeds == pytest.approx(dict.fromkeys(speeds, RATE), rel=1e-3)


def test_a_large_network_alone_is_not_begun_before_a_small_one_tells_its_speed(tmp_path, timed):
    made = plan("cifar_depth", f"results={tmp_path}", "row=ResNet-1202")
    speed = Estimates(made).speeds["ResNet-1202"]
    assert timed == [(20, "A")]  # at this rate 1202 layers would take more than the seconds
    assert speed.is_scaled
    assert speed.images_per_second == pytest.approx(RATE / 2_829_238_912, rel=1e-3)


def test_recorded_speeds_win_if_they_are_of_this_chip(tmp_path, timed):
    made = plan("quickstart", f"results={tmp_path}")
    here, elsewhere = row_of(made, "ResNet-8"), row_of(made, "plain-8")
    record_run(made, here.run(3), iteration=100)
    record_run(made, elsewhere.run(0), iteration=100, cpu="another CPU")
    speeds = Estimates(made).speeds
    assert (8, "A") not in timed
    assert speeds["ResNet-8"].images_per_second == 50.0
    assert speeds["plain-8"].images_per_second > 1000


def test_the_time_left_counts_iterations_and_tests_that_are_left(tmp_path, timed):
    made = plan("quickstart", f"results={tmp_path}", "row=ResNet-8", "evaluation.every=200")
    run = made.runs[0]
    speed = RATE / measure(run.config).multiply_adds
    # 500 iterations of 64 images; tests of 1000 after 200, 400 and 500, a third of the work each.
    num_test = run.config.data.generate.num_test
    whole = (500 * 64 + num_test) / speed
    assert Estimates(made).seconds_left(run) == pytest.approx(whole, rel=1e-3)
    record_run(made, run, iteration=300)
    half = (200 * 64 + 2 / 3 * num_test) / 50  # at the speed that it recorded
    assert Estimates(made).seconds_left(run) == pytest.approx(half)


def test_a_plan_says_how_far_off_its_estimates_were(tmp_path, timed, monkeypatch):
    monkeypatch.setattr("test_cost.RATE", 1e7)  # so that runs are not too short to tell
    made = plan("quickstart", f"results={tmp_path}", "row=[ResNet-8,ResNet-32,plain-32]")
    estimates = Estimates(made)
    assert estimates.accuracy == ""
    runs = {run.row: run for run in made.runs}
    record_run(made, runs["ResNet-8"], estimates.seconds_left(runs["ResNet-8"]) / 0.9)
    again = Estimates(made)
    assert again.accuracy == "Its estimates for 1 finished run were 0.90 times what they took."
    said = again.seconds_left(runs["ResNet-32"])  # by now from what ResNet-8 recorded
    assert said != estimates.seconds_left(runs["ResNet-32"])
    record_run(made, runs["ResNet-32"], said / 1.25)
    record_run(made, runs["plain-32"], 1e9, cpu="another CPU")  # tells nothing of this one
    text = plan_text(plan("quickstart", f"results={tmp_path}", "row=plain-8"))
    assert "Its estimates for 2 finished runs were 0.90 to 1.25 times what they took." in text


def claim(text, *falling, **fields):
    return ClaimConfig(text=text, falling=list(falling), **fields)


def seconds_of(made, *runs):
    """seconds_of(plan, ("ResNet-20", 3)): what three runs of a row take on that machine."""
    estimates = Estimates(made)
    return sum(number * estimates.seconds_left(row_of(made, name).run(0)) for name, number in runs)


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
    assert "Settled already: 1 claim." in text
    assert "Left out" not in text


def test_half_done_runs_cost_half_and_too_little_names_the_cheapest(tmp_path, timed):
    made = plan("cifar_plain", f"results={tmp_path}", "row=[plain-20,plain-32]")
    run = row_of(made, "plain-32").run(0)
    record_run(made, run, iteration=63000)
    estimates = Estimates(made)
    assert estimates.seconds_left(run) < estimates.seconds_left(made.runs[0])
    few, _ = choose_runs(made, estimates.seconds_left(run), estimates)
    assert chosen(few) == {"plain-32": (0,)}
    with pytest.raises(UserError, match=rf"too little for any run: the cheapest, {run.id}, takes"):
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
    with pytest.raises(UserError, match="as in 30s, 90min, 8h or 2d"):
        parse_budget(word)


def test_plan_and_run_go_by_the_budget_and_other_verbs_refuse_it(
    run_cli, timed, monkeypatch, tmp_path
):
    words = [word for word in SMALL if not word.startswith("row=")]
    made = plan(*(word.removeprefix("experiment=") for word in words), f"results={tmp_path}/x")
    monkeypatch.setattr("test_cost.RATE", 1e6)
    within = f"budget={1.01 * seconds_of(made, ('plain-8', 1), ('ResNet-8', 1)):.0f}s"
    planned = run_cli("plan", *words, within)
    assert planned.code == 0, planned.err
    assert "2 runs, 2 to do" in planned.out
    assert "plain-8 seed 0; ResNet-8 seed 0." in planned.out
    assert "- ResNet-32 seed 0: " in planned.out
    done = run_cli(*words, within)
    assert done.code == 0, done.err
    assert {path.name[:8] for path in (tmp_path / "results/runs").glob("*-seed*")} == {
        "plain-8-", "ResNet-8"
    }  # fmt: skip
    assert "| plain-32 " in done.out  # the table is whole
    for verb in ("table", "status", "evaluate"):
        refused = run_cli(verb, *words, within)
        assert refused.code == 1
        assert "budget= chooses what to run" in refused.err
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert "budget= is for one process" in run_cli(*words, within).err


def test_gpu_hours_are_hours_times_processes(tmp_path, timed, monkeypatch):
    made = plan("quickstart", f"results={tmp_path}", "row=ResNet-8")
    assert "GPU-hours" not in plan_text(made)
    monkeypatch.setattr("test_cost.RATE", 1e5)
    monkeypatch.setattr(calibration.torch, "__version__", "99.0")
    monkeypatch.setattr(cost, "num_gpus", lambda config: 4)
    spent = 4 * seconds_of(made, ("ResNet-8", 1)) / 3600
    text = plan_text(made)
    assert f" {spent:,.2f} |" in text
    assert f"({spent:,.1f} GPU-hours)" in text


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path, timed, caplog, monkeypatch):
    monkeypatch.setattr(calibration.logger, "propagate", True)
    (tmp_path / "calibration.json").mkdir()
    made = plan("quickstart", f"results={tmp_path}")
    assert Estimates(made).speeds
    assert "the next plan times anew" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    assert chip(made.runs[0].config)


def test_words_agree_with_their_number():
    said = [count(number, noun) for number in (1, 2) for noun in ("run", "process")]
    assert said == ["1 run", "1 process", "2 runs", "2 processes"]
