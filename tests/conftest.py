"""Settings of every test: rank promotion is an error, and the user's cache is left alone."""

import gc
import mmap
import os
from pathlib import Path

import jaxlib

# Tests compile far more than they run. Plain code that is not optimized, each program in one part,
# halves their time. This is read when jax makes its first array, and by programs that tests start;
# an unknown flag ends the process, and flags come and go with jaxlib's versions.
_FLAGS = {
    "xla_cpu_use_fusion_emitters": "false",
    "xla_backend_optimization_level": "0",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def _known(flags: dict[str, str]) -> list[str]:
    """Those that this jaxlib has, as XLA_FLAGS takes them."""
    found = []
    for library in Path(jaxlib.__path__[0]).glob("*jax_common*"):
        with (
            library.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            # A name with its end: a flag that is gone may still be the field of a message.
            there = [f for f in flags if text.find(b"\0" + f.encode() + b"\0") >= 0]
            found += [f"--{f}={flags[f]}" for f in there]
    return found


os.environ["XLA_FLAGS"] = " ".join([*_known(_FLAGS), *os.environ.get("XLA_FLAGS", "").split()])
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # tolerances are those of a CPU's float32
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # a program need not say where it comes from
gc.set_threshold(200_000)  # tracing makes many objects, and nearly all of them stay for a while

import jax  # noqa: E402
import pytest  # noqa: E402

_KEEP_ALL = {"persistent_cache_min_compile_time_secs": 0}  # also what compiles fast

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Prepared data and features of the tests go to a folder of their own, and so do programs.

    Many tests run the same small job, some in processes of their own: all together draw its images
    and compile it once.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIB_JAX_CACHE", str(shared / "cache"))
        for name, value in {"compilation_cache_dir": str(shared / "compiled"), **_KEEP_ALL}.items():
            patch.setenv(f"JAX_{name.upper()}", str(value))
            jax.config.update(f"jax_{name}", value)
        yield


@pytest.fixture
def registries():
    """What a test registers, methods, backbones and data sets, is known to it alone."""
    from sib_jax import backbones, data, methods

    known = (methods.METHODS, backbones.own.OWN, data.own.OWN)
    before = [dict(entries) for entries in known]
    yield
    for entries, kept in zip(known, before, strict=True):
        entries.clear()
        entries.update(kept)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs are dropped after each file.

    Each maps some pages, a process may hold 65,530 mappings on Linux (vm.max_map_count), and past
    that the next program that is loaded ends it with a segmentation fault. And Python's garbage
    collection looks at all that was traced, again and again; not at what was there before.
    """
    gc.freeze()
    yield
    jax.clear_caches()
    gc.collect()
