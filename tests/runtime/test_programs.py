"""Compiled programs are forgotten before a process has too many."""

import jax
import jax.numpy as jnp
import pytest

from sib_jax.runtime import programs


@pytest.mark.parametrize(("mapped", "kept"), [(32_765, True), (32_766, False)])
def test_they_are_forgotten_past_half_of_what_may_be_mapped(tmp_path, monkeypatch, mapped, kept):
    (tmp_path / "maps").write_text("7f00-7f01 r--p\n" * mapped)
    (tmp_path / "limit").write_text("65530\n")
    monkeypatch.setattr(programs, "_MAPPED", tmp_path / "maps")
    monkeypatch.setattr(programs, "_LIMIT", tmp_path / "limit")
    double, traced = _counted()
    assert double(jnp.asarray(3)) == 6
    programs.make_room()
    assert double(jnp.asarray(4)) == 8
    assert (len(traced) == 1) == kept


def test_where_nothing_says_so_all_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MAPPED", tmp_path / "none")
    double, traced = _counted()
    double(jnp.asarray(3))
    programs.make_room()
    double(jnp.asarray(4))
    assert len(traced) == 1


@pytest.fixture
def placed():
    """Of JAX's cache, and anew as it was at the end."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    yield lambda folder: jax.config.update(names[0], folder)
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_next_command_finds_them_in_the_cache(placed, tmp_path, monkeypatch):
    monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / "own"))
    placed(None)
    programs.keep()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "own" / "compiled")


def test_where_the_user_has_placed_them_they_stay(placed, tmp_path):
    placed(str(tmp_path))
    programs.keep()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


def test_without_a_folder_to_write_to_none_is_kept(placed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    placed(None)
    for place in (tmp_path / "file" / "below", "~nobody_of_that_name/x"):
        monkeypatch.setenv("SIB_JAX_CACHE", str(place))
        programs.keep()
        assert jax.config.values["jax_compilation_cache_dir"] is None


def _counted():
    """A compiled function, and a list with an entry for each time that it was traced."""
    traced = []

    @jax.jit
    def double(x):
        traced.append(x)
        return 2 * x

    return double, traced
