"""What is saved as JSON is what docs/verdict-schema.json says."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from example_verdicts import EXAMPLES, processes_win, serial_wins_over_payload, some_tasks_raised

from whichever._types import BLOCKED_KINDS, ENGINE_NAMES, Forecast, Ledger, TimelineSpan, VerdictData

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "verdict-schema.json").read_text("utf-8"))


def saved(verdict, folder):
    return json.loads(verdict.save(folder / "x.json").read_text("ascii"), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_saved_verdict_is_valid(name, tmp_path):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(saved(EXAMPLES[name](), tmp_path))


def test_the_schema_rejects_an_engine_that_does_not_exist(tmp_path):
    document = saved(processes_win(), tmp_path) | {"engine": "magic"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


@pytest.mark.parametrize(
    ("place", "cls"),
    [("ledger", Ledger), ("forecast", Forecast), ("span", TimelineSpan), (None, VerdictData)],
)
def test_the_schema_names_every_field(place, cls):
    part = SCHEMA["$defs"][place] if place else SCHEMA
    fields = {field.name for field in dataclasses.fields(cls)}
    if place is None:  # positions are written beside the samples
        fields = fields - {"positions"} | {"schema", "whichever", "samples_total"}
    assert set(part["properties"]) == fields
    assert set(part["required"]) == fields


def test_the_schema_knows_every_engine_and_kind():
    assert SCHEMA["$defs"]["engine"]["enum"] == list(ENGINE_NAMES)
    assert SCHEMA["$defs"]["kind"]["enum"] == list(BLOCKED_KINDS)


def test_every_figure_is_written_as_it_is(tmp_path):
    verdict = processes_win()
    document = saved(verdict, tmp_path)
    assert document["schema"] == 1
    assert document["ledger"] == dataclasses.asdict(verdict.ledger) | {"unknown": []}
    assert document["forecasts"] == [dataclasses.asdict(forecast) for forecast in verdict.forecasts]
    assert len(document["timeline"]) == len(verdict.timeline)
    assert document["machine"]["starts"] == {"threads": 0.0002, "processes": 0.59}


def test_samples_are_short_reprs_with_their_positions(tmp_path):
    verdict = dataclasses.replace(serial_wins_over_payload(), positions=(0, 7))
    document = saved(verdict, tmp_path)
    assert document["samples"][1] == {"index": 7, "item": "[0, 1, 2, 3, 4, 5, ...]", "result": "499999500000"}


def test_only_the_first_hundred_samples_are_written(tmp_path):
    many = tuple((n, n) for n in range(1000))
    document = saved(
        dataclasses.replace(processes_win(), samples=many, positions=tuple(range(1000))), tmp_path
    )
    assert len(document["samples"]) == 100
    assert document["samples_total"] == 1000


def test_failures_are_written_with_their_error(tmp_path):
    first, second = saved(some_tasks_raised(), tmp_path)["failures"]
    assert (first["index"], first["error"]) == (1, "ValueError")
    assert (second["item"], second["repr"]) == ("'\\udcff'", "KeyError()")


def test_numbers_that_are_not_finite_become_null(tmp_path):
    verdict = processes_win()
    odd = dataclasses.replace(verdict.forecasts[0], high=math.inf, speedup=math.nan)
    document = saved(dataclasses.replace(verdict, forecasts=(odd,)), tmp_path)
    assert document["forecasts"][0]["high"] is None
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_a_machine_fact_of_any_type_can_be_written(tmp_path):
    facts = {"path": Path("/x"), "set": {2, 1}, "nested": {"raw": b"\x00"}}
    document = saved(dataclasses.replace(processes_win(), machine=facts), tmp_path)
    assert document["machine"] == {"path": "PosixPath('/x')", "set": [1, 2], "nested": {"raw": "b'\\x00'"}}
