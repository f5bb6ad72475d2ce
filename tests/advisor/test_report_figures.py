"""The figures' geometry: where marks, bars and spans stand."""

import dataclasses
import math
import re
from itertools import pairwise

import pytest
from example_verdicts import async_wins, bare, processes_win, serial_wins_over_payload

from whichever._types import TimelineSpan
from whichever.advisor import _chart as chart
from whichever.advisor._timeline import timeline


def span(start, seconds, state="held", thread="main"):
    return TimelineSpan(start=start, seconds=seconds, thread=thread, state=state)


def area(path):
    boxes = re.findall(r"M([\d.]+) ([\d.]+)h(\d+)v([\d.]+)h-\d+z", path)
    assert "".join(f"M{x} {y}h{w}v{h}h-{w}z" for x, y, w, h in boxes) == path
    return sum(int(w) * float(h) for _, _, w, h in boxes)


def test_the_ledgers_segments_fill_the_bar_without_gaps():
    segments = chart.ledger_bar(processes_win().ledger)
    assert [segment.part.state for segment in segments] == ["held", "released", "waiting", "queued"]
    assert segments[0].x == 0
    for left, right in pairwise(segments):
        assert left.x + left.width == pytest.approx(right.x)
    assert segments[-1].x + segments[-1].width == pytest.approx(chart.WIDTH)


def test_every_forecast_is_inside_the_frame_and_slower_is_higher():
    for verdict in (processes_win(), async_wins(), serial_wins_over_payload()):
        drawn = chart.forecast_chart(verdict)
        marks = [mark for series in drawn.series for mark in series.marks]
        assert len(marks) == len(verdict.forecasts)
        for mark in marks:
            assert drawn.left <= mark.x <= drawn.right
            assert drawn.top <= mark.high <= mark.y <= mark.low <= drawn.bottom
        by_seconds = sorted(marks, key=lambda mark: mark.forecast.seconds)
        assert by_seconds == sorted(marks, key=lambda mark: -mark.y)


def test_exactly_the_chosen_forecast_is_marked():
    chosen = [m.forecast for s in chart.forecast_chart(async_wins()).series for m in s.marks if m.chosen]
    assert chosen == [async_wins().forecasts[0]]


def test_engines_with_the_same_worker_count_stand_side_by_side():
    drawn = chart.forecast_chart(processes_win())
    places = [mark.x for series in drawn.series for mark in series.marks if mark.forecast.workers == 1]
    assert len(set(places)) == 3


def test_like_values_get_an_axis_from_zero_and_unlike_ones_a_logarithmic_axis():
    near = chart.forecast_chart(processes_win()).seconds
    assert near[0].label == "0"
    far = chart.forecast_chart(async_wins()).seconds
    assert far[0].label != "0"
    assert 3 <= len(far) <= 8


@pytest.mark.parametrize("most", [0.00123, 0.9, 1.0, 7.3, 49.9, 1e5])
def test_an_axis_has_four_to_seven_ticks(most):
    assert 4 <= len(chart.linear_ticks(most)) <= 7


def test_a_forecast_that_is_not_finite_is_not_drawn():
    verdict = processes_win()
    odd = dataclasses.replace(verdict.forecasts[1], seconds=math.inf)
    drawn = chart.forecast_chart(dataclasses.replace(verdict, forecasts=(verdict.forecasts[0], odd)))
    assert sum(len(series.marks) for series in drawn.series) == 1


def test_an_interval_without_an_end_reaches_the_frame():
    verdict = processes_win()
    odd = dataclasses.replace(verdict.forecasts[0], low=0.0, high=math.inf)
    drawn = chart.forecast_chart(dataclasses.replace(verdict, forecasts=(odd,)))
    assert drawn.series[0].marks[0].high == pytest.approx(drawn.top)


def test_without_forecasts_there_is_no_chart():
    assert chart.forecast_chart(bare()) is None


def test_the_timelines_areas_are_the_states_shares():
    drawn = timeline([span(0.0, 0.6), span(0.6, 0.3, "released"), span(0.9, 0.1, "blocked:file")])
    whole = (drawn.right - drawn.left) * drawn.row
    shares = {state: area(path) / whole for state, path in drawn.rows[0].paths.items()}
    assert shares == pytest.approx({"held": 0.6, "released": 0.3, "blocked:file": 0.1}, abs=0.002)


def test_many_short_spans_share_their_columns():
    spans = [span(k * 1e-4, 5e-5, "held" if k % 2 else "released") for k in range(20_000)]
    drawn = timeline(spans)
    whole = (drawn.right - drawn.left) * drawn.row
    for path in drawn.rows[0].paths.values():
        assert area(path) / whole == pytest.approx(0.25, abs=0.01)
        assert len(path) < 25_000


def test_time_that_nobody_sampled_stays_blank():
    drawn = timeline([span(0.0, 0.25), span(0.75, 0.25)])
    whole = (drawn.right - drawn.left) * drawn.row
    assert area(drawn.rows[0].paths["held"]) / whole == pytest.approx(0.5, abs=0.005)


def test_busy_threads_come_first_and_the_rest_is_counted():
    spans = [span(0.0, 1.0, "blocked:lock", f"idle-{k}") for k in range(20)] + [span(0.0, 0.2, thread="busy")]
    drawn = timeline(spans)
    assert drawn.rows[0].thread == "busy"
    assert len(drawn.rows) == 12
    assert drawn.hidden == 9


def test_nothing_sampled_gives_no_timeline():
    assert timeline([]) is None
    assert timeline([span(0.0, 0.0)]) is None
