"""Which memory format is fastest on this CPU: timed once, and kept with the calibration.

It depends on the chip and the precision: the C++ operator is for channels-last maps, and chips that
have no bf16 arithmetic compute convolutions of bf16 much faster in contiguous maps.
"""

import logging
from pathlib import Path

from resnet_repro.cost.calibration import Calibration, chip, network_key
from resnet_repro.cost.side_by_side import gain_of, is_worth_timing, may_be_timed
from resnet_repro.engine.timing import one_group
from resnet_repro.machine import num_cores
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")


def best_layout_on_cpu(config: RunConfig, results: Path) -> bool | None:
    """Return whether a run's maps are faster channels-last; None where that is not timed.

    Each format is timed with the fastest batch norm for it: the C++ operator, or plain torch.

    Args:
        config: The run's settings.
        results: The output root, which has the calibration.
    """
    compute = config.compute
    if compute.channels_last is not None or compute.fused or compute.compile:
        return None
    calibration, key = Calibration(results), network_key(config)
    if key not in calibration.channels_last:
        if not may_be_timed(config, num_cores()) or not is_worth_timing(config, 1):
            return None
        logger.info("timing channels-last and contiguous maps, for some seconds ...")
        part = one_group(config).with_compute(threads=num_cores(), processes=1, runs_per_gpu=1)
        layouts = (part.with_compute(channels_last=last) for last in (True, False))
        gain = gain_of(*layouts)
        if gain is None:
            return None
        calibration.channels_last[key] = {"chip": chip(config), "gain": round(gain, 2)}
        calibration.speeds.pop(key, None)  # it may have been timed in the other format
        calibration.save()
    gain = calibration.channels_last[key]["gain"]
    chosen = bool(gain >= 1)
    words = "channels-last" if chosen else "contiguous"
    logger.info("%s maps: channels-last is %.2f times as fast as contiguous", words, gain)
    return chosen
