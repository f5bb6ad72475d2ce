"""Each job of the demonstration: its items, tasks checked another way, and what it leaves behind."""

import asyncio
import contextlib
import hashlib
import importlib
import inspect
import json
import pickle
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from whichever._types import ENGINE_NAMES
from whichever.cli.demo import (
    adding,
    documents,
    handler,
    packing,
    pipeline,
    primes,
    reading,
    run,
    server,
    sleepers,
    sources,
    words,
)

NUMPY = "arrays"


def job_called(name):
    if name == NUMPY:
        pytest.importorskip("numpy")
    return run.load(name)


def result_of(fn, item):
    result = fn(item)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


@pytest.fixture
def servers(monkeypatch):
    """Every server process that a job starts."""
    started = []
    real = server.subprocess.Popen

    def remembering(*args, **options):
        started.append(real(*args, **options))
        return started[-1]

    monkeypatch.setattr(server.subprocess, "Popen", remembering)
    return started


@pytest.mark.parametrize("name", run.NAMES)
def test_a_job_works_on_its_items_and_leaves_nothing_behind(name, servers, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = job_called(name)
    with job.items() as items:
        assert 20 <= len(items) <= 2500
        results = [result_of(job.fn, item) for item in items[:2]]
        assert all(process.poll() is None for process in servers)
    assert len(results) == 2
    assert all(result is not None for result in results)
    assert all(process.returncode is not None for process in servers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", run.NAMES)
def test_a_job_leaves_nothing_behind_when_it_is_interrupted(name, servers, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = job_called(name)
    with contextlib.suppress(KeyboardInterrupt), job.items():
        raise KeyboardInterrupt
    assert all(process.returncode is not None for process in servers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", run.NAMES)
def test_a_job_can_go_to_another_process_and_back(name):
    job = job_called(name)
    assert pickle.loads(pickle.dumps(job.fn)) is job.fn
    with job.items() as items:
        item = items[0]
        result = result_of(job.fn, pickle.loads(pickle.dumps(item)))
        assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("name", run.NAMES)
def test_a_job_says_what_it_does_and_what_the_textbook_says(name):
    job = job_called(name)
    assert job.textbook in ENGINE_NAMES
    assert len(job.title) <= 24
    assert job.task.endswith(".")
    assert job.because


def test_there_are_more_than_ten_jobs_and_all_but_one_need_only_the_standard_library():
    third_party = [name for name in run.NAMES if name == NUMPY]
    assert len(run.NAMES) - len(third_party) >= 10
    for name in set(run.NAMES) - set(third_party):
        run.load(name)


def test_primes_are_counted_as_a_sieve_counts_them():
    end = 1_000_000 + primes.STRETCH
    sieve = bytearray([1]) * end
    for factor in range(2, 1001):
        if sieve[factor]:
            sieve[factor * factor :: factor] = bytes(len(range(factor * factor, end, factor)))
    assert primes.primes_from(1_000_000) == sum(sieve[1_000_000:])


def test_the_most_frequent_word_is_counted_in_any_capitals(tmp_path):
    (tmp_path / "text").write_text("The cat, the hat and THE end; a hat.", encoding="utf-8")
    assert words.frequent_words(str(tmp_path / "text"))[:2] == [("the", 3), ("hat", 2)]


def test_a_document_is_summarised():
    lines = [documents._line(text) for text in ("import os", "from re import sub", "    return os")]
    (summary,) = json.loads(documents.summarise(json.dumps([{"name": "a.py", "lines": lines}])))
    assert summary == {"name": "a.py", "lines": 3, "words": 6, "imports": ["os", "re"], "deepest": 4}


def test_packing_a_block_gives_its_hash_and_a_smaller_size():
    block = b"a line of text\n" * 1000
    digest, size = packing.pack(block)
    assert digest == hashlib.sha256(block).hexdigest()
    assert 0 < size < len(block) / 10


def test_ranks_that_agree_correlate_fully_and_reversed_ones_inversely():
    numpy = pytest.importorskip("numpy")
    arrays = importlib.import_module("whichever.cli.demo.arrays")

    row = numpy.random.default_rng(1).normal(size=arrays.ROWS)
    assert arrays.rank_correlation(numpy.array([row, numpy.exp(row)])) == pytest.approx(1)
    assert arrays.rank_correlation(numpy.array([row, -row])) == pytest.approx(-1)


def test_the_parts_of_the_list_add_up_to_the_whole():
    with adding.parts() as parts:
        assert sum(map(adding.add_up, parts)) == adding.NUMBERS * (adding.NUMBERS - 1) // 2


def test_reading_gives_the_size_of_the_file():
    assert reading.read(__file__) == Path(__file__).stat().st_size


def test_the_handler_finds_what_a_scan_of_the_table_finds():
    with handler.requests() as requests:
        database, head = requests[0]
        headers, body = handler.handle((database, head)).split(b"\r\n\r\n")
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT id, file, text FROM line").fetchall()
    assert headers.startswith(b"HTTP/1.1 200 OK")
    assert f"Content-Length: {len(body)}".encode() in headers
    assert len(rows) == handler.LINES
    hits = [file for number, file, text in rows if "socket" in text.lower() and number % 8 == 0]
    assert sum(count for _, count, _ in json.loads(body)["files"]) == len(hits) > 0


def test_a_fetched_table_is_parsed():
    with server.running(0) as port:
        summary = pipeline.fetch_and_parse(f"http://127.0.0.1:{port}/table/5")
    shares = {line.split(",")[3] for line in server.page(5).splitlines()[1:]}
    assert set(summary) == {f"{float(share):.2f}" for share in shares}


def test_a_busy_task_is_busy_and_an_idle_one_is_not():
    def cpu_seconds(kind):
        start = time.thread_time()
        sleepers.work_or_wait(kind)
        return time.thread_time() - start

    assert cpu_seconds("asleep") < 0.005 < cpu_seconds("busy")


@pytest.mark.parametrize("name", ["downloads", "coroutines"])
def test_a_download_gives_the_size_of_the_page(name):
    job = run.load(name)
    with job.items() as items:
        assert result_of(job.fn, items[7]) == len(server.page(7))


def test_the_librarys_sources_are_real_and_many():
    files = sources.library_files(2000)
    largest = sources.largest_files(10)
    assert len(set(files)) == len(files) > 300
    assert min(Path(path).stat().st_size for path in largest) > 60_000
    assert sources.library_text(50_000).startswith(Path(files[0]).read_bytes()[:100])
    assert len(sources.library_text(50_000)) == 50_000
