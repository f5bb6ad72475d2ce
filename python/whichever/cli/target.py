"""Find what ``MODULE:NAME`` on the command line stands for; MODULE may be the path of a Python file.

The module is imported under its own name from a folder on ``sys.path``, never as ``__main__``: worker
processes can then import it too.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichever.cli.problems import CommandLineError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def put_on_path(folder: Path) -> None:
    """Make `folder` the first place that imports look in."""
    entry = str(folder.resolve())
    if entry not in sys.path:
        sys.path.insert(0, entry)


def find_function(spec: str) -> Callable[[Any], Any]:
    """Return the function that `spec` names.

    Raises:
        CommandLineError: There is no such module, name, or it cannot be called.
    """
    found = find(spec, "FUNCTION")
    if not callable(found):
        msg = f"{spec}: a {type(found).__name__} cannot be called; name a function of one argument"
        raise CommandLineError(msg)
    return found  # type: ignore[no-any-return] # callable() says as much as can be known


def find(spec: str, what: str) -> Any:
    """Return the object that `spec`, of the form ``MODULE:a.b``, names.

    Raises:
        CommandLineError: The form is wrong, the module cannot be imported, or it has no such name.
    """
    module_name, _, path = spec.rpartition(":")
    if not module_name or not path:
        msg = f"{spec!r} is not of the form MODULE:{what} (for example statistics:fmean, or work.py:parse)"
        raise CommandLineError(msg)
    found: Any = _load(module_name)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            msg = f"{module_name} has no {path!r}{_near(found, name)}"
            raise CommandLineError(msg) from None
    return found


def _near(owner: object, name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    near = get_close_matches(name, dir(owner), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _load(name: str) -> ModuleType:
    if not (name.endswith(".py") or "/" in name):
        return _import(name, name)
    file = Path(name)
    if not file.is_file():
        msg = f"{name}: no such file"
        raise CommandLineError(msg)
    put_on_path(file.parent)
    module = _import(file.stem, name)
    if Path(getattr(module, "__file__", None) or "").resolve() != file.resolve():
        msg = (
            f"{name}: the name {file.stem!r} already belongs to another module"
            f" ({getattr(module, '__file__', None) or 'built in'}); rename the file"
        )
        raise CommandLineError(msg)
    return module


def _import(module_name: str, said: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            msg = f"no module named {said!r} (looked in this folder and in sys.path)"
        else:
            msg = f"{said} cannot be imported: {in_one_line(error)}"
        raise CommandLineError(msg) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # It is anyone's code: it may raise anything, or call sys.exit for want of a __main__ guard.
        msg = f"{said} cannot be imported: {in_one_line(error)}"
        raise CommandLineError(msg) from None
