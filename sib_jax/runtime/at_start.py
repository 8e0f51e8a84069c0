"""Imported before all else: where this process is the command, Ctrl-C is answered from here on.

Python imports the package, and so JAX, before the first line of `sib_jax.main`.
"""

import os
import sys

from sib_jax.runtime import huge_pages, interrupt

if huge_pages.module(sys.orig_argv[1:]) in ("sib_jax", "sib_jax.main") or (
    sys.argv and os.path.basename(sys.argv[0]) in ("sib_jax", "sib-jax")
):
    interrupt.watch()
