"""What a code object can be seen to do without running it: which names it loads, writes and imports.

Reads CPython 3.11 to 3.15. It relies on opcode names beginning as they have since 3.11 (``LOAD_GLOBAL``,
``LOAD_FAST...``, ``STORE_DEREF``) and on ``dis`` naming their arguments; an opcode it does not know is passed over.
"""

from __future__ import annotations

import dis
import itertools
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Scope = Literal["global", "free", "local"]

_ATTRIBUTE_OPS = ("LOAD_ATTR", "LOAD_METHOD")
_GLOBAL_OPS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_DEREF_OPS = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_IMPORT_LOOK_BACK = 3  # IMPORT_NAME is preceded by the level and the names, and nothing else but a NOP


@dataclass(frozen=True, slots=True)
class Load:
    """A name that is loaded, with the attributes then taken from it: ``a.b.c`` is ``("a", ("b", "c"))``."""

    scope: Scope
    name: str
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """An ``import`` inside a function: `names` are those of a ``from`` import, `alias` the local it is bound to."""

    module: str
    level: int
    names: tuple[str, ...] = ()
    alias: str | None = None


@dataclass(slots=True)
class CodeFacts:
    """What one code object does, the functions and classes defined inside it included.

    Attributes:
        loads: Names loaded.
        imports: Imports inside the function.
        written_globals: Globals that are assigned or deleted.
        set_once: Of these, the ones assigned only under ``if NAME is None``.
        written_free: Variables of an enclosing function that are assigned or deleted (``nonlocal``).
        stored_attributes: Names of attributes assigned on anything.
        super_attributes: Names taken from ``super()``.
    """

    loads: set[Load] = field(default_factory=set)
    imports: set[Import] = field(default_factory=set)
    written_globals: set[str] = field(default_factory=set)
    set_once: set[str] = field(default_factory=set)
    written_free: set[str] = field(default_factory=set)
    stored_attributes: set[str] = field(default_factory=set)
    super_attributes: set[str] = field(default_factory=set)


def scan(code: CodeType) -> CodeFacts:
    """Collect the facts of `code` and of every code object it carries."""
    facts = CodeFacts()
    instructions = [i for i in dis.get_instructions(code) if i.opname != "NOT_TAKEN"]
    _scan_loads(facts, code, instructions)
    _scan_writes(facts, code, instructions)
    facts.imports.update(_imports(instructions))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _merge(facts, scan(constant), code)
    return facts


def _scan_loads(facts: CodeFacts, code: CodeType, instructions: Sequence[dis.Instruction]) -> None:
    for position, instruction in enumerate(instructions):
        if instruction.opname.startswith("LOAD_SUPER"):
            facts.super_attributes.add(str(instruction.argval))
        base = _base(instruction, code)
        if base is None:
            continue
        attributes = tuple(_attributes(instructions, position + 1))
        facts.loads.add(Load(*base, attributes))
        if base == ("global", "super"):
            facts.super_attributes.update(_attributes_after_call(instructions, position + 1))


def _base(instruction: dis.Instruction, code: CodeType) -> tuple[Scope, str] | None:
    name = instruction.opname
    if name in _GLOBAL_OPS:
        return "global", str(instruction.argval)
    if name in _DEREF_OPS:
        return _deref(str(instruction.argval), code)
    if "LOAD_FAST" in name:
        # two loads in one: what follows applies to the second
        value = instruction.argval
        return _deref(str(value[-1] if isinstance(value, tuple) else value), code)
    return None


def _deref(name: str, code: CodeType) -> tuple[Scope, str]:
    return ("free", name) if name in code.co_freevars else ("local", name)


def _attributes(instructions: Sequence[dis.Instruction], start: int) -> Iterator[str]:
    for instruction in instructions[start:]:
        if instruction.opname not in _ATTRIBUTE_OPS:
            return
        yield str(instruction.argval)


def _attributes_after_call(instructions: Sequence[dis.Instruction], start: int) -> Iterator[str]:
    """Give the attribute taken from ``super()``, which 3.11 compiles as an ordinary call."""
    for position in range(start, min(start + 5, len(instructions))):
        if instructions[position].opname == "CALL":
            yield from _attributes(instructions, position + 1)
            return


def _scan_writes(facts: CodeFacts, code: CodeType, instructions: Sequence[dis.Instruction]) -> None:
    guards = list(_none_guards(instructions))
    unguarded: set[str] = set()
    for instruction in instructions:
        name, argument = instruction.opname, instruction.argval
        if name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            facts.written_globals.add(argument)
            if not any(g == argument and low < instruction.offset < high for g, low, high in guards):
                unguarded.add(argument)
        elif name in ("STORE_DEREF", "DELETE_DEREF") and argument in code.co_freevars:
            facts.written_free.add(argument)
        elif name in ("STORE_ATTR", "DELETE_ATTR"):
            facts.stored_attributes.add(argument)
    facts.set_once = facts.written_globals - unguarded


def _none_guards(instructions: Sequence[dis.Instruction]) -> Iterator[tuple[str, int, int]]:
    """Yield (global, first offset, end offset) of the code that runs only when that global is None."""
    for before, jump in itertools.pairwise(instructions):
        if (
            before.opname == "LOAD_GLOBAL"
            and jump.opname.startswith("POP_JUMP")
            and jump.opname.endswith("IF_NOT_NONE")
        ):
            yield before.argval, jump.offset, int(jump.argval)


def _imports(instructions: Sequence[dis.Instruction]) -> Iterator[Import]:
    for position, instruction in enumerate(instructions):
        if instruction.opname != "IMPORT_NAME":
            continue
        earlier = [i.argval for i in instructions[max(0, position - _IMPORT_LOOK_BACK) : position]]
        names = earlier[-1] if earlier and isinstance(earlier[-1], tuple) else ()
        level = next((v for v in reversed(earlier) if type(v) is int), 0)
        following = instructions[position + 1] if position + 1 < len(instructions) else None
        stored = following is not None and following.opname == "STORE_FAST"
        alias = str(following.argval) if following is not None and stored else None
        yield Import(str(instruction.argval), level, names, alias)


def _merge(outer: CodeFacts, inner: CodeFacts, code: CodeType) -> None:
    """Take over what an inner function does, seen from the function that defines it."""
    own = set(code.co_cellvars)
    for load in inner.loads:
        if load.scope == "global":
            outer.loads.add(load)
        elif load.scope == "free":
            outer.loads.add(Load("local" if load.name in own else "free", load.name, load.attributes))
    once = outer.set_once | inner.set_once
    always = (outer.written_globals - outer.set_once) | (inner.written_globals - inner.set_once)
    outer.written_globals |= inner.written_globals
    outer.set_once = once - always
    outer.written_free |= inner.written_free - own
    outer.stored_attributes |= inner.stored_attributes
    outer.super_attributes |= inner.super_attributes
    outer.imports |= inner.imports
