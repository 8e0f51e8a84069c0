"""Imported before all else: where this process is the command, it is restarted and watched here.

Python imports the package, and so JAX, before the first line of `sib_jax.main`: a restart for huge
pages comes before that, and Ctrl-C is answered from here on.
"""

import os
import sys

from sib_jax.runtime import huge_pages, interrupt

_OTHERS = tuple(f"sib_jax.{name}" for name in ("predict", "features", "report", "evaluate"))

_script = os.path.basename(sys.argv[0]).removesuffix(".exe") if sys.argv else ""
_module = huge_pages.module(sys.orig_argv[1:])
if _module in ("sib_jax", "sib_jax.main"):
    huge_pages.restart_with(_module)
    interrupt.watch()
elif _module in _OTHERS or _script in ("sib_jax", "sib-jax"):
    interrupt.watch()
