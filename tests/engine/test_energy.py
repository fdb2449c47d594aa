"""The energy of a GPU."""

import sys
from types import SimpleNamespace

import torch

from resnet_repro.engine import energy
from tests.support.training import CPU


def test_energy_is_the_gpus_counter_and_each_run_pays_its_part(monkeypatch):
    assert energy.Meter(CPU, 1, lambda: 0.0, 0.0).joules() is None
    counter = iter([5_000.0, 9_000.0])  # millijoules
    driver = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetTotalEnergyConsumption=lambda name: next(counter) if name == "GPU-x" else 0,
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="x")
    )
    seconds = iter([100.0, 110.0])
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    charged = iter([0.0, 5.0])  # of the ten seconds that pass: two runs share the GPU
    meter = energy.Meter(torch.device("cuda"), 1, lambda: next(charged), 30.0)
    assert meter.joules() == 30.0 + 2.0
