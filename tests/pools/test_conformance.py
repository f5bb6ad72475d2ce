"""The conformance run tells a good pool from a bad one; and ours passes it."""

import sys

import pytest

BOUND_S = 30


def ended(room, executor, only, *, start_method="fork", bound=BOUND_S):
    conformance = room("tools", "conformance")
    subject = conformance.Subject(executor, start_method, (sys.executable,))
    return conformance.Run(subject, bound, only).finish()


@pytest.mark.usefixtures("cpython_has_tests")
class TestRunner:
    def test_the_standard_pool_passes_its_own_tests(self, room):
        tests = ended(room, "concurrent.futures:ProcessPoolExecutor", "ProcessPoolExecutorTest.test_map")
        assert {test.outcome for test in tests} == {"ok"}
        assert "test_process_pool.ProcessPoolForkProcessPoolExecutorTest.test_map" in {t.test for t in tests}

    def test_a_pool_with_another_order_fails_and_the_next_tests_still_run(self, room):
        outcomes = {
            test.test.rpartition(".")[2]: test.outcome
            for test in ended(room, "stand_ins:Reversed", "Test.test_map")
        }
        assert outcomes["test_map"] == "fail"
        assert outcomes["test_map_timeout"] == "ok"

    def test_a_pool_that_hangs_is_stopped_with_the_place_where_it_stood(self, room):
        (test,) = ended(room, "stand_ins:Deaf", "Test.test_submit_keyword", bound=2)
        assert test.outcome == "hang"
        assert "in submit" in test.why

    def test_a_pool_that_takes_its_caller_down_costs_one_test(self, room):
        tests = ended(room, "stand_ins:Fatal", "PoolExecutorTest.test_submit")
        assert [test.outcome for test in tests] == ["crash", "crash"]

    @pytest.mark.timeout(BOUND_S - 5)
    def test_what_a_failed_test_leaves_does_not_hold_up_the_next(self, room):
        tests = ended(room, "stand_ins:Lingering", "PoolExecutorTest.test_submit")
        assert [test.why for test in tests] == ["RuntimeError: left a thread"] * 2

    def test_the_tests_own_child_programs_run_the_class_under_test(self, room):
        (test,) = ended(room, "stand_ins:Refusing", "ShutdownTest.test_interpreter_shutdown")
        assert test.outcome == "fail"
        assert "not today" in test.why

    def test_default_passes_no_start_method_to_the_class(self, room):
        # Inline takes no mp_context; its results are those of a pool.
        (test,) = ended(
            room, "stand_ins:Inline", "PoolExecutorTest.test_submit_keyword", start_method="spawn"
        )
        assert "mp_context" in test.why
        tests = ended(room, "stand_ins:Inline", "AsCompletedTest.test_no_timeout", start_method="default")
        assert "mp_context" not in tests[0].why

    def test_a_class_that_is_not_there_is_not_tested(self, room):
        with pytest.raises(room("tools", "conformance").NotTestedError, match="no attribute 'Nobody'"):
            ended(room, "stand_ins:Nobody", "")


class Sample:
    """Stands for a test of CPython's."""

    def test_black(self):
        self.helper()
        try:
            self.pool.submit(pow, 2, 3)
        except OSError:
            print(self.pool._processes)
        assert self.pool, f"{self.pool._broken}"

    def helper(self):
        self._own()

    def _own(self):
        """Belongs to the test itself."""

    def test_white(self):
        self.inner()

    def inner(self):
        return self.pool._processes


def test_a_test_is_white_box_for_the_private_names_it_reads_itself_or_through_a_helper(room, monkeypatch):
    for name in ("test_black", "helper", "_own", "test_white", "inner"):
        monkeypatch.setattr(getattr(Sample, name), "__module__", "test.sample")
    private_names = room("tools", "white_box").private_names
    assert private_names(Sample, "test_black") == set()
    assert private_names(Sample, "test_white") == {"self.pool._processes"}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("cpython_has_tests", "process_pool")
def test_our_pool_passes_every_black_box_test_of_cpython(room):
    tests = ended(room, "whichever:ProcessPool", "", start_method="default")
    bad = [test for test in tests if test.outcome not in ("ok", "skip") and not test.private]
    assert bad == []
    assert sum(test.outcome == "ok" for test in tests) > 40
