"""`bench`: the baseline loop and ours, and what is kept of other calls."""

import itertools
import json

import pytest
import torch

from resnet_repro.bench import baseline, rounds, rows, variants
from resnet_repro.bench import report as bench_report
from resnet_repro.bench.roofline import Rates
from resnet_repro.bench.rounds import Timing
from resnet_repro.bench.variants import BASELINE, Variant
from resnet_repro.bench.workers import Workers
from resnet_repro.engine import execution
from resnet_repro.errors import UserError
from tests.support.json_keys import documented, keys_in
from tests.support.kernels import cpu_kernels
from tests.support.loops import endless
from tests.support.runs import SMALL
from tests.support.training import CPU


class Here:
    """In place of `Workers`: the same loops by turns in this process, which starts at once."""

    baselines = 0  # of them that were started

    def __init__(self, make, arguments, device, store=None):
        Here.baselines += make is baseline.baseline_loop
        make = variants._training_loop if make is variants._distributed_loop else make
        self.loops = [make(*each[:2]) for each in arguments]

    def iterate(self, number):
        for _ in range(number):
            for loop in self.loops:
                next(loop)

    def close(self):
        for loop in self.loops:
            loop.close()


@pytest.mark.parametrize(
    ("precision", "apart"),
    [
        pytest.param("fp32", Workers, marks=pytest.mark.slow),  # seven processes import torch
        ("bf16", Here),
    ],
)
def test_the_bench_times_the_usual_loop_and_ours(run_cli, tmp_path, monkeypatch, precision, apart):
    """On a CPU of two cores, with arithmetic in bf16 and without."""

    def no_compiler(device):
        raise UserError("no compiler here")

    monkeypatch.setattr(execution, "_try_compiler", no_compiler)
    monkeypatch.setattr(execution, "has_bf16", lambda: precision == "bf16")
    monkeypatch.setattr(variants, "num_cores", lambda: 2)
    monkeypatch.setattr(baseline, "num_cores", lambda: 1)
    monkeypatch.setattr(variants, "Workers", apart)
    monkeypatch.setattr(rounds, "Workers", apart)
    monkeypatch.setattr(rows, "measure_rates", lambda *_: Rates(1e9, 1e9))
    monkeypatch.setattr(Here, "baselines", 0)
    for name, value in {"ROUND_SECONDS": 0.01, "SETTLE_SECONDS": 0.0, "ROUNDS": 2}.items():
        monkeypatch.setattr(rounds, name, value)
    words = "recipe.bn_batch=8", "format=json"
    outcome = run_cli("bench", *SMALL, *words)
    assert outcome.code == 0, outcome.err
    assert "no compiler here" in outcome.err
    made = json.loads(outcome.out[outcome.out.index("{") :])
    lines = {line["variant"]: line for line in made["lines"]}
    ours = [
        "channels_last",
        "without channels_last",
        "with accumulate",
        "with recompute=8",
        "2 runs in processes",
        "1 run by 2 processes",
    ]
    if cpu_kernels():
        ours += ["without fused"]
        ours[0] += " c++"
    precisions = ["fp32", precision]
    expected = {
        "usual loop",
        *(f"{each}, {variant}" for each in precisions for variant in ours),
    }
    assert lines.keys() == expected
    assert all(line["speedup"] > 0 and line["lower_bound"] > 0 for line in lines.values())
    if apart is Here:
        assert Here.baselines == 1, "started once for all precisions"
    for name in ("`bench`", "`bench` `lines`", "`bench` `lines` `timing`"):
        assert keys_in(made, name) == [documented()[name]]
    folder = tmp_path / "results/benchmarks"
    assert "speedup" in (folder / "training-cpu.md").read_text()
    assert json.loads((folder / "training-cpu.json").read_text()) == {"measurements": [made]}


def test_a_speedup_is_over_the_usual_loop_in_the_same_rounds(config, monkeypatch):
    """Of two networks side by side, each takes half of the time."""
    of_loops = {"fp32": [4.0, 2.0, 3.0], "bf16": [6.0, 2.0, 3.0]}
    rates = {"fp32": Rates(1.0, 1e12), "bf16": Rates(1e12, 1.0)}

    def make_variants(plain, images, available):
        name = plain.recipe.precision
        return {f"{name}, x": Variant(endless()), f"{name}, two": Variant(endless(), 2)}

    def time_loops(loops, device):
        first, *others = loops
        seconds = of_loops[others[0][:4]]
        assert first == BASELINE
        return {
            name: Timing(each, each - 1, each + 1, 9.0)
            for name, each in zip(loops, seconds, strict=True)
        }

    monkeypatch.setattr(rows, "make_baseline", lambda *_: Variant(endless()))
    monkeypatch.setattr(rows, "make_variants", make_variants)
    monkeypatch.setattr(rows, "time_loops", time_loops)
    fp32, bf16 = (
        [
            (line.variant, line.timing.lowest, line.timing.seconds, line.speedup, line.bound)
            for line in lines
        ]
        for lines in rows.bench_row("a", config, ["fp32", "bf16"], rates)
    )
    assert fp32 == [
        ("usual loop", 3.0, 4.0, 1.0, "arithmetic"),
        ("fp32, x", 1.0, 2.0, 2.0, "arithmetic"),
        ("fp32, two", 1.0, 1.5, 4.0 / 1.5, "arithmetic"),
    ]
    assert bf16 == [
        ("bf16, x", 1.0, 2.0, 3.0, "memory"),
        ("bf16, two", 1.0, 1.5, 4.0, "memory"),
    ]


def test_a_timing_is_the_median_of_rounds_that_are_taken_by_turns(monkeypatch):
    order = []

    def iterate(loop, number, device):
        name, seconds = next(loop)
        order.append((name, number))
        return seconds

    for name, value in {"ROUND_SECONDS": 1.0, "SETTLE_SECONDS": 0.0, "ROUNDS": 3}.items():
        monkeypatch.setattr(rounds, name, value)
    monkeypatch.setattr(rounds, "_iterate", iterate)
    loops = {
        "a": iter([("a", each) for each in (9.0, 0.1, 0.1, 0.1, 3.0, 1.0, 2.0)]),
        "b": iter([("b", each) for each in (8.0, 0.5, 0.5, 0.5, 5.0, 7.0, 4.0)]),
    }
    assert rounds.time_loops(loops, CPU) == {
        "a": Timing(2.0, 1.0, 3.0, 9.0),
        "b": Timing(5.0, 4.0, 7.0, 8.0),
    }
    assert order[-6:] == [("a", 10), ("b", 2)] * 3


def test_the_bench_keeps_what_other_calls_measured(run_cli, tmp_path, monkeypatch):
    """Another row, another table and other settings are kept; the same row is replaced."""
    rates = {"fp32": Rates(1e9, 1e9)}
    seconds = iter(range(1, 9))

    def bench_row(name, config, precisions, known):
        known.update(rates)
        timed = Timing(1.0 * next(seconds), 1.0, 9.0, 1.0)
        yield [rows.VariantResult(name, "fp32", timed, 128, None, 0.5, "memory")]

    monkeypatch.setattr(bench_report, "bench_row", bench_row)
    path = tmp_path / "results/benchmarks/training-cpu.json"

    def bench(*words):
        outcome = run_cli("bench", *words, "compute.device=cpu")
        assert outcome.code == 0, outcome.err
        return [
            (each["experiment"], line["row"], line["timing"]["seconds"])
            for each in json.loads(path.read_text())["measurements"]
            for line in each["lines"]
        ]

    bench("experiment=cifar_depth", "row=[ResNet-20,ResNet-32]")
    bench("experiment=cifar_depth", "row=ResNet-20", "recipe.batch_size=64")
    bench("experiment=cifar_plain", "row=plain-20")
    assert bench("experiment=cifar_depth", "row=ResNet-20") == [
        ("cifar_depth", "ResNet-32", 2),
        ("cifar_depth recipe.batch_size=64", "ResNet-20", 3),
        ("cifar_plain", "plain-20", 4),
        ("cifar_depth", "ResNet-20", 5),
    ]
    table = path.with_suffix(".md").read_text()
    assert table.index("## cifar_plain") < table.rindex("## cifar_depth\n")
    path.write_text("{}")
    outcome = run_cli("bench", "experiment=cifar_depth", "row=ResNet-20", "compute.device=cpu")
    assert outcome.code == 1
    assert "move or delete it" in outcome.err
    assert path.read_text() == "{}"


@pytest.fixture
def measured(monkeypatch, run_cli, tmp_path):
    """Call `bench` on a device of three precisions, without timing; return its file's lines."""

    def call(*words, until=None):
        def bench_row(name, config, precisions, known):
            for precision in precisions:
                if precision == until:
                    raise KeyboardInterrupt
                known[precision] = Rates(1e9, 1e9)
                timed = Timing(1.0, 1.0, 1.0, 1.0)
                yield [rows.VariantResult(name, f"{precision}, x", timed, 128, None, 0.5, "memory")]

        monkeypatch.setattr(bench_report, "bench_row", bench_row)
        three = ["fp32", "tf32", "bf16"]
        monkeypatch.setattr(bench_report, "available_precisions", lambda device: three)
        outcome = run_cli("bench", "experiment=cifar_depth", "compute.device=cpu", *words)
        assert (outcome.code == 0) == (until is None), outcome.err
        made = json.loads((tmp_path / "results/benchmarks/training-cpu.json").read_text())
        return [
            (line["row"], line["variant"][:4]) for m in made["measurements"] for line in m["lines"]
        ]

    return call


def test_what_is_timed_is_written_after_each_precision(measured):
    """Of a call that is stopped too; what an earlier one timed of the others is kept."""
    assert measured("row=[ResNet-20,ResNet-32]", until="bf16") == [
        ("ResNet-20", "fp32"),
        ("ResNet-20", "tf32"),
    ]
    measured("row=ResNet-20")
    assert measured("row=ResNet-20", until="bf16") == [
        ("ResNet-20", "bf16"),
        ("ResNet-20", "fp32"),
        ("ResNet-20", "tf32"),
    ]


def test_a_precision_that_is_asked_for_is_the_only_one_timed(measured):
    for precision in ("fp32", "bf16"):
        word = f"recipe.precision={precision}"
        assert measured("row=ResNet-20", word)[-1:] == [("ResNet-20", precision)]
    swept = measured("row=ResNet-20", "recipe.precision=tf32,bf16")
    assert swept == [
        ("ResNet-20", "fp32"),
        ("ResNet-20", "bf16"),
        ("ResNet-20 recipe.precision=tf32", "tf32"),
        ("ResNet-20 recipe.precision=bf16", "bf16"),
    ]


def test_the_memory_of_a_way_is_that_of_its_training(monkeypatch):
    """Statistics of the images take more, once, in the first iteration."""
    in_use = {"now": 5, "peak": 5}

    def loop():
        for number in itertools.count():
            in_use["peak"] = max(in_use["peak"], in_use["now"] + (288 if number == 0 else 30))
            yield

    def reset(device):
        in_use["peak"] = in_use["now"]

    for name, value in {"ROUND_SECONDS": 1e-4, "SETTLE_SECONDS": 0.0}.items():
        monkeypatch.setattr(rounds, name, value)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: in_use["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: in_use["peak"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    timings = rounds.time_loops({"ours": loop()}, torch.device("cuda"))
    assert timings["ours"].memory == 30


def test_ways_that_lack_memory_are_left_out(monkeypatch, caplog):
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 0.01)
    loops = {"small": endless(), "large": endless(torch.OutOfMemoryError("12 GiB"))}
    assert rounds.time_loops(loops, CPU).keys() == {"small"}
    assert "large: skipped" in caplog.text
