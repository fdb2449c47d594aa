"""The Triton kernels: values in Triton's interpreter, compilation, and both on a GPU."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from weakref import ref

import pytest
import torch

from resnet_repro.kernels import KernelsError, cpu, find_kernels
from resnet_repro.kernels.batch_norm import batch_norm_of_averages
from tests.support.kernels import FORMATS, Case, assert_alike, exact, results
from tests.support.training import GPU

triton = pytest.importorskip("triton", reason="Triton is not installed")

from resnet_repro.kernels import cuda  # noqa: E402

CUDA = torch.device("cuda")
MOST_SHARED = 99 * 1024  # bytes of shared memory that a program can have on any GPU since 8.6
FP32, BF16 = torch.float32, torch.bfloat16

# Before Triton 3.7 the interpreter's loops need a NumPy that turns arrays of one number into it.
LOOPS = tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 7)


@pytest.mark.skipif(not LOOPS, reason="Triton's interpreter is older than 3.7")
@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_values_in_tritons_interpreter(which):
    """In a process of its own, as Triton asks for the interpreter when it is imported."""
    file = Path(__file__).with_name("in_interpreter.py")
    words = ["-q", "-p", "no:cacheprovider", "--noconftest", "-m", which, str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.fixture
def launched(monkeypatch):
    """Return the launches, which compute nothing, of maps on the CPU."""
    found = []
    monkeypatch.setattr(cuda.TritonKernels, "takes", lambda self, x: True)
    monkeypatch.setattr(
        cuda,
        "_launch",
        lambda kernel, grid, *arguments, **named: found.append((kernel, arguments, named)),
    )
    return found


def test_a_pass_is_two_kernels_and_a_test_one(launched):
    case = Case((4, 16, 8, 8), groups=2)
    maps, vectors = case.maps(), case.vectors()
    results(case, maps, vectors, cuda.TritonKernels())
    with torch.no_grad():
        batch_norm_of_averages(*maps[:1], case.norm(vectors), maps[1], cuda.TritonKernels())
    assert [kernel.__name__ for kernel, *_ in launched] == [
        "sum_inputs", "normalise", "sum_gradients", "input_gradient", "normalise_by_averages",
    ]  # fmt: skip


def compiled(kernel, arguments, named, capability):
    """Compile a launch as Triton does: for its types, what divides by 16, and what is 1 or None."""
    signature, constants, attributes = {}, {}, {}
    values = kernel.signature.bind(*arguments, **named).arguments
    for number, parameter in enumerate(kernel.params):
        name, value = parameter.name, values[parameter.name]
        looks = not parameter.do_not_specialize
        if value is None or parameter.is_constexpr or (looks and type(value) is int and value == 1):
            signature[name], constants[number,] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = {FP32: "*fp32", BF16: "*bf16"}[value.dtype]
            attributes[number,] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
            if looks and isinstance(value, int) and value % 16 == 0:
                attributes[number,] = [["tt.divisibility", 16]]
    return triton.compile(
        triton.compiler.ASTSource(kernel, signature, constants, attributes),
        target=triton.backends.compiler.GPUTarget("cuda", capability, 32),
        options=cuda.OPTIONS,
    )


@pytest.mark.parametrize(
    ("capability", "form", "dtype"),
    [
        (90, "NHWC", BF16),
        pytest.param(80, "NCHW", FP32, marks=pytest.mark.slow),
        pytest.param(80, "NHWC", FP32, marks=pytest.mark.slow),  # a format and a type of the others
    ],
)
def test_kernels_compile_without_a_gpu(launched, capability, form, dtype):
    """For maps of a CIFAR network: its stages share them, but for those of 16 channels."""
    kernels = cuda.TritonKernels()
    case = Case((32, 32, 16, 16), groups=2, format=form, dtype=dtype)
    maps, vectors = case.maps(), case.vectors()
    results(case, maps, vectors, kernels)
    kernels.evaluate(maps[0], maps[1], case.norm(vectors))
    for kernel, arguments, named in launched:
        made = compiled(kernel, arguments, named, capability)
        assert made.metadata.shared <= MOST_SHARED
        assert f"sm_{capability}" in made.asm["ptx"]
        # Maps are read by 16 bytes for a thread, where a position's channels are a power of 2.
        assert "ld.global.v4.b32" in made.asm["ptx"]


def test_why_there_are_no_kernels_is_said(monkeypatch):
    monkeypatch.setattr(cuda, "_found", cuda._found.__wrapped__)  # nothing is kept
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 0))
    with pytest.raises(KernelsError, match="Triton does not compile for Tesla P100"):
        find_kernels(CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    for check, message in (
        (lambda *_: False, "what Triton compiled computes wrong values"),
        (lambda *_: 1 / 0, r"Triton does not work here \(division by zero\)"),
    ):
        monkeypatch.setattr(cuda, "are_right", check)
        with pytest.raises(KernelsError, match=message):
            find_kernels(CUDA)
    monkeypatch.setitem(sys.modules, "resnet_repro.kernels.cuda", None)
    with pytest.raises(KernelsError, match="Triton cannot be imported"):
        find_kernels(CUDA)


@pytest.mark.parametrize("device", [torch.device("cpu"), CUDA], ids=str)
def test_kernels_that_are_not_there_keep_no_memory_of_the_runs_that_asked(monkeypatch, device):
    """A kept error would keep its traceback: every run's network, in memory of a GPU."""
    module = cuda if device.type == "cuda" else cpu
    monkeypatch.setattr(module, "_found", cache(module._found.__wrapped__))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    for name in ("are_right", "load"):
        monkeypatch.setattr(module, name, fails, raising=False)

    def ask():
        network = torch.nn.ReLU()
        with suppress(KernelsError):
            find_kernels(device)
        return ref(network)

    assert [ask()() for _ in range(2)] == [None, None]


def fails(*_):
    raise KernelsError("they do not work")


def test_maps_of_other_kinds_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    x = torch.zeros(2, 3, 4, 4)
    takes = cuda.TritonKernels().takes
    assert all(
        takes(x.to(dtype, memory_format=f)) for dtype in (FP32, BF16) for f in FORMATS.values()
    )
    assert not takes(x.half())
    assert not takes(x[:, :, ::2])


GPU_CASES = [
    *(
        Case(shape, groups, form, dtype)
        for dtype in (FP32, BF16)
        for form in FORMATS
        for groups, shape in ((1, (128, 16, 32, 32)), (4, (128, 64, 8, 8)), (2, (64, 37, 7, 7)))
    ),
    Case((32, 64, 112, 112), groups=1, dtype=BF16, added=False, second=False),
    Case((128, 2048, 8, 8), groups=8, dtype=BF16, relu=False),
    Case((64, 256, 16, 16), groups=2, added=False, relu=False),
    Case((64, 256, 16, 16), groups=2, format="NCHW", mean=1000, std=0.1),
]


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("case", GPU_CASES, ids=str)
def test_values_on_a_gpu_are_those_of_plain_torch_and_repeat_themselves(case):
    kernels = find_kernels(CUDA)
    maps, vectors = case.maps(CUDA), case.vectors(CUDA)
    # What rounding can move across the ReLU's threshold has no gradient.
    certain = exact(replace(case, relu=False), maps, vectors)["y"].abs() > 1e-3
    maps[2:] = [grad * certain for grad in maps[2:]]
    ours, theirs = results(case, maps, vectors, kernels), exact(case, maps, vectors)
    tolerance = {FP32: 1e-5, BF16: 1e-2}[case.dtype] if case.std == 1 else 1e-3
    assert_alike(ours, theirs, tolerance=tolerance)
    once_more = results(case, maps, vectors, kernels)
    assert all(torch.equal(ours[name], once_more[name]) for name in ours)
