"""Objects for as long as others keep them."""

from whichever.executors._living import Living


class Member:
    """Something that can go."""


def test_members_stay_as_long_as_somebody_keeps_them():
    living, first, second = Living(), Member(), Member()
    living.add(first)
    living.add(second)
    assert list(living) == [first, second]
    del first
    assert list(living) == [second]


def test_members_that_have_gone_take_no_room_for_long():
    living, kept = Living(), [Member() for _ in range(40)]
    for member in kept:
        living.add(member)
    for _ in range(10_000):
        living.add(Member())
    assert list(living) == kept
    assert len(living._members) <= 100
