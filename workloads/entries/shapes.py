"""What is known of the tasks whose point is their size, or what they carry and write."""

from __future__ import annotations

from workloads.registry import Workload

_ELSEWHERE = ("interpreters", "processes")


def _positive(_item: int, result: int) -> bool:
    return result >= 0


ENTRIES = (
    Workload(
        name="tiny_tasks",
        room="shapes",
        textbook="processes",
        known="about a microsecond each: every engine costs more than the task",
        plausible=_positive,
        tags=frozenset({"tiny"}),
    ),
    Workload(
        name="short_tasks",
        room="shapes",
        textbook="processes",
        known="about 50 microseconds each: pays only in batches",
        plausible=_positive,
    ),
    Workload(
        name="long_tasks",
        room="shapes",
        textbook="processes",
        known="about two seconds each, and only three of them: two workers give 1.5 at most",
        plausible=lambda item, result: 0 < result < 7 * item,
        tags=frozenset({"long"}),
    ),
    Workload(
        name="uneven_tasks",
        room="shapes",
        textbook="processes",
        known="one task in 25 takes a hundred times as long; in large chunks the last one runs alone",
        plausible=lambda item, result: 0 < result < 7 * item,
        tags=frozenset({"uneven"}),
    ),
    Workload(
        name="large_bytes_in",
        room="shapes",
        textbook="processes",
        known="8 MB in for a checksum that releases the GIL",
        plausible=lambda _, result: result > 0,
        tags=frozenset({"payload", "native"}),
    ),
    Workload(
        name="large_objects_in",
        room="shapes",
        textbook="processes",
        known="pickling 30 000 tuples takes longer than looking at them",
        plausible=lambda item, result: result == item[-1],
        tags=frozenset({"payload"}),
    ),
    Workload(
        name="large_bytes_out",
        room="shapes",
        textbook="processes",
        known="unpacks 8 MB without the GIL: threads keep them where they are, a process copies them",
        plausible=lambda item, result: 0 < len(result) <= 8 << 20 and len(result) > 2 * len(item),
        tags=frozenset({"payload", "native"}),
    ),
    Workload(
        name="large_objects_out",
        room="shapes",
        textbook="processes",
        known="pickling 30 000 tuples and loading them again takes much of what making them does",
        plausible=lambda _, result: len(result) == 30_000,
        tags=frozenset({"payload"}),
    ),
    Workload(
        name="sum_of_parts",
        room="shapes",
        textbook="processes",
        known="a list of ten million ints cut in parts: sending a part costs several times its sum",
        plausible=lambda item, result: result == (item[0] + item[-1]) * len(item) // 2,
        tags=frozenset({"payload"}),
    ),
    Workload(
        name="lambda",
        room="hazards",
        textbook="processes",
        known="pickles with cloudpickle only",
        plausible=lambda item, result: item < result < 4 * item,
    ),
    Workload(
        name="unpicklable_argument",
        room="hazards",
        textbook="processes",
        known="a lock inside each argument",
        plausible=lambda item, result: result > item.balance,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="unpicklable_result",
        room="hazards",
        textbook="processes",
        known="returns a function with a lock in its closure",
        plausible=lambda _, result: result() > 0,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="writes_global",
        room="hazards",
        textbook="processes",
        known="the caller looks the results up in a global dict",
        plausible=lambda item, result: result > item,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="writes_argument",
        room="hazards",
        textbook="processes",
        known="the results are in the arguments",
        plausible=lambda item, result: result is None and item["total"] > 0,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="closure_lock",
        room="hazards",
        textbook="processes",
        known="closes over a lock",
        plausible=lambda item, result: result > item,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="closure_list",
        room="hazards",
        textbook="processes",
        known="appends to a list it closes over",
        plausible=lambda _, result: result >= 1,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="closure_counter",
        room="hazards",
        textbook="processes",
        known="counts in a nonlocal, which a process would do in a copy",
        plausible=lambda item, result: result > item,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
    Workload(
        name="closure_generator",
        room="hazards",
        textbook="processes",
        known="draws from a generator it closes over, which cannot travel",
        plausible=lambda item, result: result > item,
        tags=frozenset({"state"}),
        breaks=_ELSEWHERE,
    ),
)
