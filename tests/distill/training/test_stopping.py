"""Signals that end long work after its current batch."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from distill.training.stopping import StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_said(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with StopSignals("saving the embeddings") as signals:
        assert signals.stopped_by is None
        os.kill(os.getpid(), number)
        assert signals.stopped_by == number
    assert signal.getsignal(number) is before
    assert "stopping after this batch and saving the embeddings ..." in capfd.readouterr().err


def test_the_second_interrupt_ends_at_once() -> None:
    def interrupt_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), StopSignals("saving"):
        interrupt_twice()


def test_other_threads_note_nothing() -> None:
    noted: list[int | None] = []

    def work() -> None:
        with StopSignals("saving") as signals:
            noted.append(signals.stopped_by)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [None]
