"""A mean over tasks, with its 95% interval."""

import math
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and half the width of its 95% interval, both in percent."""

    mean: float
    ci95: float

    def text(self, sign: str = "") -> str:
        """As "74.12 ± 0.63"; with `sign` "+", a gain has its sign too."""
        return f"{self.mean:{sign}.2f} ± {self.ci95:.2f}"


def interval(of_task: np.ndarray) -> Interval:
    """Mean and 1.96 std / sqrt(tasks) of shares in 0..1, or differences of these (section 3).

    Args:
      of_task: one number for each task, [tasks].
    """
    percent = 100 * np.asarray(of_task, np.float64)
    return Interval(
        float(percent.mean()), float(1.96 * percent.std() / math.sqrt(max(len(percent), 1)))
    )
