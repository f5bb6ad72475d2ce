import subprocess
import sys

import whichever


def test_every_public_name_is_there():
    for name in whichever.__all__:
        assert getattr(whichever, name) is not None
    assert set(whichever.__all__) <= set(dir(whichever))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(whichever, "witch")


def test_importing_loads_no_room_before_it_is_used():
    code = "import sys, whichever; print(*(m for m in sys.modules if m.startswith('whichever') or m == 'asyncio'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["whichever"]
