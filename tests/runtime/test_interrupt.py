import os
import signal

import pytest

from sib_jax.runtime import interrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request(number):
    before = signal.getsignal(number)
    with interrupt.handled():
        assert not interrupt.requested()
        os.kill(os.getpid(), number)
        assert interrupt.requested()
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    with interrupt.handled():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_new_run_starts_without_a_request():
    with interrupt.handled():
        os.kill(os.getpid(), signal.SIGTERM)
    with interrupt.handled():
        assert not interrupt.requested()
