"""SLURM on this machine, for the tests marked `slurm`: real daemons, two made-up nodes."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
# Two partitions over the same nodes: jobs in `first` put those in `any` back into the queue.
CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MaxArraySize=3
JobRequeue=1
KillWait=5
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 \
Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=any Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=first Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=2
"""


def why_not() -> str | None:
    """Return what is missing."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "the daemons want to be root's"


@contextmanager
def toy_slurm(folder: Path) -> Iterator[None]:
    """Run SLURM in a folder, for programs whose SLURM_CONF is `slurm.conf` there."""
    host, first = socket.gethostname().split(".")[0], _free_ports(3)
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, ports=[first, first + 1, first + 2]))
    files = [f"--{name}={folder}/munge.{name.split('-')[0]}"
             for name in ("socket", "pid-file", "log-file", "seed-file")]  # fmt: skip
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", *files],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-N", "n1"],
        ["slurmd", "-D", "-N", "n2"],
    ]
    with ExitStack() as stack:
        for number, command in enumerate(commands):
            log = stack.enter_context((folder / f"{number}-{command[0]}.log").open("w"))
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            if number == 0:
                _wait(lambda: (folder / "munge.socket").exists(), "munged")
        try:
            _wait(
                lambda: _say("sinfo", "-h", "-p", "any", "-t", "idle", "-o", "%D") == "2", "nodes"
            )
            yield
        finally:
            _say("scancel", "--user=root")
            _wait(lambda: _say("squeue", "-h") == "", "an empty queue")


def _say(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _wait(done, what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"SLURM on this machine: no {what} within {seconds} s")
        time.sleep(0.2)


def _free_ports(number: int) -> int:
    """Return the first of some ports in a row that nobody listens on."""
    while True:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
            try:
                sockets[0].bind(("127.0.0.1", 0))
                first = int(sockets[0].getsockname()[1])
                for port, each in enumerate(sockets[1:], first + 1):
                    each.bind(("127.0.0.1", port))
            except (OSError, OverflowError):  # the next one is taken, or there is none
                continue
            return first
