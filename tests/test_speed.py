"""The ways to compute a run faster: each gives what the plain way gives."""

import gc
import json
import sys
import weakref
from contextlib import closing, nullcontext
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from types import ModuleType, SimpleNamespace

import pytest
import torch
from conftest import PUBLISHED, ROOT, SMALL, changed
from loops import endless
from torch import nn

from resnet_repro.bench import baseline, roofline, rounds, rows, variants
from resnet_repro.bench import report as bench_report
from resnet_repro.bench.roofline import Rates, floor_seconds
from resnet_repro.bench.workers import Workers
from resnet_repro.data import load_data, make_feed
from resnet_repro.engine import cuda_graph, execution, fitting, timing
from resnet_repro.engine.cuda_graph import WARM_UP, Replay
from resnet_repro.engine.evaluate import Classifier
from resnet_repro.engine.execution import Execution, choose_execution
from resnet_repro.engine.interleave import SharedClock
from resnet_repro.engine.optim import build_optimizer, restore_optimizer, set_learning_rate
from resnet_repro.engine.signals import Stop, StoppedRun
from resnet_repro.engine.step import Step
from resnet_repro.engine.train import train
from resnet_repro.errors import UserError
from resnet_repro.launch import side_by_side
from resnet_repro.launch.side_by_side import take_turns
from resnet_repro.models import build_model
from resnet_repro.models.complexity import measure, training_bytes
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.model import ModelConfig

CPU = torch.device("cpu")
EAGER = Execution(CPU, torch.autocast("cpu", enabled=False))
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


def losses(config, how, iterations, *, lr=0.1, captured=False):
    """Train for some iterations; return the loss of each, and the weights."""
    torch.manual_seed(0)
    model = how.place(build_model(config.model)).train()
    optimizer = build_optimizer(model, config.recipe)
    feed = make_feed(load_data(config.data), config, how.device)
    step = Step(model, optimizer, config.recipe.bn_batch, how)
    iterate = Replay(lambda *drawn: step(*feed.show(*drawn)), captured=captured)
    totals = []
    for number, drawn in enumerate(feed.draws(0, iterations)):
        set_learning_rate(optimizer, lr if number < iterations // 2 else lr / 10)
        totals.append(iterate(*drawn)[0].clone())
    return torch.stack(totals).cpu(), {k: v.cpu() for k, v in model.state_dict().items()}


def alike(ours, theirs, **tolerance):
    torch.testing.assert_close(ours[0], theirs[0], **tolerance)
    for name, tensor in theirs[1].items():
        torch.testing.assert_close(ours[1][name].contiguous(), tensor, **tolerance, msg=name)


def test_channels_last_computes_the_same(config):
    config = changed(config, model={"depth": 14})
    last = losses(config, replace(EAGER, channels_last=True), 10, lr=0.001)
    alike(last, losses(config, EAGER, 10, lr=0.001), atol=1e-4, rtol=1e-4)


def test_momentum_from_a_machine_with_another_layout_lies_as_the_weights_do(config):
    """Fused steps refuse any other; the values are kept."""
    last, first = replace(EAGER, channels_last=True), EAGER
    models = [how.place(build_model(config.model)) for how in (last, first)]
    optimizers = [build_optimizer(model, config.recipe) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        for weight in model.parameters():
            weight.grad = torch.randn_like(weight)
        optimizer.step()
    restore_optimizer(optimizers[1], optimizers[0].state_dict())
    for theirs, ours in zip(*(model.parameters() for model in models), strict=True):
        momentum = optimizers[1].state[ours]["momentum_buffer"]
        assert momentum.stride() == ours.stride()
        torch.testing.assert_close(momentum, optimizers[0].state[theirs]["momentum_buffer"])


def test_a_finished_runs_graphs_do_not_wait_for_the_garbage_collector(config):
    """It could come in the middle of another run's capture, which that would break."""
    classifier = Classifier(build_model(config.model).eval(), EAGER)
    classifier(torch.zeros(2, 3, 16, 16))
    model = weakref.ref(classifier.model)
    gc.disable()
    try:
        del classifier
        assert model() is None
    finally:
        gc.enable()


@pytest.mark.slow  # the compiler takes half a minute
def test_compiled_blocks_compute_the_same_and_one_shape_is_compiled_once(config):
    """Deeper networks have no more shapes of blocks, and compile no more variants."""
    config = changed(config, model={"depth": 14})
    compiled = replace(EAGER, compiled=True)
    ours, theirs = (losses(config, how, 10, lr=0.001) for how in (compiled, EAGER))
    alike(ours, theirs, atol=1e-4, rtol=1e-4)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    losses(changed(config, model={"depth": 32}), compiled, 2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_captured_loop_gives_the_eager_loops_losses(config, precision):
    """Learning rates change in the middle, which a captured step must follow."""
    config = changed(config, model={"depth": 20}, recipe={"precision": precision})
    how = choose_execution(changed(config, compute={"device": "cuda", "deterministic": True}))
    assert how.graph
    eager = losses(config, replace(how, graph=False), 50)
    alike(losses(config, how, 50, captured=True), eager, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_blocks_in_a_captured_loop_give_the_eager_loops_losses(config, precision):
    config = changed(config, model={"depth": 20}, recipe={"precision": precision})
    how = choose_execution(changed(config, compute={"device": "cuda", "compile": True}))
    eager = losses(config, replace(how, graph=False, compiled=False), 50, lr=0.001)
    tolerance = {"fp32": 1e-3, "bf16": 5e-2}[precision]
    compiled = losses(config, how, 50, lr=0.001, captured=True)
    torch.testing.assert_close(compiled[0], eager[0], atol=tolerance, rtol=tolerance)


@pytest.mark.gpu
@GPU
def test_runs_side_by_side_on_a_gpu_give_what_single_runs_give(config, tmp_path):
    config = changed(config, recipe={"iterations": 30}, compute={"device": "cuda"})
    config = changed(config, compute={"deterministic": True, "runs_per_gpu": 3})
    side_by_side_gives_what_single_runs_give(config, tmp_path)


def test_runs_that_take_turns_give_what_single_runs_give(config, tmp_path):
    config = changed(config, compute={"runs_per_gpu": 2})
    side_by_side_gives_what_single_runs_give(config, tmp_path)


def side_by_side_gives_what_single_runs_give(config, tmp_path):
    runs = [Run("ResNet-8", replace(config, seed=seed)) for seed in range(3)]
    for run in runs:
        train(run, tmp_path / f"alone{run.seed}")
    jobs = [(run, tmp_path / f"beside{run.seed}") for run in runs]
    take_turns(iter(jobs).__next__, 3, Stop())
    for run in runs:
        alone, beside = (Record(tmp_path / f"{way}{run.seed}") for way in ("alone", "beside"))
        assert beside.events()[-1]["weights"] == alone.events()[-1]["weights"]
        ours = [e.get("num_errors") for e in beside.events()]
        assert ours == [e.get("num_errors") for e in alone.events()]


def test_runs_in_processes_side_by_side_give_what_single_runs_give(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "num_cores", lambda: 2)
    words = [word for word in SMALL if not word.startswith("row=")]
    words += ["row=[ResNet-8,plain-8]", "seeds=[0,1]"]
    assert run_cli(*words, "compute.threads=1").code == 0
    packed = run_cli(*words, "compute.runs_per_gpu=2", "results=packed")
    assert packed.code == 0
    assert "4 runs on 2 processes" in packed.out
    ended = [
        {
            f.name: Record(f).events()[-1]["weights"]
            for f in (tmp_path / results / "runs").glob("*-seed*")
        }
        for results in ("results", "packed")
    ]
    assert ended[0] == ended[1]
    assert len(ended[0]) == 4
    sessions = Record(next((tmp_path / "packed/runs").glob("*-seed*"))).environment()
    assert sessions[0]["threads"] == 1


def take_turns_with(monkeypatch, config, tmp_path, behaviours, runs_per_gpu=3):
    """Take turns with runs that yield, or raise, as told: seed -> list of None or errors."""
    advanced, saved = [], []

    def train_stepwise(run, folder, group, stop, clock):
        for what in behaviours[run.seed]:
            if stop.is_set():
                saved.append(run.seed)
                raise StoppedRun(f"saved {run.seed}")
            if what is not None:
                behaviours[run.seed] = [None]  # the next time it goes well
                raise what
            advanced.append(run.seed)
            yield
        folder.mkdir()
        Record(folder).append("diverged", 1, reason="nan", seconds=1.0, weights="ab")

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    config = changed(config, compute={"runs_per_gpu": runs_per_gpu})
    runs = [Run("row", replace(config, seed=seed)) for seed in range(len(behaviours))]
    jobs = iter([(run, tmp_path / str(run.seed)) for run in runs])
    try:
        take_turns(jobs.__next__, len(runs), Stop())
    except (UserError, StoppedRun) as error:
        return advanced, saved, error
    return advanced, saved, None


def test_runs_take_turns_and_the_next_one_fills_a_gap(monkeypatch, config, tmp_path):
    work = [[None] * 2, [None] * 5, [None] * 2]
    advanced, _, error = take_turns_with(monkeypatch, config, tmp_path, work, runs_per_gpu=2)
    assert (advanced, error) == ([0, 1, 0, 1, 1, 1, 2, 1, 2], None)


def test_a_run_of_another_precision_waits_unmeasured(monkeypatch, config, tmp_path):
    """Measuring sets the precision of the process, in which other runs are at work."""
    measured = []

    def train_stepwise(run, folder, group, stop, clock):
        for _ in range(3):
            measured.append("step")
            yield
        folder.mkdir()
        Record(folder).append("diverged", 1, reason="nan", seconds=1.0, weights="ab")

    def share_of_gpu(config, num_left):
        measured.append(config.recipe.precision)
        return 0.5

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    monkeypatch.setattr(side_by_side, "share_of_gpu", share_of_gpu)
    configs = [config, changed(config, recipe={"precision": "bf16"})]
    jobs = [(Run("row", each), tmp_path / str(n)) for n, each in enumerate(configs)]
    take_turns(iter(jobs).__next__, 2, Stop())
    assert measured == ["fp32", "step", "step", "step", "bf16", "step", "step", "step"]


def test_too_many_side_by_side_go_on_with_fewer(monkeypatch, config, tmp_path, caplog):
    out_of_memory = torch.OutOfMemoryError("CUDA out of memory")
    work = [[None] * 3, [None] * 3, [out_of_memory]]
    monkeypatch.setattr(side_by_side.logger, "propagate", True)
    advanced, _, error = take_turns_with(monkeypatch, config, tmp_path, work)
    assert "with 3 runs side by side: going on with 2; compute.runs_per_gpu=2" in caplog.text
    assert (advanced.count(2), error) == (1, None)
    assert advanced.index(2) > 4, "it waits until one of the others has ended"


def test_what_stops_every_run_lets_the_others_save(monkeypatch, config, tmp_path):
    work = [[None, UserError("the data is gone")], [None] * 5, [None] * 5]
    _, saved, error = take_turns_with(monkeypatch, config, tmp_path, work)
    assert sorted(saved) == [1, 2]
    assert str(error) == "the data is gone"


def test_a_run_that_fails_does_not_stop_those_beside_it(monkeypatch, config, tmp_path):
    work = [[None, ZeroDivisionError("ours")], [None] * 5]
    advanced, _, error = take_turns_with(monkeypatch, config, tmp_path, work)
    assert (advanced.count(1), error) == (5, None)
    assert "ZeroDivisionError" in Record(tmp_path / "0").events()[-1]["reason"]


def test_the_parts_of_a_shared_clock_add_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("resnet_repro.engine.interleave.time.perf_counter", lambda: now[0])
    clock = SharedClock()
    clock.share(3)
    now[0] = 6.0
    assert clock() == 2.0
    clock.share(1)
    now[0] = 7.0
    assert clock() == 3.0


class FakeGraph:
    """A CUDA graph where there is no GPU: `replay` calls again what was called in the capture."""

    fails = False
    replays = 0

    def replay(self):
        FakeGraph.replays += 1
        self.output.copy_(self.function(*self.inputs))


@pytest.fixture
def fake_cuda(monkeypatch):
    """Stand in for the parts of torch.cuda that a capture uses."""

    def graph(graph, stream):
        if FakeGraph.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return nullcontext()

    monkeypatch.setattr(FakeGraph, "replays", 0)
    monkeypatch.setattr(FakeGraph, "fails", False)
    stream = type("Stream", (), {"wait_stream": lambda self, other: None})
    for name, value in {
        "Stream": stream,
        "current_stream": stream,
        "stream": lambda stream: nullcontext(),
        "set_stream": lambda stream: None,
        "CUDAGraph": FakeGraph,
        "graph": graph,
    }.items():
        monkeypatch.setattr(f"resnet_repro.engine.cuda_graph.torch.cuda.{name}", value)
    real = cuda_graph._Graph.__init__

    def init(self, function, inputs, stream):
        real(self, function, inputs, stream)
        self._graph.function, self._graph.inputs = function, self._inputs
        self._graph.output = self._output

    monkeypatch.setattr(cuda_graph._Graph, "__init__", init)


def test_a_replay_goes_by_its_inputs_and_keeps_what_it_returned(fake_cuda):
    """Each shape is captured once, after it was warmed up; results are not overwritten."""
    double = Replay(lambda x: 2 * x, captured=True)
    inputs = [torch.full((size,), float(number)) for size in (2, 3) for number in range(7)]
    outputs = [double(each) for each in inputs]
    for given, got in zip(inputs, outputs, strict=True):
        torch.testing.assert_close(got, 2 * given)
    assert FakeGraph.replays == 2 * (7 - WARM_UP)


def test_a_capture_that_fails_says_so_and_goes_on(fake_cuda, monkeypatch, caplog):
    monkeypatch.setattr(FakeGraph, "fails", True)
    monkeypatch.setattr(cuda_graph.logger, "propagate", True)
    double = Replay(lambda x: 2 * x, captured=True)
    outputs = [double(torch.tensor(float(number))) for number in range(9)]
    assert [each.item() for each in outputs] == [2.0 * number for number in range(9)]
    assert len({id(record) for record in caplog.records}) == 1, "it is said once"
    assert "could not be captured as a CUDA graph (operation not permitted" in caplog.text
    assert "compute.graph=false" in caplog.text


def test_ways_that_cannot_be_taken_are_refused(config, monkeypatch):
    with pytest.raises(UserError, match=r"compute\.graph=true"):
        choose_execution(changed(config, compute={"graph": True}))
    with pytest.raises(UserError, match=r"runs_per_gpu=1000: without a GPU"):
        side_by_side.num_workers(ComputeConfig(device="cpu", runs_per_gpu=1000))

    def broken(*_, **__):
        raise RuntimeError("No working C++ compiler\nfound")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError, match=r"does not work here \(No working C\+\+ compiler\)"):
        choose_execution(changed(config, compute={"compile": True}))


def test_a_precision_that_the_chip_lacks(config, monkeypatch, caplog):
    cuda = "resnet_repro.engine.execution.torch.cuda"
    monkeypatch.setattr(f"{cuda}.get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(f"{cuda}.get_device_name", lambda device: "Tesla V100")
    for precision in ("bf16", "tf32"):
        with pytest.raises(UserError, match=f"precision={precision}: Tesla V100 .* lacks it"):
            execution.choose_precision(precision, torch.device("cuda"))
    monkeypatch.setattr(execution.logger, "propagate", True)
    for lacks in (False, True):
        monkeypatch.setattr(execution, "has_bf16", lambda lacks=lacks: not lacks)
        execution.choose_precision("bf16", CPU)
        assert ("no bf16 arithmetic" in caplog.text) == lacks


def test_the_largest_group_that_fits_is_found_by_trying(config, monkeypatch):
    tried = []

    def network_loop(part, execution):
        tried.append(part.recipe.batch_size)
        while True:
            if part.recipe.batch_size > 12:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield

    monkeypatch.setattr(fitting, "network_loop", network_loop)
    config = changed(config, recipe={"batch_size": 64, "bn_batch": 64})
    assert fitting.largest_group(config) == 8
    assert tried == [32, 16, 8]


def full():
    raise torch.OutOfMemoryError("CUDA out of memory")
    yield


def test_as_many_runs_as_train_fastest_together(config, monkeypatch):
    """Two at once are twice as fast, three little faster than two; six do not fit."""
    per_second = {1: 100.0, 2: 200.0, 3: 230.0, 4: 231.0}

    def together(works, device):
        if len(works) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        while True:
            yield len(works)

    def iterate(loop, number, device):
        works = next(loop)
        return works / per_second[works]

    monkeypatch.setattr(fitting, "together", together)
    monkeypatch.setattr(fitting, "iterate", iterate)
    long = changed(config, recipe={"iterations": 64_000})
    assert fitting.best_number(long, 30) == 3
    assert fitting.best_number(long, 2) == 2
    per_second[4] = 300.0
    assert fitting.best_number(long, 30) == 4
    assert fitting.best_number(changed(config, recipe={"iterations": 100}), 30) == 1
    per_second.clear()
    monkeypatch.setattr(fitting, "together", lambda works, device: full())
    assert fitting.best_number(long, 30) == 1, "the run itself says that memory is full"


def test_the_floor_of_a_network_counted_by_hand(config):
    """A network of three layers: what is computed and moved, at one unit of time for each."""
    model = ModelConfig(name="cifar_resnet", depth=8, shortcut="A", width=4, num_classes=10)
    config = changed(config, recipe={"batch_size": 16})
    config = replace(config, model=model)
    size = measure(config)
    # 16 x 16 pixels: three maps of 4 channels, two of 8 on 8 x 8, two of 16 on 4 x 4; ten classes.
    activations = 3 * 4 * 256 + 2 * 8 * 64 + 2 * 16 * 16 + 10
    assert size.activations == activations
    arithmetic = 3 * 2 * 16 * size.multiply_adds
    moved = 5 * 4 * 16 * activations + 6 * 4 * size.params
    assert floor_seconds(config, size, Rates(1.0, 1e12)) == (arithmetic, "arithmetic")
    assert floor_seconds(config, size, Rates(1e12, 1.0)) == (moved, "memory")
    half = changed(config, recipe={"precision": "bf16"})
    moved -= 5 * 2 * 16 * activations
    assert floor_seconds(half, size, Rates(1e12, 1.0)) == (moved, "memory")


class Here:
    """In place of `Workers`: the same loops by turns in this process, which starts at once."""

    def __init__(self, make, arguments, device):
        make = variants._ours if make is variants._shared else make
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
        ("fp32", Here),
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
    monkeypatch.setattr(roofline, "REPEATS", 1)
    for name, value in {"ROUND_SECONDS": 0.01, "SETTLE_SECONDS": 0.0, "ROUNDS": 2}.items():
        monkeypatch.setattr(rounds, name, value)
    words = "recipe.bn_batch=8", "format=json"
    outcome = run_cli("bench", *SMALL, *words)
    assert outcome.code == 0, outcome.err
    assert "no compiler here" in outcome.err
    made = json.loads(outcome.out[outcome.out.index("{") :])
    lines = {line["way"]: line for line in made["lines"]}
    expected = {
        "usual loop",
        "fp32, channels_last",
        "fp32, without channels_last",
        "fp32, with recompute=8",
        "fp32, 2 runs in processes",
        "fp32, 1 run by 2 processes",
    }
    if precision == "bf16":
        expected |= {
            "bf16, eager",
            "bf16, with channels_last",
            "bf16, with recompute=8",
            "bf16, 2 runs in processes",
            "bf16, 1 run by 2 processes",
        }
    assert lines.keys() == expected
    seconds = lines["usual loop"]["timing"]["seconds"]
    for way, line in lines.items():
        if way.startswith("bf16"):  # beside which the usual loop was timed anew
            assert line["of_usual"] > 0
        else:
            assert line["of_usual"] == pytest.approx(seconds / line["timing"]["seconds"]), way
        assert line["timing"]["lowest"] <= line["timing"]["seconds"] <= line["timing"]["highest"]
        assert line["floor"] > 0
    folder = tmp_path / "results/benchmarks"
    assert "times usual" in (folder / "training-cpu.md").read_text()
    assert json.loads((folder / "training-cpu.json").read_text()) == {"measurements": [made]}


def test_the_bench_keeps_what_other_calls_measured(run_cli, tmp_path, monkeypatch):
    """Another row, another table and other settings are kept; the same row is replaced."""
    rates = {"fp32": Rates(1e9, 1e9)}
    seconds = iter(range(1, 9))

    def bench_row(name, config, known):
        known.update(rates)
        timed = rounds.Timing(1.0 * next(seconds), 1.0, 9.0, 1.0)
        return [rows.Line(name, "fp32", timed, 128, None, 0.5, "memory")]

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
    assert "move it away" in outcome.err
    assert path.read_text() == "{}"


def test_the_profile_of_both_loops_side_by_side(tmp_path, monkeypatch, capsys):
    """Of the script, with both loops in this process: which operators there are, not how fast."""
    loader = SourceFileLoader("benchmark_profile", str(ROOT / "scripts/benchmark_profile"))
    script = ModuleType(loader.name)
    loader.exec_module(script)

    def settings(options, real=script.settings):
        small = {"batch_size": 16, "bn_batch": 8}
        return {name: changed(each, recipe=small) for name, each in real(options).items()}

    def in_this_process(words, row, way):
        options = SimpleNamespace(experiment="quickstart", rows=[row], precision="fp32")
        return script.profile(settings(options)[row], way, 2)

    monkeypatch.setattr(script, "settings", settings)
    monkeypatch.setattr(script, "in_fresh_process", in_this_process)
    monkeypatch.setattr(script, "measure_rates", lambda *_: Rates(1e9, 1e9))
    monkeypatch.setattr(baseline, "num_cores", lambda: 1)
    words = ["--experiment=quickstart", "--rows", "ResNet-8", "--iterations", "2"]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--json", str(tmp_path / "profile.json")])
    script.main()
    profiles = json.loads((tmp_path / "profile.json").read_text())["profiles"]["ResNet-8"]
    for way in ("usual loop", "ours"):
        parts = profiles[way]
        total = parts.pop("total")
        assert total > 0
        assert parts["mkldnn_convolution"] > 0 or parts["convolution"] > 0
        assert any("batch_norm" in operator for operator in parts)
    assert "wait for the loader" in profiles["usual loop"]
    assert "wait for the loader" not in profiles["ours"]
    assert "| all " in capsys.readouterr().out


def test_loops_in_processes_of_their_own():
    """Each does what is asked of it; one that lacks memory, or dies, is not waited for."""
    both = Workers(endless, [(), (torch.OutOfMemoryError("12 GiB"), 4)], CPU)
    with closing(both):
        both.iterate(3)
        both.iterate(1)
        with pytest.raises(torch.OutOfMemoryError, match="12 GiB"):
            both.iterate(1)
        with pytest.raises(EOFError):  # a loop that has failed has no next iteration
            both.iterate(1)


def test_on_a_cpu_memory_is_counted_before_it_is_taken(config, monkeypatch, caplog):
    monkeypatch.setattr(execution, "_try_compiler", lambda device: None)
    monkeypatch.setattr(variants, "num_cores", lambda: 2)
    monkeypatch.setattr(variants, "available_bytes", lambda: 2 * training_bytes(config))
    config = changed(config, recipe={"bn_batch": config.recipe.batch_size // 2})
    made = variants.make_ways(config, timing.random_images(config, 10))
    assert [name for name, way in made.items() if isinstance(way.loop, Workers)] == []
    assert "usual loop: left out, for want of memory" in caplog.text
    assert "2 processes: left out, for want of memory" in caplog.text


def test_ways_that_lack_memory_are_left_out(monkeypatch, caplog):
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 0.01)
    loops = {"small": endless(), "large": endless(torch.OutOfMemoryError("12 GiB"))}
    assert rounds.time_loops(loops, CPU).keys() == {"small"}
    assert "large: left out" in caplog.text


def test_batch_norm_is_torchs(config):
    ours = build_model(config.model).stem.bn
    theirs = nn.BatchNorm2d(4)
    x = torch.randn(8, 4, 3, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_the_memory_of_training_is_counted_without_computing(config):
    """As the tensors that autograd really keeps; blocks computed again keep less."""
    weights = sum(t.nbytes for t in build_model(config.model).state_dict().values())
    kept = {}
    model = build_model(config.model).train()
    own = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(torch.randn(8, 3, 16, 16))
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert logits.shape == (8, 10)
    assert training_bytes(config) == 3 * weights + activations
    deep = changed(config, model={"depth": 38})
    for segment in (1, 3):
        less = changed(deep, compute={"recompute": segment})
        assert training_bytes(less) < 0.6 * training_bytes(deep)


def test_the_readme_shows_what_was_measured():
    (rates,) = (
        {(line["row"], line["way"]): line for line in made["lines"]}
        for made in json.loads((PUBLISHED / "benchmarks/training-cpu.json").read_text())[
            "measurements"
        ]
        if made["experiment"] == "cifar_depth"
    )
    lines = [
        row for row in (ROOT / "README.md").read_text().splitlines() if row.startswith("| ResNet-")
    ]
    shown = {cells[1]: cells[2:-1] for cells in ([c.strip() for c in r.split("|")] for r in lines)}
    for network in ("ResNet-20", "ResNet-56", "ResNet-110"):
        measured = []
        for way in (
            "usual loop",
            "fp32, channels_last",
            "fp32, 2 runs in processes",
            "fp32, 1 run by 2 processes",
        ):
            line = rates[network, way]
            measured.append(f"{line['batch_size'] / line['timing']['seconds']:.0f}")
            measured.append(f"{line['of_usual']:.2f}")
        del measured[1]  # the usual loop's, 1.00
        assert shown[network] == measured
