"""What is built once by the machine's compiler, and what happens where that fails."""

import ctypes
import hashlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_repro.engine import execution
from resnet_repro.engine.execution import choose_execution
from resnet_repro.errors import UserError
from resnet_repro.kernels import KernelsError, build, cpu
from tests.support.kernels import NO_COMPILER
from tests.support.runs import changed


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a process that has not looked for kernels yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    forget()
    yield tmp_path / "cache" / "resnet-repro"
    forget()


def forget():
    cpu._found.cache_clear()
    execution._warn_once.cache_clear()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def without_compiler(_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def with_a_compiler_that_is_not_there(_cache, monkeypatch, _tmp_path):
    monkeypatch.setenv("CXX", "/no/such/compiler -O2")


def with_a_broken_compiler(_cache, monkeypatch, tmp_path):
    told = "echo 'cpu.cpp:13:10: fatal error: ATen/Parallel.h: No such file' >&2; exit 1"
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", told))


def with_a_compiler_that_makes_nothing(_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", "exit 0"))


def with_a_compiler_that_makes_nonsense(_cache, monkeypatch, tmp_path):
    wrote = 'for last; do :; done; echo nonsense > "$last"'
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", wrote))


def with_a_file_as_cache(cache, _monkeypatch, _tmp_path):
    cache.parent.write_text("")


def with_wrong_values(_cache, monkeypatch, _tmp_path):
    monkeypatch.setattr(build, "load", lambda: None)
    monkeypatch.setattr(cpu, "load", lambda: None)
    monkeypatch.setattr(cpu, "CpuKernels", lambda _library: None)
    monkeypatch.setattr(cpu, "are_right", lambda *_: False)


FAILURES = {
    without_compiler: "there is no C++ compiler; install g++",
    with_a_compiler_that_is_not_there: "the compiler CXX=/no/such/compiler is not there",
    with_a_broken_compiler: "cxx fails: cpu.cpp:13:10: fatal error: ATen/Parallel.h",
    with_a_compiler_that_makes_nothing: "cxx made no library",
    with_a_compiler_that_makes_nonsense: "the library that cxx made cannot be loaded",
    with_a_file_as_cache: "cannot be written: Not a directory",
    with_wrong_values: "computes wrong values",
}


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: each.__name__)
def test_where_kernels_fail_plain_torch_computes_and_one_line_says_why(
    failure, cache, config, monkeypatch, tmp_path, caplog
):
    failure(cache, monkeypatch, tmp_path)
    for _ in range(2):
        assert choose_execution(config).kernels is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("batch norm is computed by plain torch, which is slower: ")
    assert FAILURES[failure] in line
    assert "\n" not in line
    with pytest.raises(UserError, match=r"compute\.fused=true: .*; set compute\.fused=null"):
        choose_execution(changed(config, compute={"fused": True}))
    caplog.clear()
    assert choose_execution(changed(config, compute={"fused": False})).kernels is None
    plain = choose_execution(changed(config, compute={"channels_last": False}))
    assert (plain.kernels, plain.describe()) == (None, "eager")
    assert not caplog.records


def test_what_excludes_the_operator_is_said(config, monkeypatch):
    monkeypatch.setattr(execution, "_try_compiler", lambda device: None)
    for compute, reason in (
        ({"compile": True}, "not together with compute.compile=true"),
        ({"channels_last": False}, "on a CPU it needs compute.channels_last=true"),
    ):
        with pytest.raises(UserError, match=f"compute.fused=true: {reason}; set"):
            choose_execution(changed(config, compute={"fused": True, **compute}))
        assert choose_execution(changed(config, compute=compute)).kernels is None
    monkeypatch.setattr(execution, "find_kernels", lambda device: None)
    with pytest.raises(UserError, match="there are no kernels for cpu"):
        choose_execution(changed(config, compute={"fused": True}))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The library, in a cache of its own; built only where this machine's cache lacks it."""
    try:
        library = Path(build.load()._name)
    except KernelsError as error:
        if NO_COMPILER not in str(error):
            raise
        pytest.skip(NO_COMPILER)
    folder = tmp_path_factory.mktemp("cache") / "resnet-repro"
    folder.mkdir()
    for path in (library, library.with_suffix(".sha256")):
        shutil.copy(path, folder)
    return folder / library.name


def test_the_library_is_built_once_and_again_if_damaged(built, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(built.parent.parent))
    age = built.stat().st_mtime_ns
    monkeypatch.setenv("CXX", "false")  # not called
    build.load()
    assert built.stat().st_mtime_ns == age
    damaged = tmp_path / "elsewhere" / "resnet-repro"  # the first is loaded in this process
    damaged.mkdir(parents=True)
    (damaged / built.name).write_bytes(built.read_bytes()[:1000])
    monkeypatch.setenv("XDG_CACHE_HOME", str(damaged.parent))
    with pytest.raises(KernelsError, match="false fails"):
        build.load()
    # In place of the compiler, which takes long.
    copies = f'for last; do :; done; cp "{built}" "$last"'
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", copies))
    assert isinstance(build.load(), ctypes.CDLL)
    assert (damaged / built.name).stat().st_size == built.stat().st_size


def test_a_library_that_cannot_be_loaded_here_is_built_again_and_never_kept(
    built, monkeypatch, tmp_path
):
    """As one made where the C library is newer, or with an OpenMP that torch does not have."""
    folder = tmp_path / "elsewhere" / "resnet-repro"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent))
    foreign = folder / built.name
    foreign.write_bytes(b"of another system")
    foreign.with_suffix(".sha256").write_text(hashlib.sha256(b"of another system").hexdigest())
    monkeypatch.setenv(
        "CXX", script(tmp_path / "cxx", f'for last; do :; done; cp "{built}" "$last"')
    )
    assert isinstance(build.load(), ctypes.CDLL)
    foreign.unlink()
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", 'for last; do :; done; echo no > "$last"'))
    with pytest.raises(
        KernelsError, match=r"the library that cxx made cannot be loaded: .*install g"
    ):
        build.load()
    assert not foreign.exists()


LOADED = """
from pathlib import Path
from resnet_repro.kernels import build
build.load()
names = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
print(*(Path(name).resolve() for name in names if "omp" in Path(name).name), sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is loaded")
def test_no_second_openmp_is_loaded(built, monkeypatch):
    """It would compete with torch's for the cores, and each would spin while the other computes."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    assert len(set(done.stdout.split())) == 1, done.stdout
