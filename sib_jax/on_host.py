"""Arrays of any library as numpy's: torch tensors, perhaps on a GPU; columns of tables."""

from typing import Any


def on_host(values: Any) -> Any:
    """An array, or a list of arrays, as numpy reads them; anything else as it is."""
    if isinstance(values, list | tuple):
        return [_one(value) for value in values]
    return _one(values)


def _one(values: Any) -> Any:
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    return values.to_numpy() if hasattr(values, "to_numpy") else values
