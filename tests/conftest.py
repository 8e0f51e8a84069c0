"""Settings of every test: rank promotion is an error, and the user's cache is left alone."""

import os

# Tests compile far more than they run: without LLVM's expensive passes two files of them took
# 220 s in place of 266. This is read when jax makes its first array, and by programs tests start.
_FLAG = "--xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), _FLAG]))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Prepared data and features of the tests go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIB_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        # Many tests run the same small job: all workers together compile it once.
        base = tmp_path_factory.getbasetemp()
        compiled = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(compiled))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs are dropped after each file.

    Each maps some pages, a process may hold 65,530 mappings on Linux (vm.max_map_count), and past
    that the next program that is loaded ends it with a segmentation fault.
    """
    yield
    jax.clear_caches()
