"""Ask about items that come one by one from a source without a length; those not sampled stay in it."""

import json
from collections.abc import Iterator

import whichever


def records() -> Iterator[str]:
    """Produce JSON records for ever, as a message queue would."""
    number = 0
    while True:
        yield json.dumps({"number": number, "readings": list(range(number % 7, 6000))})
        number += 1


def mean_reading(record: str) -> float:
    """Return the mean of the record's readings."""
    readings = json.loads(record)["readings"]
    return sum(readings) / len(readings)


if __name__ == "__main__":
    source = records()
    verdict = whichever.which(mean_reading, source, count=50_000, budget=0.5)
    print(f"{verdict.engine} with {verdict.workers} workers for {verdict.tasks} records")
    print(f"{len(verdict.samples)} records are done; the next one is {json.loads(next(source))['number']}")
