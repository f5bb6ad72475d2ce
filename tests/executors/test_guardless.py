"""The processes engine needs no ``__main__`` guard, however a program is started."""

import pytest

PLAIN = """
    import os
    from whichever.executors import open_engine

    class Pair:
        def __init__(self, left, right):
            self.left, self.right = left, right

    def swap(pair):
        return Pair(pair.right, pair.left), os.getpid()

    print("top level")
    with open_engine("processes", 2) as engine:
        outcomes = engine.run(swap, [Pair(1, 2), Pair(3, 4)])
    print([(type(outcome.value[0]) is Pair, outcome.value[0].left) for outcome in outcomes])
    print(all(outcome.value[1] != os.getpid() for outcome in outcomes))
"""


@pytest.mark.parametrize("way", ["file", "stdin", "command"])
def test_a_program_without_a_guard_runs_once(start, way):
    assert start(PLAIN, way=way).finish() == ("top level\n[(True, 2), (True, 4)]\nTrue\n", "", 0)


def test_the_users_multiprocessing_settings_stay_as_they_were(start):
    program = start("""
        import multiprocessing
        from multiprocessing import forkserver, resource_tracker
        from whichever.executors import open_engine
        with open_engine("processes", 2) as engine:
            engine.run(lambda item: item, [1, 2])
        print(multiprocessing.get_start_method(allow_none=True), forkserver._forkserver._forkserver_pid)
        print(resource_tracker._resource_tracker._pid)
    """)
    assert program.finish() == ("None None\nNone\n", "", 0)


def test_it_works_from_a_thread_and_outlives_the_thread_that_opened_it(start):
    program = start("""
        import threading
        from whichever.executors import open_engine
        def triple(item):
            return 3 * item
        engines = []
        thread = threading.Thread(target=lambda: engines.append(open_engine("processes", 2)))
        thread.start()
        thread.join()
        print([outcome.value for outcome in engines[0].run(triple, [1, 2])])
        engines[0].close()
    """)
    assert program.finish() == ("[3, 6]\n", "", 0)


@pytest.mark.parametrize("name", ["processes", "async", "threads"])
def test_it_works_inside_a_running_event_loop(start, name):
    program = start(f"""
        import asyncio
        from whichever.executors import open_engine
        def triple(item):
            return 3 * item
        async def triple_later(item):
            await asyncio.sleep(0.01)
            return 3 * item
        async def main():
            with open_engine("{name}", 2) as engine:
                fn = triple_later if engine.name == "async" else triple
                for _ in range(2):
                    print([outcome.value for outcome in engine.run(fn, [1, 2, 3])])
        asyncio.run(main(), debug=False)
    """)
    assert program.finish() == ("[3, 6, 9]\n" * 2, "", 0)


def test_a_module_may_use_the_engine_while_it_is_imported(start, tmp_path):
    (tmp_path / "importer.py").write_text(
        "import os\n"
        "from whichever.executors import open_engine\n"
        "print('importing')\n"
        "class Box:\n"
        "    def __init__(self, inside):\n"
        "        self.inside = inside\n"
        "def box(item):\n"
        "    return Box(helper(item))\n"
        "def helper(item):\n"
        "    return item + 1\n"
        "with open_engine('processes', 2) as engine:\n"
        "    RESULTS = [outcome.value for outcome in engine.run(box, [1, 2])]\n"
    )
    program = start("""
        import importer
        from whichever.executors import open_engine
        print([type(result) is importer.Box for result in importer.RESULTS])
        print([result.inside for result in importer.RESULTS])
    """)
    assert program.finish() == ("importing\n[True, True]\n[2, 3]\n", "", 0)


def test_a_worker_that_would_start_workers_by_an_import_is_stopped_with_advice(start, tmp_path):
    (tmp_path / "recursive.py").write_text(
        "import os\n"
        "from whichever.executors import open_engine\n"
        "def task(item):\n"
        "    return item\n"
        "if os.environ['CALLER'] != str(os.getpid()):\n"
        "    with open_engine('processes', 1) as engine:\n"
        "        engine.run(task, [1])\n"
    )
    program = start("""
        import os
        os.environ["CALLER"] = str(os.getpid())
        import recursive
        from whichever.errors import EngineUnavailableError
        from whichever.executors import open_engine
        with open_engine("processes", 1) as engine:
            try:
                engine.run(recursive.task, [1])
            except EngineUnavailableError as error:
                print(error)
            print(engine.run(len, ["afterwards"])[0].value)
    """)
    out, err, code = program.finish()
    assert 'put that call under `if __name__ == "__main__":`' in out
    assert out.endswith("\n10\n")
    assert (err, code) == ("", 0)


def test_the_working_folder_and_the_search_path_follow_the_caller(start, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "late_module.py").write_text(
        "def where(item):\n    import os\n    return os.getcwd()\n"
    )
    program = start("""
        import os, sys
        from whichever.executors import open_engine
        with open_engine("processes", 1) as engine:
            os.chdir("deep")
            sys.path.insert(0, os.getcwd())
            import late_module
            (outcome,) = engine.run(late_module.where, [1])
            print(outcome.value == os.getcwd())
    """)
    assert program.finish() == ("True\n", "", 0)


def test_what_tasks_print_arrives(start):
    program = start("""
        from whichever.executors import open_engine
        with open_engine("processes", 1) as engine:
            engine.run(lambda item: print("task", item), [1, 2])
    """)
    assert program.finish() == ("task 1\ntask 2\n", "", 0)


def test_a_long_command_line_does_not_matter(start):
    program = start(
        """
        import sys
        from whichever.executors import open_engine
        def count(item):
            return len(sys.argv)
        with open_engine("processes", 1) as engine:
            print(engine.run(count, [1])[0].value)
        """,
        argv=["x" * 100] * 3000,
    )
    assert program.finish() == ("3001\n", "", 0)
