"""Learning-rate changes triggered by the training error: the end of a warm-up, and plateaus.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resnet_repro.distributed.group import Group
from resnet_repro.engine.optim import learning_rate
from resnet_repro.settings.recipe import RecipeConfig

# [He15] Sec. 4.2 ends ResNet-110's warm-up when "the training error is below 80% (about 400
# iterations)", and does not say on which images; here, on the last 100 mini-batches.
WARMUP_WINDOW = 100


@dataclass
class Schedule:
    """The state of the learning-rate schedule; part of a checkpoint.

    Attributes:
        warmup_end: The first iteration after the warm-up; None while unknown.
        num_plateaus: The number of plateaus so far, each of which divides the rate.
        lowest: The lowest training error of a window, in %.
        stale: The number of windows since the lowest error.
        since: The iteration at which the window started.
        errors: (), this process's errors in the window.
    """

    warmup_end: int | None = None
    num_plateaus: int = 0
    lowest: float | None = None
    stale: int = 0
    since: int = 0
    errors: Tensor = field(default_factory=lambda: torch.zeros(()))

    def learning_rate(self, iteration: int, recipe: RecipeConfig) -> float:
        """Return the learning rate of an iteration, counted from 0."""
        return learning_rate(iteration, recipe, self.warmup_end, self.num_plateaus)

    def observe(
        self, iteration: int, recipe: RecipeConfig, num_errors: Tensor, group: Group
    ) -> tuple[str, dict[str, Any]] | None:
        """Add the errors of an iteration, and check the window at its end.

        Args:
            iteration: The number of iterations done.
            recipe: The recipe with the rules.
            num_errors: (), the errors in this process's share of the mini-batch.
            group: The processes that share the mini-batch.

        Returns:
            The change as an event of the record (its kind and values), or None.
        """
        warmup = recipe.warmup
        warming = warmup.until_train_error is not None and self.warmup_end is None
        window = WARMUP_WINDOW if warming else recipe.plateau.window
        if window is None:
            return None
        self.errors += num_errors
        if iteration % window:
            return None
        num_images = (iteration - self.since) * recipe.batch_size
        error = 100 * group.all_reduce_sum(self.errors).item() / num_images  # waits for the device
        self.errors.zero_()
        self.since = iteration
        if warming:
            if error < (warmup.until_train_error or 0):
                self.warmup_end = iteration
                return "warmup_end", {"train_error": error}
            return None
        return self._look_for_plateau(error, recipe)

    def _look_for_plateau(
        self, error: float, recipe: RecipeConfig
    ) -> tuple[str, dict[str, Any]] | None:
        plateau = recipe.plateau
        if self.lowest is None or error <= self.lowest - plateau.min_gain:
            self.lowest, self.stale = error, 0
            return None
        self.stale += 1
        if self.stale < plateau.patience or self.num_plateaus == plateau.max_drops:
            return None
        self.num_plateaus += 1
        self.stale = 0
        return "plateau", {"train_error": error, "number": self.num_plateaus}
