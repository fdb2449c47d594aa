"""The environment of a session: what a number may depend on apart from its settings."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import torch

import resnet_repro
from resnet_repro.data import AnyData
from resnet_repro.data.images import Images
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.device import device_name
from resnet_repro.engine.execution import Execution
from resnet_repro.machine import cpu_name
from resnet_repro.settings.sweep import typed

PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "numpy")


def describe(execution: Execution, data: AnyData, group: Group = SINGLE_PROCESS) -> dict[str, Any]:
    """Describe this session: versions, machine, code, data and command."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["resnet-repro", *typed(sys.argv[1:])]),
        "resnet_repro": resnet_repro.__version__,
        **_git(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "device": device_name(execution.device),
        "execution": execution.describe(),
        **_decoder(execution, data),
        "processes": group.size,
        "data": data.checksum(),
        **_about(data),
        "num_train": len(data.train),
        "num_test": len(data.test),
    }


def _about(data: AnyData) -> dict[str, list[str]]:
    """Return what a table must say of the data, which sets of photographs with boxes know."""
    about = list(getattr(data, "about", ()))
    return {"about_data": about} if about else {}


def _decoder(execution: Execution, data: AnyData) -> dict[str, str]:
    """Return what decodes JPEGs of photographs; its version may matter to the last bit."""
    if isinstance(data.train, Images):  # whose checksum is of the pixels
        return {}
    from resnet_repro.data.decode import decode_jpeg  # imports Pillow

    name = "pillow" if decode_jpeg is None else "torchcodec"
    return {"decoder": f"{name} {version(name)}" + ", nvJPEG" * execution.decodes}


def _git() -> dict[str, Any]:
    """Return the code's commit and whether there are uncommitted changes, or why it is unknown."""
    top = Path(resnet_repro.__file__).parents[1]
    if not (top / ".git").exists():
        return _installed_from(top)
    # In a container the checkout may be another user's; in a git hook, GIT_* is another repository.
    mine = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def ask(*words: str) -> str:
        command = ["git", "-c", f"safe.directory={top}", "--no-optional-locks", "-C", str(top)]
        return subprocess.run(
            [*command, *words], capture_output=True, text=True, check=True, env=mine
        ).stdout.strip()

    try:
        return {
            "commit": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("status", "--porcelain", "--", "resnet_repro", "conf")),
        }
    except OSError:
        return {"no_commit": "git is not installed"}
    except subprocess.CalledProcessError as error:
        return {"no_commit": f"git: {error.stderr.strip().partition(chr(10))[0]}"}


def _installed_from(top: Path) -> dict[str, Any]:
    """Return the commit that pip installed the code from (PEP 610), if it did."""
    try:
        installed = distribution("resnet-repro")
        text = installed.read_text("direct_url.json")
        if text and Path(str(installed.locate_file("resnet_repro"))).parent == top:
            commit = json.loads(text).get("vcs_info", {}).get("commit_id")
            if commit:
                return {"commit": str(commit), "dirty": False}
    except (PackageNotFoundError, ValueError, AttributeError):
        pass
    return {"no_commit": "not a checkout"}
