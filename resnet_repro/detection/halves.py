"""A set of photographs in two halves that have about the same objects of each class.

As in R-CNN ([Gir14] Sec. 4.2): of several random candidates, improved by a local search, the one
whose largest imbalance of a class is smallest. Ours starts from the rarest classes in place of
clusters of photographs.

[Gir14]  Rich feature hierarchies for accurate object detection, arXiv:1311.2524
"""

from functools import lru_cache

import numpy as np

CANDIDATES, SWAPS = 8, 20_000


def balanced_halves(numbers: np.ndarray) -> tuple[np.ndarray, float]:
    """Split photographs.

    Args:
        numbers: (N, K), the objects of each class in each photograph.

    Returns:
        (N,), bool, which are in the first half, and the largest imbalance |a - b| / (a + b) of a
        class that has more than one object.
    """
    return _split(numbers.astype("<i8").tobytes(), numbers.shape)


@lru_cache(1)  # both halves are asked for
def _split(content: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    numbers, draws = np.frombuffer(content, "<i8").reshape(shape), np.random.default_rng(0)
    total = numbers.sum(axis=0)
    weights = np.where(total > 0, 1 / np.maximum(total, 1), 0)
    found = [_candidate(numbers, weights, draws) for _ in range(CANDIDATES)]
    worst = [_imbalance(numbers, signs, total) for signs in found]
    best = int(np.argmin(worst))
    return found[best] > 0, worst[best]


def _imbalance(numbers: np.ndarray, signs: np.ndarray, total: np.ndarray) -> float:
    counted = total > 1
    difference = np.abs(signs @ numbers)[counted]
    return float((difference / total[counted]).max(initial=0))


def _cost(balance: np.ndarray) -> float:
    """Return the sum of fourth powers: the largest imbalances count most.

    By products, as powers and matrix products are not rounded alike on all CPUs.
    """
    squares = balance * balance
    return float((squares * squares).sum())


def _candidate(numbers: np.ndarray, weights: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Return (N,), 1 or -1 for the half of each photograph."""
    size = len(numbers)
    order = draws.permutation(size)
    rarest = np.where(numbers > 0, weights, 0).max(axis=1, initial=0)
    order = order[np.argsort(-rarest[order], kind="stable")]
    signs = np.zeros(size)
    left = {1: size - size // 2, -1: size // 2}
    balance = np.zeros(numbers.shape[1])  # of relative numbers: first half less second
    shares = numbers * weights
    for i in order:
        lean = (balance * shares[i]).sum() or draws.random() - 0.5
        sign = -1 if lean > 0 else 1
        if not left[sign]:
            sign = -sign
        left[sign] -= 1
        signs[i] = sign
        balance += sign * shares[i]
    first, second = np.flatnonzero(signs > 0), np.flatnonzero(signs < 0)
    if not len(first) or not len(second):
        return signs
    for _ in range(SWAPS):
        i, j = draws.integers(len(first)), draws.integers(len(second))
        change = 2 * (shares[second[j]] - shares[first[i]])
        if _cost(balance + change) < _cost(balance):
            balance += change
            first[i], second[j] = second[j], first[i]
    signs[first], signs[second] = 1, -1
    return signs
