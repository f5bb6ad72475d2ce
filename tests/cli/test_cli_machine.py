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
    shown = capfd.readouterr().out.splitlines()
    assert shown[0] == "2 cores, a process starts in 30 ms"
    assert shown[1].startswith("remembers the decisions for ")


def test_decisions_are_counted_and_forgotten_when_asked(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("WHICHEVER_CACHE", str(tmp_path))
    monkeypatch.setattr(whichever, "machine", lambda **_: "2 cores")
    folder = tmp_path / "decisions"
    folder.mkdir()
    said = []
    for count in (2, 1, 0):
        for number in range(count):
            (folder / f"{number}.json").write_text("{}")
        assert main(["machine"]) == 0
        assert main(["machine", "--forget"]) == 0
        said.append(capfd.readouterr().out.splitlines()[1:])
        assert list(folder.iterdir()) == []
    assert said == [
        [
            "remembers the decisions for 2 functions; forget them: whichever machine --forget",
            "forgot the decisions for 2 functions",
        ],
        [
            "remembers the decisions for 1 function; forget them: whichever machine --forget",
            "forgot the decisions for 1 function",
        ],
        ["remembers the decisions for no functions", "forgot the decisions for no functions"],
    ]
