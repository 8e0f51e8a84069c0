"""Where everything that is made once is kept: prepared data, features, compiled programs."""

import os
from pathlib import Path

from sib_jax.errors import UserError


class CacheError(UserError):
    """The cache cannot be written; the message says how to point it elsewhere."""


def cache_dir() -> Path:
    """The folder for all that is made once: $SIB_JAX_CACHE, else sib_jax in the user's cache.

    Raises:
      CacheError: the user has no home folder.
    """
    try:
        own = os.environ.get("SIB_JAX_CACHE")
        if own:
            return Path(own).expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(base) / "sib_jax"
    except RuntimeError as error:
        raise CacheError(
            f"there is no folder for prepared data ({error}); set SIB_JAX_CACHE to one"
        ) from error
