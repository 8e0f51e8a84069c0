"""Settings of every test: rank promotion is an error, and the user's cache is left alone."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Prepared data and features of the tests go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIB_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        # Many tests run the same small job: compile it once.
        jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
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
