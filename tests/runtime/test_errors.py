from __future__ import annotations

import pytest

from quietframe import errors
from quietframe.errors import MissingExtraError, QuietFrameError

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


@pytest.mark.parametrize("error", ALL)
def test_one_tree(error):
    assert issubclass(error, QuietFrameError)
    assert error.__doc__
    assert error.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(errors.FrameError, ValueError), (errors.UsageError, ValueError), (MissingExtraError, ImportError)],
)
def test_some_are_also_what_python_would_raise(error, builtin):
    assert issubclass(error, builtin)


def test_a_missing_extra_names_its_install():
    error = MissingExtraError("ONNX Runtime", "onnx")
    assert str(error) == "ONNX Runtime is not installed: pip install 'quietframe[onnx]'"
    assert error.extra == "onnx"
