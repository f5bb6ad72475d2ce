"""Decisions are remembered across runs; whatever becomes of the files, a pool only loses what it knew."""

import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time

import pytest

from whichever.auto import _memory
from whichever.auto._memory import Memory, Recollection, forget, kept


def task(item):
    return item


def other(item):
    return item + 1


def recollection(**changed):
    values = {
        "engine": "threads", "workers": 8, "tasks": 1000, "wall": 0.05, "ledger": {"blocked": {"network": 0.049}},
        "payload": {"in_bytes": 10}, "excluded": {"processes": "writes a global"}, "seconds": 6.5, "when": time.time(),
    }  # fmt: skip
    return Recollection(**values | changed)


def fresh_notes():
    notes = _memory._Notes()
    notes._at_exit = True  # nothing is written when the tests end
    return notes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of decisions, in a cache of the test's own; and nothing noted."""
    monkeypatch.setenv("WHICHEVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WHICHEVER_MEMORY", raising=False)
    monkeypatch.setattr(_memory, "_notes", fresh_notes())
    return tmp_path / "cache" / "decisions"


def start_anew():
    """Do as a new program would, which has noted nothing."""
    _memory._notes = fresh_notes()
    return Memory()


def written(folder, fn=task, **changed):
    """Write a recollection and return its file."""
    before = set(folder.iterdir()) if folder.exists() else set()
    memory = start_anew()
    memory.note(fn, recollection(**changed))
    memory.write()
    (file,) = set(folder.iterdir()) - before
    return file


def test_what_was_noted_is_known_at_once_to_all_pools():
    noted = recollection()
    Memory().note(task, noted)
    assert Memory().recall(task) == noted
    assert Memory().recall(other) is None


def test_what_was_written_is_known_to_the_next_run():
    noted = recollection()
    memory = Memory()
    memory.note(task, noted)
    memory.write()
    assert start_anew().recall(task) == noted
    assert kept() == 1


def test_nothing_is_written_before_it_is_asked_for(folder):
    Memory().note(task, recollection())
    assert not folder.exists()


def test_each_function_is_written_once_however_often_it_was_noted(monkeypatch):
    saved = []
    monkeypatch.setattr(_memory._cache, "save", lambda name, document: saved.append((name, document)) or True)
    memory = Memory()
    for workers in range(1, 101):
        memory.note(task, recollection(workers=workers))
        memory.note(other, recollection(workers=workers))
    memory.write()
    memory.write()
    assert len({name for name, _ in saved}) == len(saved) == 2
    assert [document["recollection"]["workers"] for _, document in saved] == [100, 100]


def test_a_program_that_ends_writes_what_it_noted(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from whichever.auto._memory import Memory, Recollection\n"
        "def task(x): return x\n"
        "found = Memory().recall(task)\n"
        "print(found and found.workers)\n"
        "Memory().note(task, Recollection(engine='threads', workers=3, tasks=1, wall=1.0, ledger={}, payload={},"
        " excluded={}, seconds=1.0, when=time.time()))\n"
    )

    def run():
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert (run(), run()) == ("None", "3")
    (file,) = folder.iterdir()
    assert json.loads(file.read_text())["function"] == "task"


def test_a_memory_that_is_off_neither_knows_nor_notes(folder, monkeypatch):
    written(folder)
    start_anew()
    silent = Memory(enabled=False)
    silent.note(task, recollection(workers=1))
    silent.write()
    assert silent.recall(task) is None
    monkeypatch.setenv("WHICHEVER_MEMORY", "OFF")
    assert Memory().recall(task) is None
    monkeypatch.setenv("WHICHEVER_MEMORY", "on")
    assert Memory().recall(task).workers == 8


def test_what_is_a_month_old_is_forgotten(folder):
    day = 86_400
    written(folder, when=time.time() - 29 * day)
    assert start_anew().recall(task) is not None
    forget()
    written(folder, when=time.time() - 31 * day)
    assert start_anew().recall(task) is None


def test_what_comes_from_the_future_is_not_believed(folder):
    written(folder, when=time.time() + 1e6)
    assert start_anew().recall(task) is None


def test_another_share_of_the_cores_is_another_machine():
    import whichever

    Memory().note(task, recollection())
    with whichever.ThreadPool(2) as pool:
        assert pool.submit(Memory().recall, task).result() is None


def document(**changed):
    return json.dumps({"form": 1, "function": "task", "recollection": recollection_values() | changed})


def recollection_values():
    return _memory._plain(recollection())


DAMAGED = {
    "empty": "",
    "half": document()[:50],
    "not an object": "[1]",
    "of another form": json.dumps({"form": 0, "recollection": recollection_values()}),
    "without content": json.dumps({"form": 1}),
    "with a field more": document(more=1),
    "of no engine": document(engine="magic"),
    "of an engine that is no text": document(engine=["threads"]),
    "without workers": document(workers=0),
    "of half a worker": document(workers=1.5),
    "of endless tasks": document(wall=float("inf")),
    "of no number": document(when="now"),
    "without a ledger": document(ledger=None),
    "deep": "[" * 100_000,
    "no text at all": "\udcff",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_counts_as_none_and_is_written_anew(folder, text):
    file = written(folder)
    assert start_anew().recall(task) is not None
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert start_anew().recall(task) is None
    assert written_again() == recollection_of_file(file)


def written_again():
    memory = start_anew()
    memory.note(task, noted := recollection(workers=5))
    memory.write()
    return noted


def recollection_of_file(file):
    return Recollection(**json.loads(file.read_text())["recollection"])


@pytest.mark.parametrize("place", ["file", "nowhere"])
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(
        "WHICHEVER_CACHE", str(tmp_path / "file" / "below") if place == "file" else "/proc/nowhere"
    )
    memory = Memory()
    memory.note(task, recollection())
    memory.write()
    assert memory.recall(task) is not None
    assert start_anew().recall(task) is None
    assert (kept(), forget()) == (0, 0)


def test_a_user_without_a_home_has_no_memory(monkeypatch):
    monkeypatch.delenv("WHICHEVER_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    written_again()
    assert start_anew().recall(task) is None
    assert kept() == 0


def test_only_so_many_are_kept_and_the_oldest_go(folder, monkeypatch):
    monkeypatch.setattr(_memory, "_MOST", 5)
    folder.mkdir(parents=True)
    for age in range(1, 10):
        (folder / f"{age}.json").write_text("{}")
        os.utime(folder / f"{age}.json", (time.time() - 60 * age,) * 2)
    file = written(folder)
    assert {path.name for path in folder.iterdir()} == {file.name, "1.json", "2.json", "3.json", "4.json"}


def test_notes_in_memory_are_bounded_too(monkeypatch):
    monkeypatch.setattr(_memory, "_MOST", 5)
    memory = Memory()
    fns = [eval(f"lambda x: x + {number}") for number in range(10)]
    for fn in fns:
        memory.note(fn, recollection())
    assert [memory.recall(fn) is not None for fn in fns] == [False] * 5 + [True] * 5
    memory.write()
    assert kept() == 5


def test_old_files_and_what_a_killed_writer_left_are_removed(folder):
    folder.mkdir(parents=True)
    for name in ("old.json", ".half.json.abc"):
        (folder / name).write_text("{}")
        os.utime(folder / name, (time.time() - 40 * 86_400,) * 2)
    (folder / ".new.json.abc").write_text("{}")  # somebody writes it now
    file = written(folder)
    assert {path.name for path in folder.iterdir()} == {file.name, ".new.json.abc"}


def test_forgetting_forgets_notes_and_files(folder):
    memory = Memory()
    memory.note(task, recollection())
    memory.write()
    memory.note(other, recollection())
    assert forget() == 1
    memory.write()
    assert (memory.recall(task), memory.recall(other), kept(), list(folder.iterdir())) == (None, None, 0, [])


def write_often(number):
    memory = Memory()
    for round_number in range(20):
        memory.note(task, recollection(workers=number + 1, tasks=round_number + 1))
        memory.note(eval(f"lambda x: x + {number}"), recollection())
        memory.write()


def test_writers_at_once_lose_no_file(folder):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert kept() == 5
    assert start_anew().recall(task).tasks == 20
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_copy_leaves_the_notes_to_the_original(folder):
    memory = Memory()
    memory.note(task, recollection())
    child = os.fork()
    if child == 0:
        memory.write()
        os._exit(0)
    os.waitpid(child, 0)
    assert not folder.exists()
    memory.write()
    assert kept() == 1


def test_files_are_for_their_user_only(folder):
    assert stat.S_IMODE(written(folder).stat().st_mode) == 0o600


def test_importing_the_memory_loads_nothing_heavy():
    code = (
        "import sys, whichever.auto\n"
        "before = set(sys.modules)\n"
        "import whichever.auto._memory\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "math", "whichever._cache", "whichever.auto._function_key", "whichever.auto._memory",
    }  # fmt: skip
