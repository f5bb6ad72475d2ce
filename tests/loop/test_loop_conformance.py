"""The conformance run tells a good loop from a bad one; and ours passes it."""

import json
import sys
from pathlib import Path

import pytest

import whichever

BOUND_S = 30


def ended(room, loop, only, *, modules=("test_events",), bound=BOUND_S):
    conformance = room("tools", "loop_conformance")
    subject = conformance.Subject(loop, "cpython", Path(sys.executable))
    return conformance.LoopRun(subject, bound, only, modules=modules).finish()


@pytest.mark.usefixtures("cpython_has_tests")
class TestRunner:
    def test_asyncios_loop_passes_its_own_tests(self, room):
        tests = ended(room, "asyncio:SelectorEventLoop", "EPollEventLoopTests.test_call")
        assert {test.outcome for test in tests} == {"ok"}
        assert "test_events.EPollEventLoopTests.test_call_later" in {test.test for test in tests}

    def test_another_loop_takes_its_place_in_the_tests(self, room):
        tests = ended(room, "odd_loops:Backwards", "EPollEventLoopTests.test_call_soon")
        assert {test.outcome for test in tests} >= {"ok"}
        (timed,) = ended(room, "odd_loops:Fatal", "EPollEventLoopTests.test_call_later")
        assert timed.outcome == "crash"

    def test_a_loop_that_hangs_is_stopped_with_the_place_where_it_stood(self, room):
        test, *_ = ended(room, "odd_loops:Asleep", "EPollEventLoopTests.test_call_soon_threadsafe", bound=3)
        assert test.outcome == "hang"
        assert "in wait" in test.why

    def test_a_loop_that_is_not_there_is_not_tested(self, room):
        with pytest.raises(room("tools", "conformance").NotTestedError, match="no attribute 'Nobody'"):
            ended(room, "odd_loops:Nobody", "")


def test_the_list_of_white_box_tests_is_short_and_gives_reasons(room):
    listed = room("tools", "loop_white_box")
    assert len(listed.WHITE_BOX) <= listed.MOST
    assert all(len(reason.split()) > 3 for reason in listed.WHITE_BOX.values())


def test_a_failure_counts_only_where_asyncio_passes_and_no_reason_is_listed(room):
    conformance = room("tools", "loop_conformance")

    def held(loop, outcomes):
        tests = [
            conformance.Ended(name, outcome, "", ("a reason",) if name == "white" else (), 0.0)
            for name, outcome in outcomes.items()
        ]
        return conformance.Held("3.13", "cpython", loop, tests)

    every = [
        held("ours:Loop", {"good": "ok", "bad": "hang", "white": "fail", "nobody": "fail"}),
        held(conformance.CONTROL, {"good": "ok", "bad": "ok", "white": "ok", "nobody": "fail"}),
    ]
    assert [row["test"] for row in conformance.regressions(every, "ours:Loop")] == ["bad"]
    assert every[0].row()["passed"] == 1
    assert every[0].row()["of"] == 4
    assert every[0].row()["white box, not passed"] == 1
    assert every[0].row()["others, not passed"] == 2


def test_a_run_of_one_interpreter_keeps_what_was_found_of_the_others(room, tmp_path):
    conformance = room("tools", "loop_conformance")

    def row(version, loop, passed):
        return {"loop": loop, "CPython": version, "suite": "cpython", "passed": passed}

    def failure(version):
        return {"CPython": version, "suite": "cpython", "test": "one"}

    path = tmp_path / "result.json"
    first = conformance.with_older([row("3.11", "whichever", 1)], [failure("3.11")], path)
    assert first == {"rows": [row("3.11", "whichever", 1)], "failures": [failure("3.11")]}
    older = {"rows": [row("3.11", "whichever", 1), row("3.13", "whichever", 2)]}
    older["failures"] = [failure("3.11"), failure("3.13")]
    path.write_text(json.dumps({"commit": "abc", "results": older}))
    both = conformance.with_older([row("3.13", "whichever", 3)], [], path)
    assert both["rows"] == [{"commit": "abc"} | row("3.11", "whichever", 1), row("3.13", "whichever", 3)]
    assert both["failures"] == [failure("3.11")]


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cpython_has_tests")
def test_our_loop_passes_every_test_of_cpython_that_asyncio_passes(room):
    if not hasattr(whichever, "EventLoop"):
        pytest.skip("this build has no whichever.EventLoop")
    conformance = room("tools", "loop_conformance")
    version = ".".join(map(str, sys.version_info[:2]))
    options = conformance.asked(["--suite", "cpython"])
    subject = conformance.Subject(conformance.OURS, "cpython", Path(sys.executable))
    ours = conformance.hold(subject, options, version)
    bad = [test.test for test in ours.bad() if not test.private]
    # What fails on this machine with asyncio's own loop, too, is no matter of ours.
    control = [ended(room, conformance.CONTROL, name, modules=(name.partition(".")[0],)) for name in bad]
    matters = [
        name for name, tests in zip(bad, control, strict=True) if all(t.outcome == "ok" for t in tests)
    ]
    assert matters == []
    assert sum(test.outcome == "ok" for test in ours.ended) > 2000
