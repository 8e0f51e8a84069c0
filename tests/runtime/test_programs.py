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


def _counted():
    """A compiled function, and a list with an entry for each time that it was traced."""
    traced = []

    @jax.jit
    def double(x):
        traced.append(x)
        return 2 * x

    return double, traced
