"""The report in a real browser: it opens without a complaint, and its figures are on the screen."""

import re
import struct
import zlib

import pytest
from example_verdicts import EXAMPLES, async_wins, processes_win

from whichever.advisor import _units as units
from whichever.advisor._wording import ledger_parts

MEASURE = """
<script>
  const boxes = [...document.querySelectorAll("svg.figure")].map(svg => {
    const box = svg.getBoundingClientRect();
    return [svg.id, Math.round(box.width), Math.round(box.height)].join(":");
  });
  document.body.dataset.boxes = boxes.join(" ");
  document.body.dataset.overflow = document.documentElement.scrollWidth > innerWidth;
</script>
</body>"""


def first_pixel_and_rows(png):
    """Read a PNG's first pixel, and how many different rows it has."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, _, depth, color = struct.unpack(">IIBB", png[16:26])
    assert (depth, color) in ((8, 2), (8, 6))
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    raw = zlib.decompress(data)
    stride = 1 + width * (3 if color == 2 else 4)
    # Nothing is left of or above the first pixel: whatever the row's filter, its bytes are its own.
    return tuple(raw[1:4]), len({raw[k : k + stride] for k in range(0, len(raw), stride)})


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_opens_without_a_word_on_the_console(chromium, tmp_path, name):
    dom, console = chromium.run(EXAMPLES[name]().save(tmp_path / "x.html"), "--dump-dom")
    assert console == []
    assert "</html>" in dom


def test_a_console_message_would_be_noticed(chromium, tmp_path):
    page = processes_win().save(tmp_path / "x.html")
    page.write_text(page.read_text("utf-8").replace("</body>", "<script>1</script></body>"), "utf-8")
    _, console = chromium.run(page, "--dump-dom")
    assert "Content Security Policy" in "".join(console)


@pytest.mark.parametrize("make", [processes_win, async_wins])
def test_every_figure_is_in_the_page(chromium, tmp_path, make):
    verdict = make()
    dom, _ = chromium.run(verdict.save(tmp_path / "x.html"), "--dump-dom")
    text = " ".join(re.sub(r"<[^>]+>", " ", dom).split())
    for forecast in verdict.forecasts:
        interval = units.interval_text(forecast.low, forecast.high)
        row = [forecast.workers, units.seconds_text(forecast.seconds), interval]
        assert " ".join(map(str, row)) in text
        assert units.seconds_text(forecast.measured) in text
    for part in ledger_parts(verdict.ledger):
        assert f"{part.label} {part.meaning} {units.seconds_text(part.seconds)}" in text


def test_every_drawing_has_a_size_and_none_is_wider_than_a_narrow_window(chromium, tmp_path):
    page = processes_win().save(tmp_path / "x.html")
    html = page.read_text("utf-8").replace("style-src", "script-src 'unsafe-inline'; style-src", 1)
    page.write_text(html.replace("</body>", MEASURE), "utf-8")
    dom, console = chromium.run(page, "--dump-dom", "--window-size=500,900")
    assert console == []
    boxes = re.search(r'data-boxes="([^"]*)"', dom).group(1).split()
    sizes = {box.split(":")[0]: tuple(map(int, box.split(":")[1:])) for box in boxes}
    assert set(sizes) == {"ledger", "forecasts", "timeline"}
    for width, height in sizes.values():
        assert width > 300
        assert height > 30
    assert 'data-overflow="false"' in dom


@pytest.mark.parametrize(("dark", "paper"), [(False, (0xFC, 0xFB, 0xF8)), (True, (0x17, 0x17, 0x15))])
def test_the_page_is_drawn_in_light_and_in_dark(chromium, tmp_path, dark, paper):
    pixel, rows = first_pixel_and_rows(
        chromium.screenshot(processes_win().save(tmp_path / "x.html"), dark=dark)
    )
    assert pixel == paper
    assert rows > 300
