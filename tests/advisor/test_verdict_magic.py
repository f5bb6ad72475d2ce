"""``%which f(items)``: what a line means, and what it says when it means nothing."""

import pytest
from example_verdicts import processes_win

import whichever
from whichever.advisor import _magic as magic

pytest.importorskip("IPython", reason="IPython is not installed")
errors = pytest.importorskip("IPython.core.error")
interactiveshell = pytest.importorskip("IPython.core.interactiveshell")
config = pytest.importorskip("traitlets.config")


@pytest.fixture
def asked(monkeypatch):
    """The calls of `whichever.which`, which answers with an example."""
    calls = []

    def which(fn, items, **options):
        calls.append((fn, items, options))
        return processes_win()

    monkeypatch.setattr(whichever, "which", which, raising=False)
    return calls


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """An IPython without history and without a terminal; one, since a shell cleans up only at exit."""
    settings = config.Config()
    settings.HistoryManager.enabled = False
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        shell = interactiveshell.InteractiveShell(config=settings)
        magic.load_ipython_extension(shell)
        yield shell


@pytest.mark.parametrize(
    ("line", "fn", "items", "options"),
    [
        ("f(items)", "f", "items", {}),
        ("  f(items) ; ", "f", "items", {}),
        ("f(items)  # a remark", "f", "items", {}),
        ("-v f(items)", "f", "items", {"verify": True}),
        ("--verify --workers 4 f(items)", "f", "items", {"verify": True, "workers": 4}),
        ("--workers=4 --count=100 f(items)", "f", "items", {"workers": 4, "count": 100}),
        ("--engines threads,processes f(x)", "f", "x", {"engines": ("threads", "processes")}),
        ("m.g[0](open(n) for n in 'a -v b'.split())", "m.g[0]", "(open(n) for n in 'a -v b'.split())", {}),
        ("functools.partial(f, k=1)(range(3))", "functools.partial(f, k=1)", "range(3)", {}),
    ],
)
def test_a_line_is_taken_apart(line, fn, items, options):
    assert magic.read_line(line) == magic.Question(fn, items, options)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "nothing to measure"),
        ("-v", "nothing to measure"),
        ("items", "is not a call"),
        ("f(items) + 1", "is not a call"),
        ("await f(items)", "is not a call"),
        ("f(items", "not a Python expression"),
        ("x = f(items)", "not a Python expression"),
        ("f(items, k=2)", r"write %which functools\.partial\(f, k=\.\.\.\)\(items\)"),
        ("f(items, **options)", r"functools\.partial\(f, \*\*\.\.\.\)"),
        ("f(a, b)", "one iterable between the brackets"),
        ("f()", "one iterable between the brackets"),
        ("f(*items)", "one iterable between the brackets"),
        ("--fast f(items)", "unknown option --fast: there are --verify"),
        ("--workers two f(items)", "takes a whole number from 1 on, not 'two'"),
        ("--workers 0 f(items)", "takes a whole number from 1 on, not '0'"),
        ("--count", "takes a whole number from 1 on, not ''"),
    ],
)
def test_an_odd_line_is_a_usage_error_that_says_what_to_write(shell, asked, line, message):
    with pytest.raises(errors.UsageError, match=message):
        shell.run_line_magic("which", line)
    assert asked == []


def test_names_are_looked_up_where_the_user_types(shell, asked):
    shell.run_cell("def double(n):\n    return 2 * n\nnumbers = [1, 2, 3]", store_history=False)
    verdict = shell.run_line_magic("which", "-v double(numbers[1:])")
    assert verdict.engine == "processes"
    ((fn, items, options),) = asked
    assert (fn(4), items, options) == (8, [2, 3], {"verify": True})


def test_the_verdict_can_be_kept(shell, asked):
    result = shell.run_cell("kept = %which len(['a'])", store_history=False)
    result.raise_error()
    assert shell.user_ns["kept"].workers == 2


def test_the_shell_shows_the_table(shell, asked, capsys):
    shell.run_cell("%which len(['a'])", store_history=False).raise_error()
    assert str(processes_win()) in capsys.readouterr().out


def test_an_error_in_the_line_is_the_users_own(shell, asked):
    with pytest.raises(NameError, match="nowhere"):
        shell.run_line_magic("which", "len(nowhere)")


def test_help_says_what_the_line_means(shell):
    help_text = shell.find_line_magic("which").__doc__
    assert "%which [options] f(items)" in help_text
    for option in ("--verify", "--workers", "--count", "--engines"):
        assert option in help_text
