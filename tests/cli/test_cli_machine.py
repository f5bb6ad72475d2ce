"""`whichever machine` shows what the advisor knows of this machine."""

import pytest

import whichever
from whichever.cli import main


@pytest.mark.parametrize(
    ("argv", "recalibrate"), [(["machine"], False), (["machine", "--recalibrate"], True)]
)
def test_the_machine_is_shown_and_measured_anew_only_when_asked(argv, recalibrate, monkeypatch, capfd):
    asked = []

    def machine(*, recalibrate=False):
        asked.append(recalibrate)
        return "2 cores, a process starts in 30 ms"

    monkeypatch.setattr(whichever, "machine", machine)
    assert main(argv) == 0
    assert asked == [recalibrate]
    assert capfd.readouterr().out == "2 cores, a process starts in 30 ms\n"
