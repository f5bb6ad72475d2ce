import itertools

import pytest

from whichever.advisor._feed import Feed


def take_all(feed, most=1000):
    return [pair for _ in range(most) if (pair := feed.take()) is not None]


def test_a_sequence_gives_every_item_once_and_early_ones_far_apart():
    feed = Feed(list(range(100)))
    taken = take_all(feed)
    assert sorted(taken) == [(k, k) for k in range(100)]
    first = sorted(position for position, _ in taken[:5])
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(first))
    assert feed.exhausted


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8])
def test_items_that_repeat_are_all_seen_early(period):
    feed = Feed([k % period for k in range(120)])
    assert {item for _, item in take_all(feed, 4 * period)} == set(range(period))


def test_an_iterator_is_taken_from_the_front_and_not_one_item_too_far():
    source = iter(range(10))
    feed = Feed(source)
    assert [feed.take() for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
    assert next(source) == 3


def test_an_endless_generator_keeps_what_was_not_needed():
    source = itertools.count()
    feed = Feed(source, count=1_000_000)
    feed.take()
    feed.take()
    assert next(source) == 2
    assert feed.tasks == 1_000_000


def test_a_generator_without_count_is_guessed_and_corrected_at_its_end():
    feed = Feed(k for k in range(3))
    assert feed.guessed
    assert len(take_all(feed, 10)) == 3
    assert (feed.tasks, feed.guessed, feed.exhausted) == (3, False, True)


def test_a_count_below_the_length_takes_only_so_many():
    assert len(take_all(Feed([1, 2, 3, 4], count=2))) == 2
    assert len(take_all(Feed(iter([1, 2, 3, 4]), count=2))) == 2


def test_a_set_has_a_length_but_no_positions_to_jump_to():
    feed = Feed({1, 2, 3})
    assert feed.tasks == 3
    assert {item for _, item in take_all(feed)} == {1, 2, 3}


@pytest.mark.parametrize("items", [[], (), iter([]), {}])
def test_nothing_gives_nothing(items):
    assert Feed(items).take() is None


def test_a_count_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Feed([1], count=0)


def test_all_items_of_an_iterator_are_those_taken_and_those_left():
    feed = Feed(iter("abcd"), count=4)
    taken = dict(feed.take() for _ in range(2))
    assert feed.all_items(taken) == ["a", "b", "c", "d"]


def test_a_numpy_array_is_a_sequence():
    numpy = pytest.importorskip("numpy")
    feed = Feed(numpy.arange(8))
    assert {int(item) for _, item in take_all(feed)} == set(range(8))
