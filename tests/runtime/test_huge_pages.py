"""A process of `python -m sib_jax.main` starts anew once where that brings huge pages."""

import os
import sys

import pytest

from sib_jax.runtime import huge_pages

COMMAND = ["python", "-W", "error", "-m", "sib_jax.main", "--config=x.py", "-m"]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What os.execve was called with, on a system where it should be; each test changes one."""
    calls = []
    kernel = tmp_path / "enabled"
    kernel.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_KERNEL", kernel)
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36", raising=False)
    monkeypatch.setattr(sys, "orig_argv", COMMAND)
    monkeypatch.setenv("UNTOUCHED", "1")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_the_same_command_starts_with_the_setting(started):
    huge_pages.restart_with("sib_jax.main")
    ((program, command, environment),) = started
    assert program == command[0] == sys.executable
    assert command[1:] == COMMAND[1:]
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert environment["UNTOUCHED"] == "1"


def test_a_console_script_goes_on_as_the_module(started, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "/bin/sib_jax", "train", "--config=x.py"])
    monkeypatch.setattr(sys, "argv", ["/bin/sib_jax", "train", "--config=x.py"])
    huge_pages.restart_with("sib_jax", script=True)
    ((_, command, _),) = started
    assert command[1:] == ["-m", "sib_jax", "train", "--config=x.py"]


@pytest.mark.parametrize("tunables", ["glibc.malloc.hugetlb=1", "glibc.malloc.hugetlb=0", ""])
def test_a_setting_that_is_there_stays(started, monkeypatch, tunables):
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    huge_pages.restart_with("sib_jax.main")
    assert not started


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]", None])
def test_a_kernel_that_does_not_need_it_is_left_alone(started, text):
    if text is None:
        huge_pages._KERNEL.unlink()
    else:
        huge_pages._KERNEL.write_text(text)
    huge_pages.restart_with("sib_jax.main")
    assert not started


def other_library(name):
    raise ValueError("unrecognized configuration name")


@pytest.mark.parametrize("confstr", [lambda _: "glibc 2.31", lambda _: None, other_library])
def test_without_a_new_glibc_nothing_happens(started, monkeypatch, confstr):
    monkeypatch.setattr(os, "confstr", confstr)
    huge_pages.restart_with("sib_jax.main")
    assert not started


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-m", "pdb", "-m", "sib_jax.main"],
        ["python", "-m", "pytest"],
        ["python", "script.py"],
        ["python", "debugger", "--connect", "localhost:1", "-m", "sib_jax.main"],
        ["python", "-c", "pass", "-m", "sib_jax.main"],
        ["python", "-X", "-m", "sib_jax.main"],
        ["python", "-m"],
    ],
)
def test_a_process_started_otherwise_is_left_alone(started, monkeypatch, command):
    monkeypatch.setattr(sys, "orig_argv", command)
    huge_pages.restart_with("sib_jax.main")
    assert not started


def test_a_system_that_refuses_keeps_the_process(started, monkeypatch):
    def refuse(*call):
        started.append(call)
        raise OSError

    monkeypatch.setattr(os, "execve", refuse)
    huge_pages.restart_with("sib_jax.main")
    assert started
