"""Dataclasses as JSON and back, and the errors that name the field. Objects without a kind: test_card.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from quietframe.serde import RecordError, from_record, to_record


@dataclass(frozen=True)
class Square:
    side: float


@dataclass(frozen=True)
class Circle:
    radius: int = 1


@dataclass(frozen=True)
class Drawing:
    name: str
    shapes: tuple[Square | Circle, ...] = ()
    at: tuple[int, float] = (0, 0.0)
    colour: Literal["red", "blue"] = "red"
    frame: Square | None = None
    filled: bool = False
    file: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


KINDS = {kind.__name__: kind for kind in (Square, Circle, Drawing)}
FULL = Drawing(
    name="full",
    shapes=(Square(1.5), Circle(2)),
    at=(3, 0.25),
    colour="blue",
    frame=Square(9.0),
    filled=True,
    file=Path("a/b"),
    options={"widths": (1, 2, (3,)), "deep": {"x": None}},
)


@pytest.mark.parametrize("drawing", [Drawing("plain"), FULL], ids=lambda drawing: drawing.name)
def test_what_is_read_is_what_was_written(drawing):
    assert from_record(json.loads(json.dumps(to_record(drawing))), Drawing, KINDS) == drawing


def test_a_whole_number_is_a_number_and_fields_with_defaults_may_be_missing():
    found = from_record({"kind": "Drawing", "name": "n", "shapes": [{"kind": "Square", "side": 2}]}, Drawing, KINDS)
    assert found == Drawing("n", shapes=(Square(2.0),))
    assert isinstance(found.shapes[0].side, float)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "d.name: expected a text, received 3"),
        ({"filled": 1}, "d.filled: expected true or false, received 1"),
        ({"frame": {"kind": "Circle"}}, r"d.frame: expected Square, received Circle\(radius=1\)"),
        ({"frame": 3}, "d.frame: expected an object with a kind, received 3"),
        ({"shapes": [{"kind": "Circle"}, {"kind": "Cube"}]}, r"d.shapes\[1\]: kind 'Cube' is not known"),
        ({"shapes": [{"kind": ["Circle"]}]}, r"d.shapes\[0\]: kind \['Circle'\] is not known"),
        ({"shapes": [{"kind": "Drawing", "name": "x"}]}, r"d.shapes\[0\]: expected Square or Circle, received Drawing"),
        ({"options": []}, r"d.options: expected an object, received \[\]"),
        ({"file": 3}, "d.file: expected a path, received 3"),
        ({"weight": 3}, "d: field 'weight' is not known"),
        ({"shapes": [{"kind": "Square"}]}, r"d.shapes\[0\]: field 'side' is missing"),
    ],
)
def test_errors_begin_with_the_path_of_the_field(change, message):
    with pytest.raises(RecordError, match=f"^{message}"):
        from_record({"kind": "Drawing", "name": "n"} | change, Drawing, KINDS, "d")
