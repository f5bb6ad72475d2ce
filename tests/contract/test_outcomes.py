"""What comes back from a run: order, values, exceptions, payloads."""

import contract_tasks as tasks
import pytest

from whichever.errors import EngineError, RemoteError
from whichever.executors import open_engine


def values(outcomes):
    return [outcome.value for outcome in outcomes]


def kinds(outcomes):
    return [type(outcome.error) for outcome in outcomes]


def test_outcomes_come_in_the_order_of_the_items(engine, task):
    outcomes = engine.run(task(tasks.nap), [0.03, 0.0, 0.02, 0.0, 0.01])
    assert values(outcomes) == [0.03, 0.0, 0.02, 0.0, 0.01]
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
@pytest.mark.parametrize("chunksize", [1, 7, 5000])
def test_every_item_has_one_outcome_whatever_the_chunk(engine, task, count, chunksize):
    outcomes = engine.run(task(tasks.square), iter(range(count)), chunksize=chunksize)
    assert values(outcomes) == [item * item for item in range(count)]


def test_a_chunk_below_one_is_refused(engine, task, name):
    if name in ("serial", "async"):
        pytest.skip("sends no messages")
    with pytest.raises(ValueError, match="chunksize"):
        engine.run(task(tasks.square), [1], chunksize=0)


def test_an_exception_costs_only_its_own_task(engine, task):
    outcomes = engine.run(task(tasks.invert), [1, 0, 2, 0, 4], chunksize=5)
    assert values(outcomes) == [1.0, None, 0.5, None, 0.25]
    assert isinstance(outcomes[1].error, ZeroDivisionError)
    assert outcomes[0].error is None


def test_more_workers_than_items_do_no_harm(name, task):
    with open_engine(name, 5) as engine:
        assert values(engine.run(task(tasks.square), [3, 4])) == [9, 16]


def test_no_workers_are_refused(name):
    with pytest.raises(ValueError, match="workers"):
        open_engine(name, 0)


def test_an_engine_runs_batch_after_batch(engine, task):
    for run in range(20):
        fn = (tasks.square, tasks.same)[run % 2]
        assert values(engine.run(task(fn), [run, run + 1])) == [fn(run), fn(run + 1)]


def test_system_exit_of_a_task_is_its_outcome(engine, task):
    outcomes = engine.run(task(tasks.leave), [3, "bye"])
    assert kinds(outcomes) == [SystemExit, SystemExit]
    assert [outcome.error.code for outcome in outcomes] == [3, "bye"]


def test_a_base_exception_of_a_task_is_its_outcome(engine, task):
    (outcome,) = engine.run(task(tasks.raise_base), ["odd"])
    assert type(outcome.error) is BaseException


def test_a_task_that_recurses_for_ever_fails_alone(engine, task):
    outcomes = engine.run(task(tasks.recurse), [1, 2])
    assert kinds(outcomes) == [RecursionError, RecursionError]


def test_an_exception_keeps_its_notes_and_shows_where_it_was_raised(engine, task, name):
    (outcome,) = engine.run(task(tasks.with_note), [1])
    assert outcome.error.__notes__ == ["a note"]
    if name in ("processes", "interpreters"):
        assert "in with_note" in str(outcome.error.__cause__)


def test_an_exception_that_does_not_load_again_comes_back_in_words(engine, task, name):
    (outcome,) = engine.run(task(tasks.raise_awkward), ["broken"])
    if name in ("processes", "interpreters"):
        assert type(outcome.error) is (RemoteError if name == "processes" else RuntimeError)
        assert str(outcome.error) == "contract_tasks.AwkwardError: broken"
        assert "in raise_awkward" in str(outcome.error.__cause__)
    else:
        assert type(outcome.error) is tasks.AwkwardError


def test_an_exception_class_made_in_the_task_arrives(engine, task):
    (outcome,) = engine.run(task(tasks.raise_local), ["inside"])
    assert type(outcome.error).__name__ == "LocalError"
    assert outcome.error.args == ("inside",)


@pytest.mark.parametrize("fn", [tasks.unpicklable, tasks.unloadable])
def test_a_result_that_does_not_travel_costs_only_its_own_task(engine, task, name, fn):
    outcomes = engine.run(task(fn), [0, 1, 0], chunksize=3)
    assert [outcomes[0].value, outcomes[2].value] == ["fine", "fine"]
    assert (outcomes[1].error is not None) == (name in ("processes", "interpreters"))


@pytest.mark.parametrize("kind", [tasks.Unpicklable, tasks.Unloadable])
def test_an_item_that_does_not_travel_costs_only_its_own_task(engine, task, name, kind):
    outcomes = engine.run(task(tasks.same), [1, kind(), 3], chunksize=3)
    assert [outcomes[0].value, outcomes[2].value] == [1, 3]
    assert (outcomes[1].error is not None) == (name in ("processes", "interpreters"))


def test_a_result_that_only_cloudpickle_knows_arrives(engine, task):
    (outcome,) = engine.run(task(tasks.closure_result), [41])
    assert outcome.value() == 42


def test_lambdas_and_closures_run(engine, task):
    factor = 3
    assert values(engine.run(task(lambda item: item * factor), [1, 2])) == [3, 6]


def test_fifty_megabytes_travel_both_ways(engine, task):
    size = 50_000_000
    payload = b"y" * size
    assert values(engine.run(task(tasks.length), [payload])) == [size]
    (outcome,) = engine.run(task(tasks.repeat), [size])
    assert outcome.value == b"x" * size


def test_large_payloads_in_both_directions_at_once_do_not_block_each_other(engine, task):
    payload = b"z" * 3_000_000
    outcomes = engine.run(task(tasks.same), [payload] * 20, chunksize=2)
    assert all(outcome.value == payload for outcome in outcomes)


def test_warnings_of_a_task_stay_the_tasks_own(engine, task, name):
    if name == "threads":
        pytest.skip("the warnings filter belongs to the process: two threads replace each other's")
    assert values(engine.run(task(tasks.warn_of), [1, 2])) == [1, 1]


def test_an_error_of_the_iterable_is_raised_after_the_items_before_it_ran(engine, task):
    seen = []

    def broken():
        yield 1
        seen.append("asked again")
        msg = "no more"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="no more"):
        engine.run(task(tasks.square), broken())
    assert seen == ["asked again"]
    assert values(engine.run(task(tasks.square), [5])) == [25]


def test_a_closed_engine_says_so(name, task):
    engine = open_engine(name, 1)
    engine.close()
    engine.close()
    engine.close(kill=True)
    if name != "serial":
        with pytest.raises(EngineError, match="closed"):
            engine.run(task(tasks.square), [1])


def test_context_variables_reach_the_tasks_and_do_not_leak_between_them(engine, task, name):
    if name not in ("threads", "async", "processes"):
        pytest.skip("shares no context with the caller, or is the caller")
    token = tasks.note.set("caller's")
    try:
        assert values(engine.run(task(tasks.read_note), range(6))) == ["caller's"] * 6
        assert tasks.note.get() == "caller's"
    finally:
        tasks.note.reset(token)
