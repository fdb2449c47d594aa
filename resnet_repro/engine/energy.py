"""The energy that a run uses on its GPU, if the driver reports it."""

import time
from collections.abc import Callable

import torch


def total_joules(device: torch.device) -> float | None:
    """Return the energy that a GPU has used since its driver was loaded, in joules.

    None on other devices, without the package nvidia-ml-py (`pip install nvidia-ml-py`),
    and if the GPU does not measure it.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        # By UUID: torch numbers the visible devices, the driver all of them.
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:
        return None


class Meter:
    """A run's share of the energy of its GPU.

    Args:
        device: This process's device.
        num_devices: The number of devices that compute the run; each is assumed to use the same.
        clock: The clock of the run's share of time: runs side by side share it equally.
        before: The energy of earlier sessions in joules; None if unknown.
    """

    def __init__(
        self,
        device: torch.device,
        num_devices: int,
        clock: Callable[[], float],
        before: float | None,
    ) -> None:
        self._device, self._num_devices = device, num_devices
        self._clock, self._before = clock, before
        self._begin = total_joules(device), clock(), time.perf_counter()

    def joules(self) -> float | None:
        """Return the run's energy over all sessions, in joules; None if a part is unknown."""
        joules, charged, wall = self._begin
        now = total_joules(self._device)
        if now is None or joules is None or self._before is None:
            return None
        passed = time.perf_counter() - wall
        share = min(1.0, (self._clock() - charged) / passed) if passed else 0.0
        return self._before + self._num_devices * share * (now - joules)
