"""What an initializer sets in a program's global variables is there for the tasks, wherever workers come from."""

import pytest

TEXT = """
    import multiprocessing, warnings, whichever

    model = None
    cache = {{}}
    scale = 1

    def helper():
        global scale
        scale = 10

    def prepare(value):
        global model, never_set_before
        model = never_set_before = value
        cache["key"] = value
        helper()

    def look(item):
        return model, never_set_before, cache, scale * item

    def change(_item):
        global scale
        scale = 99
        cache["more"] = 1

    def number():
        return scale

    if {guard}:
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = whichever.ProcessPool(1, mp_context={context}, initializer=prepare, initargs=("ready",))
        print(pool.submit(look, 2).result())
        print(list(pool.map(look, [3])))
        print(pool.submit(lambda: (model, scale)).result())
        print(model, cache, scale)
        scale = 5
        print(pool.submit(look, 2).result()[3], pool.submit(number).result())
        model = "the caller's"
        print(pool.submit(lambda: model).result())
"""
PRINTED = """\
('ready', 'ready', {'key': 'ready'}, 20)
[('ready', 'ready', {'key': 'ready'}, 30)]
('ready', 10)
None {} 1
10 5
the caller's
"""


def test_a_script_finds_what_its_initializer_has_set(start):
    assert start(TEXT.format(context=None, guard=True)).finish() == (PRINTED, "", 0)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_so_does_one_whose_workers_multiprocessing_makes(start, method):
    context = f'multiprocessing.get_context("{method}")'
    program = start(TEXT.format(context=context, guard='__name__ == "__main__"'))
    assert program.finish() == (PRINTED, "", 0)


def test_functions_and_classes_that_an_initializer_makes_are_there(start):
    program = start("""
        import whichever
        compiled = None
        def prepare():
            global compiled, Kind
            compiled = lambda item: item + 1
            class Kind:
                pass
        def task(item):
            return compiled(item), Kind.__name__
        pool = whichever.ProcessPool(1, initializer=prepare)
        print(pool.submit(task, 1).result(), list(pool.map(task, [2])))
    """)
    assert program.finish() == ("(2, 'Kind') [(3, 'Kind')]\n", "", 0)


def test_a_large_value_that_the_initializer_replaced_stays_replaced(start):
    program = start("""
        import whichever
        table = list(range(100_000))
        def prepare():
            global table
            table = "small"
        def task():
            return table
        print(whichever.ProcessPool(1, initializer=prepare).submit(task).result())
    """)
    assert program.finish() == ("small\n", "", 0)


def test_every_worker_has_what_its_own_initializer_set(start):
    program = start("""
        import os, whichever
        def prepare():
            global me
            me = os.getpid()
        def task(_item):
            return me == os.getpid()
        print(set(whichever.ProcessPool(2, initializer=prepare, max_tasks_per_child=5).map(task, range(40))))
    """)
    assert program.finish() == ("{True}\n", "", 0)
