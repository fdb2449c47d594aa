"""Where and how a run is computed; not part of the run's identity."""

import re
from dataclasses import dataclass

from resnet_repro.errors import require, require_choice


@dataclass(kw_only=True)
class ComputeConfig:
    """Where and how a run is computed; not part of the run's identity.

    Attributes:
        device: `auto` (cuda, else mps, else cpu) or a torch device name.
        threads: Number of CPU threads; null: the cores that are free at the start.
        processes: Processes that train one network, each on a slice of every mini-batch; null: one
            per visible GPU for photographs; on a CPU, for a single run, several if a short
            measurement finds them faster; otherwise one.
        workers: Image-reading processes per training process, for detectors threads; null: as many
            as its share of the CPU cores.
        decode: Where photographs are decoded: `cpu`; or `cuda`, on the GPU that trains, for a
            machine with too few cores. Views are the same, their pixels are not to the last bit:
            see `data.gpu_decode`. null: `cpu`, which gives the same pixels on all machines.
        deterministic: Use only bit-reproducible algorithms on CUDA (slower).
        channels_last: Use the channels-last memory format (N, H, W, C); null: where it is faster,
            on a CPU as a short measurement before a long run finds, elsewhere by device and
            precision.
        graph: Capture an iteration as a CUDA graph and replay it; null: where possible, on one GPU
            without dropout.
        compile: Compile the blocks of a classifier, once per shape (half a minute at the start).
        recompute: Number of a classifier's blocks per recomputed segment (activation
            checkpointing): less memory, a third more arithmetic; null: no recomputation.
        accumulate: Compute the batch-norm groups of a mini-batch one after the other and add up
            their gradients, in place of all at once: less memory, slower; null: where memory needs
            it.
        fused: Compute batch norm, addition and ReLU by one operator: C++ on a CPU, built once by
            the machine's compiler, and Triton on CUDA; null: where that works.
        runs_per_gpu: Number of runs that share each GPU; null: the fastest number in a short
            measurement. Without a GPU, the number of runs on the CPU; null: one, or one for each
            core, as is faster in a short measurement.
        log_every: Iterations between two measurements of the training error.
        save_minutes: Minutes between two checkpoints: the most work that a power cut can lose.
    """

    device: str = "auto"
    threads: int | None = None
    processes: int | None = None
    workers: int | None = None
    decode: str | None = None
    deterministic: bool = False
    channels_last: bool | None = None
    graph: bool | None = None
    compile: bool = False
    recompute: int | None = None
    accumulate: bool | None = None
    fused: bool | None = None
    runs_per_gpu: int | None = None
    log_every: int = 200
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) is not None,
            f"compute.device={self.device}: must be one of auto, cpu, cuda, cuda:1, mps",
        )
        if self.decode is not None:
            require_choice("compute.decode", self.decode, ("cpu", "cuda"))
        require(
            1 <= self.log_every <= 50_000,
            f"compute.log_every={self.log_every}: must be 1 to 50000 iterations",
        )
        require(
            self.save_minutes >= 0, f"compute.save_minutes={self.save_minutes}: must be 0 or more"
        )
        for name, least in (
            ("threads", 1),
            ("processes", 1),
            ("workers", 0),
            ("runs_per_gpu", 1),
            ("recompute", 1),
        ):
            value = getattr(self, name)
            require(
                value is None or value >= least, f"compute.{name}={value}: must be at least {least}"
            )
        require(
            (self.processes or 1) == 1 or ":" not in self.device,
            f"compute.processes={self.processes} needs several devices, but compute.device="
            f"{self.device} is one: set compute.device=auto",
        )
