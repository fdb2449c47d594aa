"""The entry point of the command line: a verb, and Hydra's `key=value` settings.

Only verbs that need torch import it, so that `--help` and `table` are quick.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from resnet_repro import __version__
from resnet_repro.cli.completion import FLAGS, complete
from resnet_repro.cli.help import asked_help
from resnet_repro.cli.line import SHOWING, expand
from resnet_repro.cli.output import check_format, collected, reserve_stdout
from resnet_repro.cli.plugins import load_named
from resnet_repro.cli.selection import check_selection
from resnet_repro.cli.verbs import (
    BY_STATE,
    CHECKS,
    DISTRIBUTED,
    VERBS,
    WITH_BUDGET,
    WRITING,
    Verb,
)
from resnet_repro.distributed.started import is_silent
from resnet_repro.errors import INTERRUPTED, UserError, nearest, shortage
from resnet_repro.plan import is_published
from resnet_repro.process import prepare_process
from resnet_repro.settings.files import check_named
from resnet_repro.settings.groups import CONF, folders
from resnet_repro.settings.mistakes import MISTAKES, about_null, explain
from resnet_repro.settings.schema import Schema
from resnet_repro.settings.sweep import typed
from resnet_repro.settings.words import at_home
from resnet_repro.visible import VisibleFormatter, VisibleOutput, visible

logger = logging.getLogger("resnet_repro")

PIPE_CLOSED = 141  # a shell's exit code for a program that was stopped by SIGPIPE
UNREAD = (errno.EPIPE, errno.EIO)  # errors of a pipe or terminal whose other end is closed
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # of a path
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Console(logging.Handler):
    """Prints lines above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        file = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        try:
            tqdm.write(self.format(record), file=file)
        except OSError as error:  # nobody reads it; the run continues, and has its own log file
            if error.errno not in UNREAD:
                raise


def main() -> int:
    """Run the command line; return the exit code.

    A user's mistake gets a message of one or two lines; other errors keep their traceback.
    """
    prepare_process()
    logger.handlers, logger.propagate = [_Console(logging.INFO)], False
    logger.handlers[0].setFormatter(VisibleFormatter())
    logger.setLevel(logging.DEBUG)  # for the log file of a run
    # Pictures are drawn to files, without the user's settings, which may be wrong.
    os.environ.pop("MPLBACKEND", None)
    if not os.environ.get("RESNET_REPRO_DATA"):  # an empty one would be the working directory
        os.environ.pop("RESNET_REPRO_DATA", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Makes Hydra raise errors that it would print, so that we can print shorter ones.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    ConfigStore.instance().store(name="schema", node=Schema)
    with redirect_stdout(VisibleOutput(sys.stdout) if sys.stdout else None):
        return _main()


def _main() -> int:
    OmegaConf.register_new_resolver("at_home", at_home, replace=True)
    words = sys.argv[1:]
    try:
        if (page := asked_help(words)) is not None:
            print(page, end="")
            return 0
        if "--version" in words:
            print(f"resnet-repro {__version__}")
            return 0
        if words and words[0].partition("=")[0] in FLAGS:
            return _complete(words)
        with collected():
            lines = expand(words, VERBS)
            for line in lines if len(lines) > 1 and not SHOWING & {*lines[0]} else []:
                _run(line, CHECKS)  # before the first trains for hours
            return max(_run(line) for line in lines)
    except MISTAKES as error:
        print(f"resnet-repro: {visible(explain(error, folders(words)))}", file=sys.stderr)
    except BrokenPipeError:
        return _stop_printing()
    except (AssertionError, AttributeError) as error:
        # OmegaConf's errors for a.b=1 and a={b: 1} where a is null do not have the key.
        if not re.search("Unexpected type for root|'get'\n *full_key: ", str(error)):
            raise
        print(f"resnet-repro: {visible(about_null(words, folders(words)))}", file=sys.stderr)
    except OSError as error:  # before the task starts: of a folder that is looked for, or made
        if error.filename is None or error.errno not in UNUSABLE:
            raise
        print(f"resnet-repro: {visible(_about_access(error))}", file=sys.stderr)
    except KeyboardInterrupt as error:
        if not is_silent():
            print(f"resnet-repro: {visible(str(error)) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    return 1


def _run(words: list[str], verbs: Mapping[str, Verb] = VERBS) -> int:
    """Compose the configuration with Hydra and run its verb, several times with `-m`.

    Args:
        words: The command line, as Hydra reads it.
        verbs: What is called for each verb; nothing for one that is not in it.
    """
    codes = [0]
    mistakes: list[Exception] = []  # kept from Hydra, which would print more than the message
    has_started = False
    home = os.getpid()  # Hydra's launchers run the task in other processes

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def task(config: DictConfig) -> None:
        nonlocal has_started
        has_started = True
        try:
            for key in ("results", "weights", "pack"):
                if config[key]:
                    config[key] = at_home(config[key])
            verb = _verb(config)
            load_named(config)
            if verb in verbs and (verb in DISTRIBUTED or not is_silent()):
                with reserve_stdout(config.format):
                    codes.append(verbs[verb](config))
        except MISTAKES as error:
            mistakes.append(_without_frames(error))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in UNREAD and error.filename is None:
                codes.append(_stop_printing())
            else:
                mistakes.append(_without_frames(_about_machine(error, Path(config.results))))
        if os.getpid() != home and (mistakes or max(codes)):  # which only an exception tells home
            texts = [explain(each, folders(words)) for each in mistakes]
            raise UserError("\n".join(texts) or f"a job ended with exit code {max(codes)}")

    try:
        os.getcwd()  # noqa: PTH109 - as Hydra asks
    except OSError as error:
        raise UserError(
            f"the working directory cannot be used ({error.strerror}; was it deleted?): cd to an "
            f"existing folder and run the same command again"
        ) from error
    check_named(words, folders(words))  # Hydra seldom says which file is not right, and where
    command, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        task()
    except SystemExit as error:  # from Hydra's flags, after a message
        return 1 if error.code else 0
    except Exception as error:
        if not has_started and isinstance(error, ValueError) and "--cfg" in str(error):
            raise UserError(str(error)) from error  # flags that exclude each other
        raise
    finally:
        sys.argv = command
    if mistakes:
        raise UserError("\n".join(explain(each, folders(words)) for each in mistakes))
    return max(codes)


def _without_frames(error: Exception) -> Exception:
    """Return an error that is kept while other jobs run; its frames hold a network."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def _complete(words: list[str]) -> int:
    """Print completions for the shell, from Hydra where we have none."""
    answer = complete(words, list(VERBS))
    if answer is None:
        out = io.StringIO()
        with redirect_stdout(out):
            _run(words)
        answer = out.getvalue()
        if "query=" in " ".join(words):
            answer = "".join(f"{each}\n" for each in answer.split())
    print(answer, end="")
    return 0


def _stop_printing() -> int:
    """Discard further output, as its reader is gone: `resnet-repro table ... | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def _about_machine(error: Exception, results: Path) -> UserError:
    """Return a message about a problem of the machine that the user can fix; raise others."""
    lacks = shortage(error)
    if lacks:
        return UserError(
            f"{lacks}. Check `ulimit -v` for a memory limit; a smaller recipe.bn_batch, or a "
            f"smaller evaluation.batch_size for tests, needs less."
        )
    if not isinstance(error, OSError):
        raise error
    return _about_files(error, results)


def _about_files(error: OSError, results: Path) -> UserError:
    """Return a message about a disk or folder that the user can fix; raise other errors."""
    if error.errno in DISK_FULL:
        return UserError(
            f"{error.strerror}: what was saved before is intact.\n"
            f"Free some space or set results=DIR on another disk, then run the same command again."
        )
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path and (results in [path, *path.parents] or path.absolute() in results.absolute().parents):
        return UserError(f"{error.strerror}: {path}. Set results=DIR to a folder you can write to.")
    if path and isinstance(error, PermissionError):
        return UserError(_about_access(error))
    raise error


def _about_access(error: OSError) -> str:
    remedy = "ask its owner for access, or use another path"
    if not isinstance(error, PermissionError):
        remedy = "use another path"
    return f"{os.fsdecode(error.filename)} cannot be used ({error.strerror}): {remedy}"


def _verb(config: DictConfig) -> str:
    if config.mode not in VERBS:
        raise UserError(f"there is no verb {config.mode}{nearest(config.mode, VERBS)}")
    if config.budget is not None and config.mode not in WITH_BUDGET:
        raise UserError("budget= works with `run` and `plan` only")
    if config.state is not None and config.mode not in BY_STATE:
        raise UserError(f"state= works with {', '.join(BY_STATE)} only")
    if config.weights is not None and config.mode != "import":
        raise UserError(
            "weights= works with `import` only; a training that has steps starts from a file with "
            "steps.NAME.weights=FILE"
        )
    for key in ("pack", "with_weights"):
        if config[key] and config.mode != "collect":
            raise UserError(f"{key}= works with `collect` only")
    if config.mode in WRITING and is_published(Path(config.results)):
        raise UserError(
            f"{config.results} is for published results, and `{config.mode}` does not write there: "
            f"set another results=DIR; in a checkout, `scripts/publish NAME` publishes your results"
        )
    check_selection(config.mode, config, typed(HydraConfig.get().overrides.task))
    check_format(config.mode, config.format)
    return str(config.mode)
