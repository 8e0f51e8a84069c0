"""What the commands share: how a mistake or a reader that has enough ends one."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sib_jax import command
from sib_jax.report import __main__ as report_command

_TALKS = """
from sib_jax import command
with command.mistakes_told():
    print("line\\n" * 100_000)
"""


def test_a_path_that_the_system_refuses_is_told(tmp_path):
    message = "cannot be used: File name too long"
    with pytest.raises(SystemExit, match=message), command.mistakes_told():
        (tmp_path / ("x" * 300)).open()


def test_an_error_of_ours_keeps_its_traceback():
    with pytest.raises(OSError, match="of no file"), command.mistakes_told():
        raise OSError("of no file")


def test_a_reader_that_has_read_enough(tmp_path):
    (tmp_path / "talks.py").write_text(_TALKS)
    program = f"{sys.executable} talks.py | head -1"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_an_empty_path_is_no_folder():
    parser = command.Parser("sib_jax.any", "")
    parser.add_argument("--run", type=command.path)
    with pytest.raises(SystemExit, match="is empty: is a shell variable unset"):
        parser.parse_args(["--run="])


@pytest.mark.parametrize("option", ["--out=x.html", "--against=T0", "--split=val"])
def test_a_report_of_one_run_takes_no_option_of_a_comparison(option):
    with pytest.raises(SystemExit, match="is only for comparisons: give two runs or more"):
        report_command.main(["runs/one", option])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "memory ran out: smaller batches need less"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out: smaller"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 71815969536 bytes."),
            r"memory ran out \(71,815,969,536 more bytes were requested\): smaller",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes."),
            r"memory ran out \(123 more bytes were requested\): smaller",  # on a GPU
        ),
    ],
)
def test_memory_that_runs_out_is_told(error, message):
    with pytest.raises(SystemExit, match=message), command.mistakes_told():
        raise error


_WORKS = """
import sys
from sib_jax import command
from sib_jax.runtime import console
console.start()
with command.mistakes_told():
    for step in range(1000):
        console.log.info("step %d", step)
    console.log.warning("done")
    sys.stderr.write("finished\\n")
"""


def test_a_log_that_nobody_reads_any_more_ends_no_run(tmp_path):
    (tmp_path / "works.py").write_text(_WORKS)
    program = f"{sys.executable} works.py | head -1"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "step 0\n"
    assert done.stderr == "finished\n"


def test_what_the_terminal_has_no_characters_for_is_written_as_escapes(tmp_path):
    code = (
        "from sib_jax.runtime import console; console.start(); console.log.info('53.6 \u00b1 0.2')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"53.6 \\xb1 0.2\n", b"")


_no_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is always full")


@_no_full
def test_a_log_without_room_is_told_of_once_and_ends_no_run(tmp_path):
    (tmp_path / "works.py").write_text(_WORKS)
    program = f"{sys.executable} works.py > /dev/full"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, cwd=tmp_path)
    wanted = "sib_jax: the output cannot be written (No space left on device); work goes on"
    assert (done.returncode, done.stderr.splitlines()) == (1, [wanted, "done", "finished"])


@_no_full
def test_an_output_without_room(tmp_path):
    (tmp_path / "talks.py").write_text(_TALKS)
    program = f"{sys.executable} talks.py > /dev/full"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, cwd=tmp_path)
    wanted = "sib_jax: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, wanted)
