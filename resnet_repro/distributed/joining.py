"""Joining and leaving a process group: of processes that we start, or a launcher."""

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from resnet_repro.distributed.group import Group
from resnet_repro.errors import UserError

logger = logging.getLogger("resnet_repro")

HERE = "127.0.0.1"
_joined = count()  # the groups of a launcher that this process has joined
WARN_SECONDS = 5.0
TIMEOUT_SECONDS = 300  # processes of one launch start within seconds of each other
PATIENCE = timedelta(hours=12)  # of a fast process at the end of a test, for slower ones
INTERFACES = (
    "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network interface that connects the nodes"
)
ON_NODES = f"\nMASTER_ADDR must be an address of rank 0's node for all nodes; or {INTERFACES}"


def listen() -> tuple[Store, int]:
    """Return the store at which processes that this one starts will meet, and its port.

    It listens as long as it is kept. A port that is only looked up may be taken by another program
    before the processes have started.
    """
    store = dist.TCPStore(HERE, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    return store, store.port


def join_here(group: Group, port: int, *, on_gpus: bool = True) -> None:
    """Join the process group whose store the process keeps that started this one.

    Args:
        group: This process's place in it.
        port: The store's port.
        on_gpus: Whether the group also exchanges tensors on GPUs, if there are any.
    """
    timeout = timedelta(seconds=TIMEOUT_SECONDS)
    store = dist.TCPStore(HERE, port, is_master=False, timeout=timeout)  # type: ignore[attr-defined]
    _start(group, store, on_gpus=on_gpus)


def join(group: Group, address: str, port: int, *, on_gpus: bool = True) -> None:
    """Join the process group of a launcher; log which processes are awaited if that takes long.

    Args:
        group: This process's place in it.
        address: The host of rank 0.
        port: The TCP port of rank 0.
        on_gpus: Whether the group also exchanges tensors on GPUs, if there are any.

    Raises:
        UserError: The other processes did not connect.
    """
    on_several_nodes = group.size > group.local_size
    if on_several_nodes and group.local_rank == 0:
        _warn_of_loopback()
    try:
        _start(group, _connect(group, address, port), on_gpus=on_gpus)
    except (dist.DistError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"process {group.rank} of {group.size} could not connect to the others at "
            f"{address}:{port}: {str(error).splitlines()[0]}{ON_NODES if on_several_nodes else ''}"
        ) from error


def _start(group: Group, store: Store, *, on_gpus: bool) -> None:
    num_gpus = torch.cuda.device_count() if on_gpus else 0
    if num_gpus:
        torch.cuda.set_device(group.local_rank % num_gpus)
    backend = "cpu:gloo,cuda:nccl" if num_gpus else "gloo"
    dist.init_process_group(
        backend, store=store, rank=group.rank, world_size=group.size, timeout=PATIENCE
    )


def _warn_of_loopback() -> None:
    """Warn if this node's name is an address of its own only, as Debian's installer sets it.

    gloo listens at the address of the node's name, unless it is given an interface.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    name, address = socket.gethostname(), ""
    with suppress(OSError):
        address = socket.gethostbyname(name)
    if address.startswith("127."):
        logger.warning(
            "%s has the address %s on this node, at which no other node finds it: %s",
            *(name, address, INTERFACES),
        )


def _connect(group: Group, address: str, port: int) -> Store:
    """Return rank 0's store once all processes are connected to it.

    Runs in a thread, because Python does not handle signals while torch waits.
    """
    found: list[Store | Exception] = []

    def connect() -> None:
        try:
            if not group.is_main:
                _wait_for_listener(address, port)
            store, _, _ = next(
                rendezvous(
                    f"tcp://{address}:{port}",
                    group.rank,
                    group.size,
                    timeout=timedelta(seconds=TIMEOUT_SECONDS),
                )
            )
            # torchrun's store outlives a group: another experiment's processes need other keys.
            found.append(dist.PrefixStore(f"{next(_joined)}", store))  # type: ignore[attr-defined]
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(WARN_SECONDS)
    if thread.is_alive():
        others = f"the other {group.size - 1}" if group.size > 2 else "the other one"
        logger.warning(
            "process %d of %d is waiting for %s at %s:%d, for at most %d s",
            *(group.rank, group.size, others if group.is_main else "process 0", address, port),
            TIMEOUT_SECONDS,
        )
        thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _wait_for_listener(address: str, port: int) -> None:
    """Wait until rank 0 listens; torch would wait too, but logs pages of errors meanwhile.

    Raises:
        OSError: Rank 0 did not start listening in time.
    """
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection((address, port), timeout=WARN_SECONDS).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
        time.sleep(0.1)


def leave() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
