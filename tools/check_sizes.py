"""Keep the lengths that CONTRIBUTING.md promises, where no other gate counts them.

Counts code lines: neither blank lines nor comments nor docstrings. Files of any kind may have 500, Python
functions 60 (clippy counts Rust's).
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 60
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip


def docstring_lines(tree: ast.AST) -> set[int]:
    """Give the numbers of all lines that belong to a docstring or to any other bare string."""
    strings = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
    return {line for node in strings for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def python_code_lines(text: str) -> set[int]:
    """Give the numbers of the lines that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return lines - docstring_lines(ast.parse(text))


def rust_code_lines(text: str) -> set[int]:
    """Give the numbers of the lines that hold code; block comments count, since nobody writes them."""
    lines = enumerate(text.splitlines(), start=1)
    return {number for number, line in lines if line.strip() and not line.strip().startswith("//")}


def python_complaints(name: str, text: str) -> list[str]:
    """Say which functions of a Python file are too long, and whether the file is."""
    code = python_code_lines(text)
    complaints = file_complaints(name, code)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = len(code & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            if length > FUNCTION_LINES:
                complaints.append(
                    f"{name}:{node.lineno}: {node.name} has {length} code lines, over {FUNCTION_LINES}"
                )
    return complaints


def file_complaints(name: str, code: set[int]) -> list[str]:
    """Say whether a file of these code lines is too long."""
    return [f"{name}: {len(code)} code lines, over {FILE_LINES}"] if len(code) > FILE_LINES else []


def complaints_about(name: str, text: str) -> list[str]:
    """Say what is too long in the file `name`."""
    if name.endswith(".rs"):
        return file_complaints(name, rust_code_lines(text))
    return python_complaints(name, text)


def tracked(suffix: str = "") -> list[Path]:
    """List the files git knows, or would know once added, whose names end in `suffix`."""
    # A container's user need not be the owner of the clone it was given.
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in sorted(set(names)) if name.endswith(suffix) and (path := Path(name)).is_file()]


def main() -> int:
    """Check every Python and Rust file; return the exit code."""
    complaints = [
        complaint
        for path in tracked(".py") + tracked(".rs")
        for complaint in complaints_about(str(path), path.read_text())
    ]
    print("\n".join(complaints) or "all files and functions keep their lengths")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
