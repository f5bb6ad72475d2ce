"""Check the prediction against real runs of every engine, and keep the report."""

import sys

import whichever


def steps_to_one(start: int) -> int:
    """Count how often halving, or tripling and adding one, is needed to get from `start` to 1."""
    steps = 0
    while start != 1:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        steps += 1
    return steps


def longest_path(block: range) -> int:
    """Return the number in `block` that takes the most steps."""
    return max(block, key=steps_to_one)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "."
    blocks = [range(low, low + 1000) for low in range(100_000, 120_000, 1000)]
    verdict = whichever.which(longest_path, blocks, verify=True)
    for forecast in verdict.forecasts:
        if forecast.measured is not None:
            print(
                f"{forecast.engine}: predicted {forecast.seconds:.2f} s, measured {forecast.measured:.2f} s"
            )
    verdict.save(f"{folder}/longest_path.html")
    verdict.save(f"{folder}/longest_path.json")
