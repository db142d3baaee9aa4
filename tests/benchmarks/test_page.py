"""The page of a run, made of lines, and in a real browser."""

from __future__ import annotations

import base64
import json
import re
from functools import partial

import numpy as np
import pytest

from quietframe.cli import main
from quietframe_bench.page import to_html

NASTY = "</script><img src=x onerror=alert(1)>.tflite"
CELLS = "[...document.querySelectorAll('#speed tbody')[0].rows].map((row) => row.cells[{column}].textContent)"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, lasting):
    """What a small run over two sizes wrote: `rows.jsonl` and `page.html`."""
    from quietframe_bench.roof import measure

    model, pictures = lasting
    folder = tmp_path_factory.mktemp("run")
    files = ("--json", folder / "rows.jsonl", "--html", folder / "page.html")
    grid = ("--size", "64x48,320x240", "--threads", "1", "--runs", "6", "--min-secs", "0")
    quality = ("--data", pictures, "--sigma", "25")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as done:
        patch.setattr(measure, "measure_roof", partial(measure.measure_roof, secs=0.02))
        main(["bench", str(model), *grid, *map(str, (*quality, *files))])
    assert done.value.code == 0
    return folder


@pytest.fixture(scope="module")
def lines(run_folder):
    return [json.loads(line) for line in (run_folder / "rows.jsonl").read_text().splitlines()]


def test_the_page_is_made_of_the_lines_and_loads_nothing(run_folder, lines):
    page = (run_folder / "page.html").read_text()
    assert page == to_html(lines)
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"|url\(([^)]*)\)", page)
    assert {re.match(r"#|data:", address or other) is not None for address, other in addresses} == {True}
    for svg in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", page):
        assert "http" not in re.sub(r"xmlns(:\w+)?=\"[^\"]*\"|<!DOCTYPE[^>]*>|<metadata>.*?</metadata>", "",
                                    base64.b64decode(svg).decode(), flags=re.DOTALL)  # fmt: skip


def test_every_kind_of_line_has_its_section(run_folder, lines):
    page = (run_folder / "page.html").read_text()
    assert {line["kind"] for line in lines} == {"speed", "picture", "quality", "operators", "roof"}
    for anchor in ("speed", "latency", "growth", "quality", "pictures", "settings"):
        assert page.count(f'<section id="{anchor}">') == page.count(f'href="#{anchor}"') == 1
    judged = next(line for line in lines if line["kind"] == "quality" and line["model"])
    assert f">{judged['psnr_db']:.2f}<" in page


def test_a_section_without_lines_is_left_out(lines):
    page = to_html([line for line in lines if line["kind"] == "speed"][:1])
    assert 'id="speed"' in page
    assert not [anchor for anchor in ("growth", "quality", "pictures") if f'id="{anchor}"' in page]


def test_names_are_text_and_failed_rows_are_told(lines):
    failed = lines[0] | {"model": lines[0]["model"] | {"file": NASTY}, "error": "no <b>model</b>"}
    page = to_html([failed, *lines])
    assert NASTY not in page
    assert "no <b>" not in page
    assert "no &lt;b&gt;model" in page


def test_a_run_in_which_all_failed_has_a_page(lines):
    page = to_html([{**lines[0], "error": "broken"}])
    assert "broken" in page
    assert page.count("<h2>") == 2  # speed, which says so, and the settings


@pytest.mark.parametrize("size_wh", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_it_shows_and_sorts_in_a_browser(browser, run_folder, size_wh):
    browser.look(size_wh, touch=size_wh[0] < 400)
    browser.open((run_folder / "page.html").as_uri())
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "only tables and plots scroll sideways"
    assert browser.run("[...document.images].every((image) => image.complete && image.naturalWidth > 40)")
    totals = [float(text) for text in browser.run(CELLS.format(column=6))]
    press = "document.querySelectorAll('#speed thead button')[6].click()"
    browser.run(press)
    assert [float(text) for text in browser.run(CELLS.format(column=6))] == sorted(totals)
    browser.run(press)
    assert [float(text) for text in browser.run(CELLS.format(column=6))] == sorted(totals)[::-1]
    browser.run("document.querySelectorAll('#speed thead button')[1].click()")
    assert browser.run(CELLS.format(column=1)) == ["64×48", "320×240"], "sizes by their pixels, not their letters"


def test_data_that_is_not_there_is_said_before_anything_is_measured(run_folder, lasting, capsys, tmp_path):
    with pytest.raises(SystemExit) as done:
        main(["bench", str(lasting[0]), "--html", str(tmp_path / "a.html"), "--data", str(tmp_path / "nowhere")])
    assert done.value.code == 2
    assert "nowhere" in capsys.readouterr().err
    assert not np.any([path.suffix == ".html" for path in tmp_path.iterdir()])


def test_a_page_of_several_files_without_measuring(run_folder, lines, tmp_path, capsys):
    target = tmp_path / "page.html"
    with pytest.raises(SystemExit) as done:
        main(["bench", "--from", str(run_folder / "rows.jsonl"), "--from", str(run_folder / "rows.jsonl"),
              "--html", str(target)])  # fmt: skip
    assert done.value.code == 0
    assert target.read_text() == to_html([*lines, *lines])
    assert lines[0]["model"]["file"] in capsys.readouterr().out


def test_rows_that_lack_something_are_one_line(lines, tmp_path, capsys):
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({key: value for key, value in lines[0].items() if key != "stages"}) + "\n")
    with pytest.raises(SystemExit) as done:
        main(["bench", "--from", str(source), "--html", str(tmp_path / "page.html")])
    assert done.value.code == 2
    printed = capsys.readouterr()
    assert "'stages'" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_startup_sustained_live_and_accuracy_have_sections(denoiser_file, tmp_path, lines, capsys):
    kinds = {
        "startup": ["--startup", "--runs", "1", "--size", "64x48"],
        "sustained": ["--sustained", "2", "--size", "64x48"],
        "live": ["--live", "--secs", "2", "--size", "64x48"],
    }
    for name, options in kinds.items():
        with pytest.raises(SystemExit):
            main(["bench", str(denoiser_file), *options, "--json", str(tmp_path / name)])
    found = [json.loads(line) for name in kinds for line in (tmp_path / name).read_text().splitlines()]
    right = {"images": 10, "accuracy": 0.9, "accuracy_95": [0.6, 0.98], "total_p50_ms": 1.0}
    found.append({**found[0], "kind": "accuracy", **right})
    page = to_html(found)
    for anchor in ("cold-start", "sustained", "live", "accuracy"):
        assert f'id="{anchor}"' in page
    assert f"{found[0]['ready_ms']:.1f}" in page
    assert "0.6000 to 0.9800" in page


def test_operators_and_the_roof_have_sections(run_folder, lines):
    page = (run_folder / "page.html").read_text()
    of_operators = [line for line in lines if line["kind"] == "operators"]
    assert {tuple(line["size_wh"]) for line in of_operators} == {(64, 48)}
    assert page.count('<section id="operators">') == page.count('<section id="roof">') == 1
    slowest = max(of_operators[0]["operators"], key=lambda one: one["median_ms"])
    assert f">{slowest['median_ms']:.3f}<" in page
    peak = next(line for line in lines if line["kind"] == "roof" and line["row"] == "peak")
    assert f">{peak['gmacs_per_s']:.0f}<" in page
