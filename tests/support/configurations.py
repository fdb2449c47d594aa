"""Configurations that were composed, kept: half of the time of most tests would go there."""

import hashlib
import os
import pickle
from contextlib import suppress
from functools import cache, wraps
from inspect import signature
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.conf import ConfigSourceInfo
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from resnet_repro.cli import compose as ours
from resnet_repro.settings import files
from resnet_repro.settings.groups import CONF

_kept: dict[tuple, bytes] = {}
_read: dict[tuple, bytes] = {}
_checked: dict[bytes, bytes] = {}
_merged: dict[tuple, bytes] = {}
_shared: list[Path] = []


def share_configurations(tmp_path_factory):
    """Keep them also in files, from which the other processes of pytest-xdist read them."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        _shared[:] = [tmp_path_factory.getbasetemp().parent / "configurations"]
        _shared[0].mkdir(exist_ok=True)


def keep_configurations():
    """Have Hydra and our own composer compose once what the same words ask of the same files."""
    by_hydra, by_us = ConfigLoaderImpl.load_configuration, ours.compose_shipped
    arguments = signature(by_hydra)

    @wraps(by_hydra)
    def load(self, *args, **options):
        asked = arguments.bind(self, *args, **options)
        asked.apply_defaults()
        if not _sweeps(tuple(asked.arguments["overrides"])):  # the kind of run does not matter then
            alike = {"run_mode": RunMode.RUN, "from_shell": True, "validate_sweep_overrides": True}
            asked.arguments.update(alike)
        what = repr(list(asked.arguments.items())[1:])
        config = _composed(self, what, lambda: by_hydra(*asked.args, **asked.kwargs))
        config.hydra.runtime.cwd = str(Path.cwd())
        config.hydra.runtime.config_sources = [
            ConfigSourceInfo(path=each.path, schema=each.scheme(), provider=each.provider)
            for each in self.get_sources()
        ]
        return config

    @wraps(by_us)
    def compose_shipped(name):
        loader = GlobalHydra.instance().config_loader()
        return _composed(loader, name, lambda: by_us(name))

    ConfigLoaderImpl.load_configuration, ours.compose_shipped = load, compose_shipped
    _read_files_once()
    _check_files_once()
    _merge_files_once()


def _read_files_once():
    """Have Hydra parse a file once as long as its content stays the same."""
    real = ConfigRepository.load_config

    @wraps(real)
    def load_config(self, config_path):
        content = _content(self, config_path)
        if content is None:
            return real(self, config_path)
        key = config_path, content
        if key not in _read:
            _read[key] = pickle.dumps(real(self, config_path))
        return pickle.loads(_read[key])

    ConfigRepository.load_config = load_config


def _check_files_once():
    """Have our own checks parse a file once; one that is wrong is read anew, with its name."""
    real = files._read

    @wraps(real)
    def read(path):
        try:
            content = path.read_bytes()
        except OSError:
            return real(path)
        if content not in _checked:
            _checked[content] = pickle.dumps(real(path))
        return pickle.loads(_checked[content])

    files._read = read


def _merge_files_once():
    """Have Hydra merge the same files once, whatever is typed besides."""
    real = ConfigLoaderImpl._compose_config_from_defaults_list

    @wraps(real)
    def merge(self, defaults, repo):
        key = tuple(
            (
                each.config_path,
                each.package,
                each.primary,
                _content(repo.delegate, each.config_path),
            )
            for each in defaults
        )
        if key not in _merged:
            _merged[key] = pickle.dumps(real(self, defaults=defaults, repo=repo))
        return pickle.loads(_merged[key])

    ConfigLoaderImpl._compose_config_from_defaults_list = merge


def _content(repository, path):
    """Return the content of a file of settings; None of what is no file, and never changes."""
    source = repository._find_object_source(config_path=path, object_type=ObjectType.CONFIG)
    if source is None or source.scheme() != "file":
        return None
    return Path(source.path, source._normalize_file_name(path)).read_bytes()


@cache
def _sweeps(words):
    """Return whether words ask for several values of a setting, or cannot be read."""
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except HydraException:
        return True
    return any(override.is_sweep_override() for override in overrides)


def _composed(loader, what, compose):
    key = what, *(_files(source, what) for source in loader.get_sources())
    if key not in _kept:
        _kept[key] = pickled_once(key, compose)
    return pickle.loads(_kept[key])


def pickled_once(key, make):
    """Return what is made, pickled; made if no process has."""
    if not _shared:
        return pickle.dumps(make())
    path = _shared[0] / hashlib.sha256(repr(key).encode()).hexdigest()
    if path.is_file():
        return path.read_bytes()
    made = pickle.dumps(make())
    with suppress(OSError):  # a test may have a full disk
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(made)
        temporary.replace(path)
    return made


def _files(source, what):
    """Return the files of a source, but for experiments that nobody asks for.

    No test writes into the folder of ours. Folders of the same files are alike wherever they are.
    """
    root = Path(source.path)
    if source.scheme() != "file" or root == CONF:
        return source.provider, source.path
    every = sorted(path for path in root.rglob("*") if path.is_file())
    files = [path for path in every if path.parent.name != "experiment" or path.stem in str(what)]
    return source.provider, *((str(path.relative_to(root)), path.read_bytes()) for path in files)
