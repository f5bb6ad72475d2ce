"""What a queue does for those who call it: the standard library's queues, and a few things more."""

from __future__ import annotations

import copy
import gc
import pickle
import queue as standard
import threading
import weakref

import pytest

import whichever
from whichever import LifoQueue, PriorityQueue, Queue
from whichever.errors import WhicheverError

KINDS = [Queue, LifoQueue, PriorityQueue]


def filled(kind, *items):
    queue = kind()
    for item in items:
        queue.put(item)
    return queue


@pytest.mark.parametrize(
    ("kind", "order"), [(Queue, [3, 1, 2]), (LifoQueue, [2, 1, 3]), (PriorityQueue, [1, 2, 3])]
)
def test_each_queue_gives_its_items_in_its_order(kind, order):
    queue = filled(kind, 3, 1, 2)
    assert [queue.get() for _ in range(3)] == order


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_queue_refuses_at_once_or_after_its_timeout(kind):
    queue = kind(1)
    queue.put(1)
    assert queue.full()
    for refused in (
        lambda: queue.put_nowait(2),
        lambda: queue.put(2, timeout=0.01),
        lambda: queue.put(2, False),
    ):
        with pytest.raises(standard.Full) as caught:
            refused()
        assert isinstance(caught.value, whichever.QueueFull)
        assert isinstance(caught.value, WhicheverError)
    assert queue.get() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_queue_refuses_at_once_or_after_its_timeout(kind):
    queue = kind()
    for refused in (queue.get_nowait, lambda: queue.get(timeout=0.01), lambda: queue.get(block=False)):
        with pytest.raises(standard.Empty):
            refused()
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="non-negative"):
            queue.get(timeout=wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_queue_gives_what_it_has_and_then_ends(kind):
    queue = filled(kind, 1)
    queue.close()
    queue.close()
    assert queue.closed
    with pytest.raises(whichever.QueueClosed):
        queue.put(2)
    assert list(queue) == [1]
    with pytest.raises(whichever.QueueClosed) as caught:
        queue.get()
    assert isinstance(caught.value, getattr(standard, "ShutDown", WhicheverError))


def test_leaving_a_with_block_closes_the_queue():
    with Queue() as queue:
        queue.put(1)
    assert list(queue) == [1]


def test_an_immediate_shutdown_drops_the_items_and_counts_them_as_finished():
    queue = filled(Queue, 1, 2)
    queue.shutdown(immediate=True)
    assert queue.empty()
    assert queue.join(timeout=0)


def test_items_pass_by_reference():
    item = object()
    queue = filled(Queue, item)
    assert queue.get() is item


def test_join_waits_for_task_done_and_too_many_are_an_error():
    queue = filled(Queue, 1, 2)
    assert not queue.join(timeout=0.01)
    for _ in range(2):
        queue.get()
        queue.task_done()
    assert queue.join(timeout=0)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_items_that_cannot_be_compared_change_nothing():
    queue = filled(PriorityQueue, 5, 3, 4)
    with pytest.raises(TypeError):
        queue.put("three")
    assert queue.qsize() == 3
    assert [queue.get() for _ in range(3)] == [3, 4, 5]


def test_a_comparison_that_fails_in_get_leaves_every_item():
    class Moody:
        angry = False

        def __init__(self, rank):
            self.rank = rank

        def __lt__(self, other):
            if Moody.angry:
                raise ArithmeticError
            return self.rank < other.rank

    queue = filled(PriorityQueue, *(Moody(rank) for rank in (4, 2, 3, 1)))
    Moody.angry = True
    with pytest.raises(ArithmeticError):
        queue.get()
    Moody.angry = False
    assert [queue.get().rank for _ in range(4)] == [1, 2, 3, 4]


def test_a_comparison_that_uses_its_queue_is_refused():
    class Meddler:
        def __lt__(self, other):
            queue.put(1)
            return True

    queue = filled(PriorityQueue, Meddler())
    with pytest.raises(RuntimeError, match="used the queue"):
        queue.put(Meddler())
    assert queue.qsize() == 1


@pytest.mark.parametrize("kind", [LifoQueue, PriorityQueue])
def test_only_a_plain_queue_leaves_its_process(kind):
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(kind())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_queue_is_not_copied_and_does_not_become_shared_by_trying(kind, copied):
    queue = filled(kind, 1)
    with pytest.raises(TypeError, match="cannot be copied"):
        copied(queue)
    assert not queue.statistics().shared


def test_an_immediate_shutdown_empties_a_heap():
    queue = filled(PriorityQueue, 3, 1, 2)
    queue.shutdown(immediate=True)
    assert queue.empty()
    assert list(queue) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_cycle_through_a_queue_is_collected(kind):
    class Node:
        def __lt__(self, other):
            return False

    node = Node()
    node.queue = filled(kind, node, Node())
    seen = weakref.ref(node)
    del node
    gc.collect()
    assert seen() is None


def test_an_item_that_uses_the_queue_while_it_is_dropped_does_no_harm():
    class Last:
        def __del__(self):
            others.put("dropped")

    others = Queue()
    queue = filled(Queue, Last())
    queue.shutdown(immediate=True)
    assert others.get(timeout=10) == "dropped"


def test_statistics_count_what_was_done():
    queue = Queue(2)
    queue.put(1)
    queue.put(2)
    queue.get()
    queue.task_done()
    found = queue.statistics()
    assert (found.put, found.got, found.size, found.most, found.unfinished) == (2, 1, 1, 2, 1)
    assert (found.maxsize, found.closed, found.shared, found.shared_bytes) == (2, False, False, 0)


def test_the_repr_says_what_is_in_it():
    queue = filled(Queue, 1)
    assert "1 items" in repr(queue)
    queue.close()
    assert "closed" in repr(queue)


def test_a_subclass_may_have_a_constructor_of_its_own():
    class Named(Queue[int]):
        def __init__(self, name):
            super().__init__(maxsize=1)
            self.name = name

    queue = Named("n")
    queue.put(1)
    assert queue.full()
    assert queue.name == "n"


def test_a_larger_limit_lets_who_waits_in(until):
    queue = Queue(1)
    queue.put(1)
    putter = threading.Thread(target=queue.put, args=(2,))
    putter.start()
    until(lambda: queue.statistics().put_waits)
    queue.maxsize = 2
    putter.join(30)
    assert queue.qsize() == 2
