"""Makes the workloads importable, from the repository's root, wherever the tests are started."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workloads.registry import workloads


@pytest.fixture
def here():
    """Return the workload of a name, or skip the test, naming what is missing."""

    def find(name):
        workload = workloads()[name]
        if missing := workload.missing():
            pytest.skip(f"{name}: {', '.join(missing)} is not installed")
        return workload

    return find


@pytest.fixture
def own_temporary_folder(monkeypatch):
    """A temporary folder for this test alone, which PostgreSQL's own user can enter, too."""
    folder = tempfile.mkdtemp(prefix="workloads-test-")
    Path(folder).chmod(0o755)
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield Path(folder)
    shutil.rmtree(folder)
