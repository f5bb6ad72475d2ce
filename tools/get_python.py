"""Fetch CPythons that the system's package manager does not have, for tests only and without compiling one.

    get_python.py VERSION ...      3.14, 3.14t, 3.15 or 3.15t, each into .pythons/VERSION

Put together from two registries: the interpreter and its extension modules from the ``freeze-core`` wheel on
PyPI (a runtime that application freezers ship: statically linked, runs anywhere), the library's Python files
and headers from Debian's packages of the same version. Nothing is installed on the system. Needs x86-64
Linux, apt-get with Debian's archive key, a C compiler and pip. The micro versions of the two halves may
differ; the interpreter's own says which release is being tested.
"""

from __future__ import annotations

import platform
import pprint
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pythons

RUNTIME = "freeze-core==0.8.1"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
TRIPLET = "x86_64-linux-gnu"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHIVE = "http://deb.debian.org/debian"
SOURCE = re.compile(r"^(?:URIs:|deb (?:\[[^]]*\])?)\s*(https?://\S+/debian)/?\s", re.MULTILINE)
PARTS = ("minimal", "stdlib", "testsuite", "dev")
CHECK = "import bz2, ctypes, hashlib, lzma, multiprocessing, sqlite3, ssl, sysconfig, zlib"

ENTRY = """
#define _GNU_SOURCE
#include <dlfcn.h>
/* The runtime's program starts a frozen application. Loaded before libc, this stands in for libc's start
   routine and hands it the interpreter's ordinary main instead. */
typedef int (*entry)(int, char **, char **);
int __libc_start_main(entry program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void *stack_end) {
  int (*start)(entry, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
  *(void **)&start = dlsym(RTLD_NEXT, "__libc_start_main");
  entry python = (entry)dlsym(RTLD_DEFAULT, "Py_BytesMain");
  return start(python ? python : program, argc, argv, init, fini, loader_fini, stack_end);
}
"""


class Recipe:
    """One interpreter on its way from the registries to its folder.

    Attributes:
        version: As asked for: ``3.14t``.
        series: Without the ``t``: what Debian and the library's folders call it.
        threads: ``t`` for a free-threaded build, else empty.
        prefix: Where it will live.
        work: A temporary folder.
    """

    def __init__(self, version: str, prefix: Path, work: Path) -> None:
        self.version = version
        self.series = version.rstrip("t")
        self.threads = version[len(self.series) :]
        self.prefix = prefix
        self.work = work
        self.library = prefix / "lib" / f"python{version}"
        self.include = prefix / "include" / f"python{version}"
        self.program = prefix / "bin" / f"python{version}"

    def make(self) -> None:
        """Do it all; the order matters, since the sysconfig data describes the finished folder."""
        self.fetch_runtime()
        self.fetch_library()
        self.copy_library()
        self.copy_headers()
        self.make_program()
        self.describe()

    def fetch_runtime(self) -> None:
        """Unpack the wheel that holds the interpreter, and have patchelf at hand."""
        digits = self.series.replace(".", "")
        tags = [
            "--python-version",
            self.series,
            "--implementation",
            "cp",
            "--abi",
            f"cp{digits}{self.threads}",
        ]
        for name in PLATFORMS:
            tags += ["--platform", name]
        pip("download", "--no-deps", "--only-binary", ":all:", *tags, "--dest", self.work, RUNTIME)
        (wheel,) = self.work.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.work / "runtime")
        pip("install", "--target", self.work / "patchelf", "patchelf")

    def fetch_library(self) -> None:
        """Unpack Debian's packages of the standard library from sid, through an apt state of our own."""
        state = self.work / "apt"
        for folder in ("lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True)
        (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {debian_archive()} sid main\n")
        settings = {
            "Dir::Etc::SourceList": state / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": state / "lists",
            "Dir::Cache": state / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": 2,
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        run(["apt-get", *options, "-qq", "update"])
        packages = [f"libpython{self.series}-{part}" for part in PARTS]
        run(["apt-get", *options, "-qq", "download", *packages], cwd=self.work)
        for package in self.work.glob("*.deb"):
            run(["dpkg-deb", "-x", package, self.work / "debian"])

    def copy_library(self) -> None:
        """Put Debian's Python files, less its own additions, beside the wheel's extension modules."""
        runtime = self.work / "runtime" / "freeze_core"
        unwanted = shutil.ignore_patterns(
            "lib-dynload", "config-*", "EXTERNALLY-MANAGED", "sitecustomize.py", "_sysconfig*_vars_*",
            "_sysconfigdata_*", "build-details*",
        )  # fmt: skip
        source = self.work / "debian" / "usr" / "lib" / f"python{self.series}"
        shutil.copytree(source, self.library, ignore=unwanted, ignore_dangling_symlinks=True)
        (self.library / "site-packages").mkdir(exist_ok=True)
        (self.library / "lib-dynload").mkdir()
        for module in (runtime / "lib").glob("*.so"):
            shutil.copy2(module, self.library / "lib-dynload")
        # The modules look for their libraries beside the folder that freezers give them.
        shutil.copytree(runtime.with_name("freeze_core.libs"), self.prefix / "lib" / "freeze_core.libs")

    def copy_headers(self) -> None:
        """Copy the headers, with the one switch that a free-threaded build turns."""
        headers = self.work / "debian" / "usr" / "include"
        shutil.copytree(headers / f"python{self.series}", self.include)
        config = self.include / "pyconfig.h"
        specific = headers / TRIPLET / f"python{self.series}" / "pyconfig.h"
        text = (specific if specific.exists() else config).read_text()
        if self.threads:
            text = text.replace("/* #undef Py_GIL_DISABLED */", "#define Py_GIL_DISABLED 1")
        config.write_text(text)

    def make_program(self) -> None:
        """Turn the freezer's console program into an ordinary ``python``."""
        self.program.parent.mkdir()
        (base,) = (self.work / "runtime" / "freeze_core" / "bases").glob("console-cpython-*")
        shutil.copy2(base, self.program)
        self.program.chmod(0o755)
        source = self.work / "entry.c"
        source.write_text(ENTRY)
        run(["cc", "-O2", "-shared", "-fPIC", "-o", self.prefix / "lib" / "libentry.so", source, "-ldl"])
        patchelf = self.work / "patchelf" / "bin" / "patchelf"
        run([patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/../lib", self.program])
        run([patchelf, "--add-needed", "libentry.so", self.program])
        for name in ("python", "python3"):
            (self.program.parent / name).symlink_to(self.program.name)

    def describe(self) -> None:
        """Write the sysconfig data: Debian's, with the paths and names of this build."""
        folder = self.work / "debian" / "usr" / "lib" / f"python{self.series}"
        source = min(folder.glob("_sysconfigdata_*.py"))
        values = runpy.run_path(str(source))["build_time_vars"]
        values = {key: self.translated(value) for key, value in values.items()}
        values |= dict.fromkeys(("LDLIBRARY", "LIBRARY", "INSTSONAME"), "")
        values |= dict.fromkeys(("prefix", "exec_prefix"), str(self.prefix))
        values |= dict.fromkeys(("LIBDEST", "BINLIBDEST"), str(self.library))
        values |= dict.fromkeys(("INCLUDEPY", "CONFINCLUDEPY"), str(self.include))
        values |= {
            "ABIFLAGS": self.threads,
            "BINDIR": str(self.program.parent),
            "CONFIG_ARGS": "--disable-gil" if self.threads else "",
            "LDVERSION": self.version,
            "LIBDIR": str(self.prefix / "lib"),
            "Py_ENABLE_SHARED": 0,
            "Py_GIL_DISABLED": int(bool(self.threads)),
            "VERSION": self.series,
        }
        target = self.library / f"_sysconfigdata_{self.threads}_linux_{TRIPLET}.py"
        target.write_text(f"build_time_vars = {pprint.pformat(values)}\n")

    def translated(self, value: object) -> object:
        """Give a sysconfig value of Debian's build as it would be in ours."""
        if not isinstance(value, str):
            return value
        digits = self.series.replace(".", "")
        for old, new in (
            (f"cpython-{digits}-", f"cpython-{digits}{self.threads}-"),
            (f"{TRIPLET}-g", "g"),
            (f"/usr/include/python{self.series}", str(self.include)),
            (f"/usr/lib/python{self.series}", str(self.library)),
        ):
            value = value.replace(old, new)
        return value


def run(command: list[object], cwd: Path | None = None) -> None:
    """Run a command quietly; end with its output when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nget_python: failed: {' '.join(words)}")


def pip(verb: str, *arguments: object) -> None:
    """Run our own pip."""
    run([sys.executable, "-m", "pip", verb, "-q", "--disable-pip-version-check", *arguments])


def debian_archive() -> str:
    """Give the Debian archive that this machine is set up with."""
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if path.is_file() and (found := SOURCE.search(path.read_text())):
            return found[1]
    return ARCHIVE


def refusal() -> str | None:
    """Say why it cannot work here; None when it can."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "the parts exist for x86-64 Linux only"
    missing = [name for name in ("apt-get", "dpkg-deb", "cc") if not shutil.which(name)]
    if not KEYRING.exists():
        missing.append("debian-archive-keyring")
    return f"missing: {', '.join(missing)}" if missing else None


def get(version: str) -> None:
    """Make ``.pythons/VERSION`` appear whole or not at all."""
    prefix = pythons.ROOT / ".pythons" / version
    program = prefix / "bin" / f"python{version}"
    if pythons.version_of(program) != version:
        shutil.rmtree(prefix, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory() as work:
                Recipe(version, prefix, Path(work)).make()
            run([program, "-I", "-c", CHECK])
        except BaseException:
            shutil.rmtree(prefix, ignore_errors=True)
            raise
    done = subprocess.run([program, "-VV"], capture_output=True, text=True, check=True)
    print(f"{version}: {done.stdout.strip()}")


def main(versions: list[str]) -> int:
    """Fetch every version named."""
    if reason := refusal():
        print(f"cannot fetch interpreters here ({reason}); tests on those versions will be skipped")
        return 1
    for version in versions:
        get(version)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
