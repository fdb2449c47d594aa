"""Builds the C++ of this folder with the machine's compiler, once: a cache keeps the library."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from resnet_repro.files import cache_folder, exclusive_lock, write_atomically
from resnet_repro.kernels.errors import KernelsError

logger = logging.getLogger("resnet_repro")

SOURCES = sorted(Path(__file__).parent.glob("[!.]*.cpp"))
# g++ first: its OpenMP is the one that torch has on Linux, and Clang's is not.
COMPILERS = ("g++", "c++", "clang++")
REMEDY = "install g++, or set CXX to another compiler"
SECONDS = 300  # for the compiler, which takes 5 to 20
# Instructions by `torch.backends.cpu.get_cpu_capability()`: those of torch's own kernels here.
# Any machine of the capability can load the library, so those of a cluster can share a cache.
INSTRUCTIONS = {
    "AVX2": ["-mavx2", "-mfma", "-mf16c"],
    "AVX512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c"],
}


def load() -> ctypes.CDLL:
    """Return the library, built before if the cache lacks it.

    Raises:
        KernelsError: There is no compiler, it fails, or the cache cannot be written.
    """
    try:
        path = cache_folder() / f"kernels-{_digest()}.so"
        found = _loaded(path)
        if found is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(path.with_suffix(".lock")):  # several processes may start at once
                found = _loaded(path) or _build(path)
    except OSError as error:
        raise KernelsError(
            f"{error.filename or cache_folder()} cannot be written: {error.strerror}"
        ) from error
    return found


def _digest() -> str:
    """Return a hash of all that the library depends on.

    Machines that share a cache may differ in their processors and C libraries.
    """
    sources = [source.read_bytes() for source in SOURCES]
    machine = platform.machine(), *platform.libc_ver()
    parts = [*sources, *map(str.encode, (*_flags(), torch.__version__, *machine))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _loaded(path: Path) -> ctypes.CDLL | None:
    """Return a library of the cache; None if it is missing, damaged or cannot be loaded here."""
    if not _is_whole(path):
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def _is_whole(path: Path) -> bool:
    """Return whether a library is there as it was built: loading half of one kills the process."""
    try:
        made = hashlib.sha256(path.read_bytes()).hexdigest()
        return path.with_suffix(".sha256").read_text() == made
    except OSError:
        return False


def _flags() -> list[str]:
    capability = torch.backends.cpu.get_cpu_capability()
    flags = ["-std=c++20", "-O3", "-fPIC"]
    flags += ["-Xclang", "-fopenmp"] if platform.system() == "Darwin" else ["-fopenmp"]
    if capability in INSTRUCTIONS:
        flags += [f"-DCPU_CAPABILITY={capability}", f"-DCPU_CAPABILITY_{capability}"]
        return flags + INSTRUCTIONS[capability]
    return [*flags, "-DCPU_CAPABILITY=DEFAULT", "-DCPU_CAPABILITY_DEFAULT"]


def _build(path: Path) -> ctypes.CDLL:
    compiler = _compiler()
    logger.info("building the CPU kernels with %s, once ...", Path(compiler[0]).name)
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        library, objects = Path(folder, path.name), []
        for source in SOURCES:
            objects.append(str(Path(folder, source.stem + ".o")))
            include = [f"-I{root / 'include'}", "-c", str(source), "-o", objects[-1]]
            _call([*compiler, *_flags(), *include])
        # Not linked with -fopenmp: a second OpenMP beside torch's would fight it for the cores.
        linked = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
        if platform.system() == "Darwin":
            linked += ["-undefined", "dynamic_lookup"]
        _call([*compiler, "-shared", *objects, *linked, "-o", str(library)])
        if not library.is_file():
            raise KernelsError(f"{Path(compiler[0]).name} made no library")
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            why = _last_line(str(error)).removeprefix(f"{library}: ")
            name = Path(compiler[0]).name
            raise KernelsError(
                f"the library that {name} made cannot be loaded: {why}; {REMEDY}"
            ) from error
        made = hashlib.sha256(library.read_bytes()).hexdigest()
        library.replace(path)
        write_atomically(path.with_suffix(".sha256"), made)
    return ctypes.CDLL(str(path))


def _compiler() -> list[str]:
    """Return the command of the compiler: that in `CXX`, or the first that is installed."""
    asked = shlex.split(os.environ.get("CXX", ""))
    if asked:
        if shutil.which(asked[0]) is None:
            raise KernelsError(f"the compiler CXX={asked[0]} is not there")
        return asked
    for name in COMPILERS:
        found = shutil.which(name)
        if found:
            return [found]
    raise KernelsError("there is no C++ compiler; install g++")


def _call(command: list[str]) -> None:
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise KernelsError(f"{name} took longer than {SECONDS} s") from None
    except OSError as error:
        raise KernelsError(f"{name} cannot be started: {error.strerror}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        why = errors[0] if errors else _last_line(done.stderr)
        raise KernelsError(f"{name} fails: {why}; {REMEDY}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["without a word"])[-1]
