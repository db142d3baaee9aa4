"""The page of results, made of rows, and in a real browser."""

from __future__ import annotations

import base64
import re

import msgspec
import pytest

from quietframe.cli import main
from quietframe_bench.kinds.accuracy import AccuracyRow
from quietframe_bench.results import Results, read_results
from quietframe_bench.rows import Run

NASTY = "</script><img src=x onerror=alert(1)>.tflite"
CELLS = "[...document.querySelectorAll('#speed tbody')[0].rows].map((row) => row.cells[{column}].textContent)"


def run(*args):
    """Run `quietframe bench …`; return the exit code."""
    with pytest.raises(SystemExit) as done:
        main(["bench", *map(str, args)])
    return done.value.code


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, lasting):
    """What small runs wrote: rows of several kinds in `rows.jsonl`, and `page.html` of the first."""
    model, images = lasting
    folder = tmp_path_factory.mktemp("run")
    grid = ("--size", "64x48,320x240", "--threads", "1", "--runs", "6", "--min-secs", "0")
    assert run("speed", model, *grid, "--out", folder / "speed.jsonl", "--html", folder / "page.html") == 0
    assert run("quality", images, model, "--sigma", "25", "--out", folder / "quality.jsonl") == 0
    small = ("--size", "64x48", "--threads", "1", "--runs", "3")
    assert run("profile", model, *small, "--out", folder / "profile.jsonl") == 0
    return folder


@pytest.fixture(scope="module")
def results(run_folder):
    return read_results(*(run_folder / f"{name}.jsonl" for name in ("speed", "quality", "profile")))


def test_the_page_is_made_of_the_rows_and_loads_nothing(run_folder, results):
    assert (run_folder / "page.html").read_text() == read_results(run_folder / "speed.jsonl").to_html()
    page = results.to_html()
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"|url\(([^)]*)\)", page)
    assert {re.match(r"#|data:", address or other) is not None for address, other in addresses} == {True}
    for svg in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", page):
        assert "http" not in re.sub(r"xmlns(:\w+)?=\"[^\"]*\"|<!DOCTYPE[^>]*>|<metadata>.*?</metadata>", "",
                                    base64.b64decode(svg).decode(), flags=re.DOTALL)  # fmt: skip


def test_every_kind_of_row_has_its_section(results):
    page = results.to_html()
    assert {row.kind for row in results} == {"speed", "quality", "profile"}
    for anchor in ("speed", "quality", "operators", "settings"):
        assert page.count(f'<section id="{anchor}">') == page.count(f'href="#{anchor}"') == 1
    judged = next(row for row in results if row.kind == "quality" and row.model)
    assert f">{judged.psnr_db:.2f}<" in page
    slowest = max(next(row for row in results if row.kind == "profile").operators, key=lambda one: one.median_ms)
    assert f">{slowest.median_ms:.3f}<" in page
    for plot in ("Distribution of the time", "Time of a frame against its pixels", "PSNR against time"):
        assert plot in page


def test_a_section_without_rows_is_left_out(results):
    page = Results([row for row in results if row.kind == "speed"][:1]).to_html()
    assert 'id="speed"' in page
    assert 'id="operators"' not in page


def test_names_are_text_and_failed_rows_are_said(results):
    failed = msgspec.structs.replace(results[0], error="no <b>model</b>")
    failed.model = msgspec.structs.replace(failed.model, file=NASTY)
    page = Results([failed, *results]).to_html()
    assert NASTY not in page
    assert "no <b>" not in page
    assert "no &lt;b&gt;model" in page


def test_a_run_in_which_all_failed_has_a_page(results):
    page = Results([msgspec.structs.replace(results[0], error="broken")]).to_html()
    assert "broken" in page
    assert page.count("<h2>") == 2  # speed, which says so, and the settings


@pytest.mark.parametrize("size_wh", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_it_shows_and_sorts_in_a_browser(browser, run_folder, size_wh):
    browser.look(size_wh, touch=size_wh[0] < 400)
    browser.open((run_folder / "page.html").as_uri())
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "only tables and plots scroll sideways"
    assert browser.run("[...document.images].every((image) => image.complete && image.naturalWidth > 40)")
    totals = [float(text) for text in browser.run(CELLS.format(column=4))]
    press = "document.querySelectorAll('#speed thead button')[4].click()"
    browser.run(press)
    assert [float(text) for text in browser.run(CELLS.format(column=4))] == sorted(totals)
    browser.run(press)
    assert [float(text) for text in browser.run(CELLS.format(column=4))] == sorted(totals)[::-1]
    browser.run("document.querySelectorAll('#speed thead button')[1].click()")
    assert browser.run(CELLS.format(column=1)) == ["64×48", "320×240"], "sizes by their pixels, not their letters"


def test_report_joins_files_without_measuring(run_folder, results, tmp_path, capsys):
    files = [run_folder / f"{name}.jsonl" for name in ("speed", "quality", "profile")]
    target = tmp_path / "page.html"
    assert run("report", *files, "--html", target) == 0
    assert target.read_text() == results.to_html()
    assert results[0].file in capsys.readouterr().out


def test_startup_sustained_live_and_accuracy_have_sections(denoiser_file, tmp_path, capsys):
    kinds = {
        "startup": ["startup", "--runs", "1"],
        "sustained": ["speed", "--sustained", "2"],
        "live": ["live", "--seconds", "1", "--fps", "8"],  # so few frames that only some are left out
    }
    for name, args in kinds.items():
        run(*args, denoiser_file, "--size", "64x48", "--out", tmp_path / name)
    found = read_results(*(tmp_path / name for name in kinds))
    figures = {"accuracy": 0.9, "accuracy_95": [0.6, 0.98], "total_p50_ms": 1.0}
    found.append(Run({}).row(AccuracyRow, denoiser_file, **figures))
    assert len(found[-2].samples_ms["latency"]) > 2
    page = found.to_html()
    for anchor in ("startup", "speed", "real-time-loop", "accuracy"):
        assert f'id="{anchor}"' in page
    assert "seconds of a run without a pause" in page and "Time of a frame over a run" in page
    assert f"{found[0].ready_ms:.1f}" in page
    assert "0.6000 to 0.9800" in page
