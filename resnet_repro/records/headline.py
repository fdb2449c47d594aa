"""The number that sums up a test while training, on the screen and in curves."""

from collections.abc import Mapping
from typing import Any

# What it is called, for tests without errors of classification.
MEANS = {"voc07": "mAP", "map": "mAP", "det": "mAP"}
SHARES = {
    "num_found": ("num_objects", "recall"),
    "num_errors_loc_top5": ("num_images", "error"),
    "num_errors_loc_gt": ("num_images", "error"),
}


def headline(test: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return the name and the value in % of the number that sums up a test.

    The error of a classifier, the mAP of a detector (VOC 2007's, or COCO's mean over overlaps), the
    recall of proposals, or the error of localisation. None where no class has an object.

    Args:
        test: What is recorded of the test, as `records.schema` has it.
    """
    if "num_errors" in test:
        return "error", 100 * test["num_errors"] / test["num_images"]
    for key, name in MEANS.items():
        if key in test:
            return name, test[key]
    for part, (whole, name) in SHARES.items():
        if part in test and test.get(whole):
            return name, 100 * test[part] / test[whole]
    return "mAP", None


def in_words(test: Mapping[str, Any]) -> str:
    """Return `error 8.31 %, top-5 0.42 %`, or `mAP 58.39 %`."""
    name, value = headline(test)
    text = f"{name} {value or 0.0:.2f} %"
    if "num_errors_top5" in test:
        text += f", top-5 {100 * test['num_errors_top5'] / test['num_images']:.2f} %"
    return text
