"""Fill the tables of README.md and docs/ from benches/results, so that nobody types a number.

A block that begins with ``<!-- table:NAME -->`` and ends with ``<!-- /table -->`` holds what the renderer of
that name makes of ``benches/results/NAME.json``; ``NAME.VIEW`` is another view of the same file. ``tables.py``
writes the blocks; ``tables.py --check`` only says which are out of date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table:(?P<name>[\w.-]+) -->\n)(?P<body>.*?)(<!-- /table -->)", re.DOTALL)
THOUSAND = 1000
TIE = 1.05
UNMEASURED = "*Not measured yet; `make bench` does.*\n"


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Draw rows as a table whose columns are the first row's keys, underscores read as spaces."""
    columns = list(rows[0])
    numeric = [all(isinstance(row[column], int | float | None) for row in rows) for column in columns]
    lines = [
        [column.replace("_", " ") for column in columns],
        ["---:" if right else "---" for right in numeric],
        *([cell(row[column]) for column in columns] for row in rows),
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cell(value: object) -> str:
    """Write one value so that it fits a cell: three significant digits, no bar, no line break."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < THOUSAND else f"{value:,.0f}"
    return " ".join(str(value).replace("|", "\\|").split())


def plain_rows(results: object) -> str:
    """Render a list of flat dicts, or the one under ``rows``; of any other dict the figures it holds directly."""
    rows = results
    if isinstance(results, dict):
        figures = [{"figure": key, "value": cell(value)} for key, value in results.items() if is_plain(value)]
        rows = results.get("rows", figures)
    return markdown_table(rows) if rows else "*The last run found nothing.*\n"


def is_plain(value: object) -> bool:
    """Say whether a value fits one cell."""
    return isinstance(value, int | float | str | None)


def verdicts(results: dict[str, Any]) -> str:
    """Sum up how good the verdicts were, each figure beside what was promised."""
    figures = [
        ("chosen engine within 5 % of the best", percent(results["best_within_5_percent"]), "95 % or more"),
        ("worst regret", f"{results['regret_worst']:.2f}x", "1.25x at most"),
        ("forecast error, median", percent(results["error_median"]), "10 % at most"),
        ("forecasts within 20 %", percent(results["error_within_20_percent"]), "80 % or more"),
        ("time over budget, 95th percentile", f"{results['over_budget_s_p95']:.2f} s", "0.3 s at most"),
    ]
    counted = f"{results['workloads']} workloads, {results['forecasts']} forecasts"
    return markdown_table([{counted: name, "measured": shown, "aim": aim} for name, shown, aim in figures])


def worst_forecasts(results: dict[str, Any]) -> str:
    """List the forecasts that were furthest off."""
    return markdown_table(
        [{"forecast": row["forecast"], "error": f"{row['error']:+.0%}"} for row in results["worst_ten"]]
    )


def regrets(results: dict[str, Any]) -> str:
    """List the workloads where another engine would have been faster by more than a tie."""
    rows = [
        {"workload": name, "regret": f"{regret:.2f}x"}
        for name, regret in results["regrets"].items()
        if regret > TIE
    ]
    return (
        markdown_table(rows) if rows else "On every workload the chosen engine was within 5 % of the best.\n"
    )


def percent(share: float) -> str:
    """Write a share as people read it."""
    return f"{share * 100:.3g} %"


def auto_targets(results: dict[str, Any]) -> str:
    """Set what the automatic pool promises beside what was measured."""
    worst = results["worst"]
    rows = [
        ("within 1.10x of the best fixed engine", percent(results["within_close"]), "95 % or more"),
        ("the worst workload", "none ran" if worst is None else f"{worst:.2f}x", "1.3x at most"),
        ("all workloads, seconds", cell(results["auto_total_s"]), ""),
        ("the best fixed engine of each, seconds", cell(results["best_total_s"]), ""),
        ("plain loops, seconds", cell(results["serial_total_s"]), ""),
    ]
    counted = f"`whichever.Pool()` on {results['workloads']} workloads"
    return markdown_table([{counted: name, "measured": shown, "aim": aim} for name, shown, aim in rows])


def auto_rivals(results: dict[str, Any]) -> str:
    """Set the automatic pool's time beside each rival's, on the workloads that the rival can run."""
    return markdown_table(
        [
            {
                "with default arguments": row["rival"],
                "workloads": row["workloads"],
                "its seconds": row["rival_s"],
                "`whichever.Pool()`": row["auto_s"],
                "times as long": None if row["times_as_long"] is None else f"{row['times_as_long']:.2f}",
                "2x slower or worse": row["loses_by_2x_or_more"],
                "2x faster or better": row["auto_loses_by_2x_or_more"],
                "cannot run": row["cannot"],
            }
            for row in results["rivals"]
            if row["workloads"]  # it was installed, and could run one
        ]
    )


def auto_worst(results: dict[str, Any]) -> str:
    """List the workloads on which a fixed engine beat the automatic pool by most."""
    return markdown_table(
        [
            {
                "workload": row["workload"],
                "auto": row["auto_s"],
                "it chose": row["auto_chose"],
                "best fixed": row["best_s"],
                "which is": row["best"],
                "times": "cannot" if row["over_best"] is None else f"{row['over_best']:.2f}x",
            }
            for row in results["worst_ten"]
        ]
    )


def auto_short(results: dict[str, Any]) -> str:
    """Show short jobs beside a plain loop, and two phases beside who switches by hand."""
    short = {
        "what": f"0.2 s of work, {results['workloads']} workloads",
        "measured": f"{results['kept']} kept, the latest {results['latest_s'] * 1e3:.0f} ms later than a plain loop",
        "aim": "10 ms or 5 % later at most",
    }
    phases = [
        {
            "what": row["phases"],
            "measured": f"{row['times']:.2f}x of switching by hand",
            "aim": f"{row['aim']}x at most",
        }
        for row in results["phases"]
    ]
    return markdown_table([short, *phases])


def pool_targets(results: dict[str, Any]) -> str:
    """Set what the process pool promises against its rivals beside what was measured."""
    return markdown_table(
        [
            {
                "": row["figure"],
                "unit": row["unit"],
                "ours": row["ours"],
                "beside": row["rival"],
                "theirs": row["theirs"],
            }
            | {"factor": row["factor"], "at least": row["at_least"], "kept": row["kept"]}
            for row in results["targets"]
        ]
    )


def pool_figures(columns: dict[str, str]) -> Callable[[Any], str]:
    """Make a renderer that gives each pool a row and each figure of `columns` a column under its heading."""

    def draw(results: dict[str, Any]) -> str:
        medians = {(row["contender"], row["figure"]): row["median"] for row in results["rows"]}
        names = dict.fromkeys(name for name, figure in medians if figure in columns)
        rows = [
            {"pool": name} | {head: medians.get((name, figure)) for figure, head in columns.items()}
            for name in names
        ]
        return markdown_table(rows) if rows else UNMEASURED

    return draw


def pool_lacks(results: dict[str, Any]) -> str:
    """List the figures that a pool does not have, with the reason."""
    rows = [
        {"pool": row["contender"], "figure": row["figure"], "why": row["why"]} for row in results["lacking"]
    ]
    return markdown_table(rows) if rows else "Every pool has every figure.\n"


def pool_tests_failed(results: dict[str, Any]) -> str:
    """List the black-box tests that are not ok; the file has the others, too."""
    rows = [
        {"executor": row["executor"], "CPython": row["CPython"], "start method": row["start_method"]}
        | {"test": row["test"], "outcome": row["outcome"], "why": row["why"]}
        for row in results["failures"]
        if not row["reads"]
    ]
    return markdown_table(rows) if rows else "Every black-box test is ok.\n"


def loop_tests_failed(results: dict[str, Any]) -> str:
    """List what fails on our loop and neither on asyncio's nor by its nature."""
    return markdown_table(results["failures"]) if results["failures"] else "Nothing.\n"


RENDERERS: dict[str, Callable[[Any], str]] = {
    "auto": auto_targets,
    "auto.rivals": auto_rivals,
    "auto.worst": auto_worst,
    "auto_short": auto_short,
    "conformance_process_pool.failures": pool_tests_failed,
    "process_pool": pool_targets,
    "process_pool.calls": pool_figures(
        {
            "round_trip_p50_us": "round trip, us",
            "round_trip_p99_us": "99th percentile",
            "submit_per_s": "submit, per s",
            "map_default_per_s": "map, per s",
            "map_best_chunk_per_s": "map, best chunk",
            "asyncio_per_s": "asyncio, per s",
            "main_round_trip_p50_us": "round trip from the program",
            "closure_round_trip_p50_us": "of a closure",
        }
    ),
    "process_pool.lacks": pool_lacks,
    "process_pool.payloads": pool_figures(
        {
            "array_100m_cold_gb_per_s": "100 MiB array, cold",
            "array_100m_warm_gb_per_s": "warm",
            "array_100m_added_up_gb_per_s": "and added up",
            "array_100m_echo_gb_per_s": "there and back",
            "array_1m_gb_per_s": "1 MiB array",
            "array_1m_echo_gb_per_s": "there and back ",
            "bytes_1m_gb_per_s": "1 MiB bytes",
            "bytes_1m_echo_gb_per_s": "there and back  ",
        }
    ),
    "process_pool.start": pool_figures(
        {
            "import_ms": "import, ms",
            "first_pool_ms": "first pool, ms",
            "new_pool_ms": "another pool, ms",
            "close_ms": "close, ms",
            "worker_pss_mib": "worker, MiB",
            "worker_uss_mib": "its own pages",
            "helpers_pss_mib": "other processes",
            "efficiency_1ms": "efficiency at 1 ms",
            "efficiency_10ms": "at 10 ms",
        }
    ),
    "conformance_loop.failures": loop_tests_failed,
    "loop_memory.rows": lambda results: markdown_table(results["rows"]),
    "loop_micro.rows": lambda results: markdown_table(results["rows"]),
    "loop_micro.targets": lambda results: markdown_table(results["targets"]),
    "loops.rows": lambda results: markdown_table(results["rows"]),
    "loops.targets": lambda results: markdown_table(results["targets"]),
    "queues.rows": lambda results: markdown_table(results["rows"]),
    "queues.targets": lambda results: markdown_table(results["targets"]),
    "verdicts": verdicts,
    "verdicts.worst": worst_forecasts,
    "verdicts.regrets": regrets,
}
"""Renderers of results that are not plain rows, by the name of the block."""


def caption(record: dict[str, Any]) -> str:
    """Say in one line what the figures of a result file belong to."""
    machine, python = record["machine"], record["versions"]["python"]
    where = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, CPython {python}"
    when = f"{record['date']}, commit {record['commit']}, {repeated(record['repeats'])}"
    return f"\n*{where}; {when}: `{record['command']}`*\n"


def repeated(repeats: int) -> str:
    """Say how often each figure was measured."""
    return f"median of {repeats}" if repeats > 1 else "measured once"


def render(name: str, results_folder: Path) -> str:
    """Give the body of the block `name`."""
    path = results_folder / f"{name.partition('.')[0]}.json"
    if not path.exists():
        return UNMEASURED
    record = json.loads(path.read_text(encoding="utf-8"))
    return RENDERERS.get(name, plain_rows)(record["results"]) + caption(record)


def filled(text: str, results_folder: Path) -> str:
    """Give `text` with every block as it should be."""
    return BLOCK.sub(lambda block: block[1] + render(block["name"], results_folder) + block[4], text)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the blocks, or with ``--check`` name the files that need it; return the exit code."""
    stale = []
    for path in [root / "README.md", *sorted(root.glob("docs/**/*.md"))]:
        text = path.read_text(encoding="utf-8")
        new = filled(text, root / "benches" / "results")
        if new != text:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    verb = "is out of date: run `make tables`" if "--check" in arguments else "written"
    print("\n".join(f"{path.relative_to(root)} {verb}" for path in stale) or "all tables are current")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
