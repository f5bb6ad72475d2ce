"""No guard is needed, however a program is started: a script, standard input, -c, a notebook."""

import pytest

PLAIN = """
    import os, enum, dataclasses, whichever

    class Pair:
        def __init__(self, left, right):
            self.left, self.right = left, right

    class Shade(enum.Enum):
        RED = 1

    @dataclasses.dataclass
    class Point:
        x: int

    BASE = 100

    def swap(pair):
        return Pair(pair.right, pair.left)

    def even(number):
        return number == 0 or odd(number - 1)

    def odd(number):
        return number != 0 and even(number - 1)

    print("top level")
    pool = whichever.ProcessPool(2)
    back = pool.submit(swap, Pair(1, 2)).result()
    print(type(back) is Pair, back.left, back.right)
    print(list(pool.map(lambda item: BASE + item, range(3))))
    print(pool.submit(lambda: Shade.RED).result() is Shade.RED, pool.submit(lambda: Point(3)).result() == Point(3))
    print(pool.submit(even, 10).result(), pool.submit(os.getpid).result() != os.getpid())
    BASE = 200
    print(list(pool.map(lambda item: BASE + item, range(3))))
"""
PRINTED = "top level\nTrue 2 1\n[100, 101, 102]\nTrue True\nTrue True\n[200, 201, 202]\n"


@pytest.mark.parametrize("way", ["file", "stdin", "command"])
def test_a_program_without_a_guard_runs_once(start, way):
    assert start(PLAIN, way=way).finish() == (PRINTED, "", 0)


def test_a_program_run_as_a_module_needs_no_guard(start, tmp_path):
    (tmp_path / "inner.py").write_text(
        "import whichever\n"
        "def double(item):\n    return 2 * item\n"
        "print(list(whichever.ProcessPool(2).map(double, range(3))), __name__)\n"
    )
    program = start('import runpy; runpy.run_module("inner", run_name="__main__")')
    assert program.finish() == ("[0, 2, 4] __main__\n", "", 0)


def test_a_module_may_use_a_pool_while_it_is_imported(start, tmp_path):
    (tmp_path / "importer.py").write_text(
        "import whichever\n"
        "def double(item):\n    return 2 * item\n"
        "FOUND = list(whichever.ProcessPool(2).map(double, range(3)))\n"
    )
    assert start("import importer; print(importer.FOUND)").finish() == ("[0, 2, 4]\n", "", 0)


def test_a_script_that_changes_a_function_between_tasks_gets_the_new_one(start):
    program = start("""
        import whichever
        pool = whichever.ProcessPool(1)
        def helper(): return "old"
        def task(): return helper()
        print(pool.submit(task).result())
        def helper(): return "new"
        print(pool.submit(task).result())
        table = {"word": "old"}
        def look(): return table["word"]
        print(pool.submit(look).result())
        table["word"] = "new"
        print(pool.submit(look).result())
    """)
    assert program.finish() == ("old\nnew\nold\nnew\n", "", 0)


def test_a_notebook_defines_and_runs_tasks_cell_by_cell(start):
    pytest.importorskip("IPython")
    program = start(
        """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(colors="NoColor")
        def cell(text):
            result = shell.run_cell(text)
            result.raise_error()
        cell("import whichever; pool = whichever.ProcessPool(2)")
        cell("class Item:\\n    def __init__(self, n): self.n = n")
        cell("scale = 3\\ndef task(item): return Item(item.n * scale)")
        cell("back = pool.submit(task, Item(5)).result(); print(type(back) is Item, back.n)")
        cell("scale = 4")
        cell("print([each.n for each in pool.map(task, map(Item, range(3)))])")
        cell("def task(item): return 'redefined'")
        cell("print(pool.submit(task, Item(1)).result())")
        cell("pool.shutdown()")
        """,
        warnings="default",
    )
    out, err, code = program.finish()
    assert (out, code) == ("True 15\n[0, 4, 8]\nredefined\n", 0), err


def test_the_users_multiprocessing_settings_stay_as_they_were(start):
    program = start("""
        import multiprocessing
        from multiprocessing import forkserver, resource_tracker
        import whichever
        with whichever.ProcessPool(2) as pool:
            print(list(pool.map(abs, [1, -2])))
        print(multiprocessing.get_start_method(allow_none=True), forkserver._forkserver._forkserver_pid)
        print(resource_tracker._resource_tracker._pid, multiprocessing.active_children())
    """)
    assert program.finish() == ("[1, 2]\nNone None\nNone []\n", "", 0)


def test_exit_handlers_of_the_caller_are_not_run_by_workers(start):
    program = start("""
        import atexit, whichever
        atexit.register(print, "bye")
        with whichever.ProcessPool(2) as pool:
            print(list(pool.map(lambda item: item, range(2))))
    """)
    assert program.finish() == ("[0, 1]\nbye\n", "", 0)


def test_a_programs_interpreter_switches_hold_in_its_workers(start):
    program = start("""
        import sys, whichever
        print(whichever.ProcessPool(1).submit(lambda: (sys.flags.dev_mode, sys.warnoptions)).result())
    """)
    assert program.finish()[0] == "(True, ['default', 'error'])\n"
