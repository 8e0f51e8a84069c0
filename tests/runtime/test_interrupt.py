import concurrent.futures
import signal
import subprocess
import sys

import pytest

from sib_jax.runtime import interrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request(number):
    before = signal.getsignal(number)
    with interrupt.handled():
        assert not interrupt.requested()
        signal.raise_signal(number)
        assert interrupt.requested()
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    # Python's own handler: a command that another test ran in this process has left another.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interrupt.handled():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_new_run_starts_without_a_request():
    with interrupt.handled():
        signal.raise_signal(signal.SIGTERM)
    with interrupt.handled():
        assert not interrupt.requested()


# By its path: the package takes long to import.
_LOADED = f"""
import hashlib, importlib.util, os, signal, sys, threading, time
spec = importlib.util.spec_from_file_location("interrupt", {interrupt.__file__!r})
interrupt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(interrupt)
interrupt._PATIENCE = interrupt._patience = 0.3
interrupt.watch()
interrupt.goes_on_from("there")
def send(*numbers):
    def all():
        for number in numbers:
            time.sleep(0.1)
            os.kill(os.getpid(), number)
    threading.Thread(target=all, daemon=True).start()
def compile():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, in none of which Python looks up
"""


def command(code):
    done = subprocess.run(
        [sys.executable, "-c", _LOADED + code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


SAID = "sib_jax: interrupted; the same command goes on from there\n"


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_outside_of_a_stage_the_command_ends_at_once(number, status):
    code = f"interrupt._patience = 60\nsend(signal.{number})\ncompile()"
    assert command(code) == (status, "", SAID)


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_long_call_within_a_stage_is_not_waited_for(number, status):
    code = f"with interrupt.handled():\n    send(signal.{number})\n    compile()"
    assert command(code) == (status, "", SAID)


def test_a_second_ctrl_c_within_a_stage_ends_at_once():
    code = """
interrupt._patience = 60
with interrupt.handled():
    send(signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
    compile()
"""
    assert command(code) == (143, "", SAID)


def test_a_stage_that_looks_up_in_time_saves():
    code = """
interrupt._patience = 60
with interrupt.handled():
    send(signal.SIGINT)
    while not interrupt.requested():
        time.sleep(0.01)
    print("saved")
interrupt.tell()
sys.exit(interrupt.status())
"""
    assert command(code) == (130, "saved\n", SAID)


def test_a_signal_during_a_new_start_is_not_lost():
    """Held back until the program that takes the place of this one is ready for it."""
    code = """
if os.environ.get("ANEW"):
    time.sleep(30)
with interrupt.held():
    os.kill(os.getpid(), signal.SIGINT)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "ANEW": "1"})
"""
    assert command(code) == (130, "", SAID)


def test_a_run_may_be_in_any_thread():
    def run():
        with interrupt.handled():
            return interrupt.requested()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert pool.submit(run).result() is False
