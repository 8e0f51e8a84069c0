"""The plane in which an episode's features vary most: principal components."""

from collections.abc import Mapping

import numpy as np


def plane(points: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Points [..., d] in the plane of the first two principal components of all of "query".

    Args:
      points: by name, including "query" [n, d].

    Returns:
      The same names with `_2d` added, [..., 2]; and "explained" [2], the share of the variance of
      the queries along each axis.
    """
    query = np.asarray(points["query"], np.float64)
    centre = query.mean(axis=0)
    if len(query) == 1:  # nothing varies
        query = np.concatenate([query, query])
    if query.shape[1] == 1:  # nothing varies along the other axis
        points = {
            name: np.pad(x, [(0, 0)] * (np.ndim(x) - 1) + [(0, 1)]) for name, x in points.items()
        }
        return plane(points)
    _, spread, axes = np.linalg.svd(query - centre, full_matrices=False)
    axes = axes[:2]
    # The sign of an axis is free: its largest part points up, on every machine.
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    found = {f"{name}_2d": (np.asarray(x) - centre) @ axes.T for name, x in points.items()}
    variance = spread**2
    return found | {"explained": variance[:2] / max(variance.sum(), 1e-12)}
