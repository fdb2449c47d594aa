"""What a run takes of its GPU's energy, where the driver tells it."""

import time
from collections.abc import Callable

import torch


def total_joules(device: torch.device) -> float | None:
    """Return the energy that a GPU has taken since its driver was loaded, in joules.

    None on other devices, without the package nvidia-ml-py (`pip install resnet-repro[energy]`),
    and where the GPU does not count it.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        # By its name: torch counts visible devices, the driver counts all of them.
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:
        return None


class Meter:
    """A run's part of the energy of the GPU that it is on.

    Args:
        device: Of this process.
        num_devices: Others like it that compute the same run; each is taken to use as much.
        clock: Of the time that the run is charged with: of runs side by side, each pays its part.
        before: Joules of earlier sessions; None where they were not told.
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
        """Return what the run has taken, all sessions together; None where a part is not known."""
        joules, charged, wall = self._begin
        now = total_joules(self._device)
        if now is None or joules is None or self._before is None:
            return None
        passed = time.perf_counter() - wall
        share = min(1.0, (self._clock() - charged) / passed) if passed else 0.0
        return self._before + self._num_devices * share * (now - joules)
