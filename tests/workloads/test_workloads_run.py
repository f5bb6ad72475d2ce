"""Every workload runs, gives plausible results and leaves nothing behind; the hazards are hazards."""

import dataclasses
import inspect
import os
import threading
from pathlib import Path

import cloudpickle
import pytest
from workloads.__main__ import check, run_one
from workloads.registry import workloads


def _children():
    tasks = Path("/proc/self/task")
    return {pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.parametrize("name", workloads())
def test_two_items_give_plausible_results_and_leave_nothing_behind(name, here, own_temporary_folder):
    workload = here(name)
    children, threads = _children(), threading.active_count()
    check(workload)
    assert not list(own_temporary_folder.iterdir())
    assert _children() == children
    assert threading.active_count() == threads


def test_an_implausible_result_is_found(here):
    workload = dataclasses.replace(here("queens"), plausible=lambda item, result: result < 0)
    with pytest.raises(ValueError, match="implausible result"):
        check(workload)


def test_a_task_that_fails_still_stops_its_server(here):
    workload, before = here("urllib_5ms"), _children()
    with pytest.raises(ZeroDivisionError), workload.make():
        raise ZeroDivisionError
    assert _children() == before


@pytest.mark.parametrize(("name", "tags"), [("time_sleep", {"async"}), ("asyncio_sleep", set())])
def test_a_wrong_async_tag_is_found(name, tags, here):
    workload = dataclasses.replace(here(name), tags=frozenset(tags))
    with pytest.raises(ValueError, match="coroutine functions carry the tag async"):
        check(workload)


def test_each_preparation_starts_with_fresh_state(here):
    for name in ("closure_list", "closure_list"):
        with here(name).make() as (fn, items):
            assert [fn(item) for item in items[:2]] == [1, 2]
    with here("writes_global").make() as (fn, items):
        fn(items[0])
        assert fn.__globals__["cache"].keys() == {items[0]}
    assert not fn.__globals__["cache"]


@pytest.mark.parametrize(
    "name", ["unpicklable_argument", "unpicklable_result", "closure_lock", "closure_generator"]
)
def test_what_cannot_travel_does_not_pickle_even_with_cloudpickle(name, here):
    with here(name).make() as (fn, items), pytest.raises(TypeError, match="pickle"):
        cloudpickle.dumps((fn, items[0], run_one(fn, items[0])))


@pytest.mark.parametrize(("name", "before"), [("closure_list", []), ("closure_counter", 0)])
def test_what_a_copy_writes_into_its_closure_the_caller_misses(name, before, here):
    with here(name).make() as (fn, items):
        cloudpickle.loads(cloudpickle.dumps(fn))(items[0])
        assert before in inspect.getclosurevars(fn).nonlocals.values()
        fn(items[0])
        assert before not in inspect.getclosurevars(fn).nonlocals.values()


def test_what_is_written_into_a_copied_argument_the_caller_misses(here):
    with here("writes_argument").make() as (fn, items):
        fn(cloudpickle.loads(cloudpickle.dumps(items[0])))
        assert "total" not in items[0]
        fn(items[0])
        assert "total" in items[0]


def test_the_pids_of_children_can_be_read_here():
    pid = os.posix_spawn("/bin/sleep", ["sleep", "30"], {})
    try:
        assert str(pid) in _children()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
