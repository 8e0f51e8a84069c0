"""What stands for arrays of libraries that the tests do not need."""

import numpy as np


class OfTorch:
    """Looks like a tensor of bfloat16 on a GPU, which needs gradients: numpy cannot read it."""

    def __init__(self, values, done=()):
        self.values, self.done = np.asarray(values), frozenset(done)
        self.dtype = "torch.float32" if "float" in self.done else "torch.bfloat16"

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def _after(self, step):
        return OfTorch(self.values, self.done | {step})

    def detach(self):
        return self._after("detach")

    def cpu(self):
        return self._after("cpu")

    def float(self):
        return self._after("float")

    def numpy(self):
        assert self.done == {"detach", "cpu", "float"}
        return self.values


class Columns:
    """Looks like a data frame: to go through it gives the names of its columns."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter("abcd")

    def to_numpy(self):
        return self.values
