"""README.md and docs/ keep their form: short, linked, one number to a cell. `make docs` checks the site's links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINKING = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
RESEARCH = sorted((DOCS / "research").glob("*.md"))

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?")


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def cells(text: str) -> Iterator[str]:
    """The cells of a page's tables, without their headings."""
    lines = re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        is_body = line.startswith("|") and not line.startswith("|---")
        if is_body and above.startswith("|"):
            yield from (cell.strip() for cell in line.strip("|").split("|"))


def numbers(cell: str) -> list[str]:
    """The measured numbers of a cell: names in code, sizes, precisions and noise levels are none."""
    label = re.sub(
        r"`[^`]*`|\d+×\d+|\b(int8|fp32|fp16|CBM3D|\w+D?68|Set12|h264)\b|σ \d[\d.]*|\[[\d., ]+\)|\d+(st|nd|rd|th)\b",
        "",
        cell,
    )
    return _NUMBER.findall(label)


def test_the_readme_is_a_landing_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in slugs(found), f"{page.name}: {target}"


def test_no_cell_of_the_measurements_holds_more_than_one_number():
    found = list(cells((DOCS / "benchmarks.md").read_text(encoding="utf-8")))
    assert len(found) > 200
    assert [cell for cell in found if len(numbers(cell)) > 1] == []


@pytest.mark.parametrize(
    ("cell", "count"),
    [("1.8 / 3.2", 2), ("33.52 to 34", 2), ("`camera-nano` int8", 0), ("+1.62", 1), ("1,020", 1), ("640×480", 0)],
)
def test_numbers_are_counted(cell, count):
    assert len(numbers(cell)) == count


def test_the_files_that_the_architecture_names_are_there():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:runtime|train|export|benchmarks|tests|examples)/[\w/.]+)`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "page", [page for page in RESEARCH if page.name not in ("index.md", "results.md")], ids=lambda page: page.name
)
def test_notes_open_with_a_summary_of_ten_lines(page):
    head = page.read_text(encoding="utf-8").partition("\n## ")[0]
    assert "**Summary.**" in head
    assert re.findall(r"^(\d+)\. ", head, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_how_to_install_stands_in_two_places():
    """On the first page, which the quickstart includes, and for a device's own folder: both change with an index."""
    pages = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    assert [page.name for page in pages if "pip install '.[" in page.read_text(encoding="utf-8")] == [
        "README.md",
        "device.md",
    ]


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert [
        page for page in sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")) if page not in nav
    ] == []
