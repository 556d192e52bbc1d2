"""A warning that no test expects is an error: pyproject.toml's filters are in force."""

import warnings

import pytest


@pytest.mark.parametrize("category", [UserWarning, RuntimeWarning, ResourceWarning])
def test_a_warning_is_an_error(category):
    with pytest.raises(category, match="nobody expects"):
        warnings.warn("nobody expects it", category, stacklevel=1)


@pytest.mark.parametrize(
    "category",
    [
        pytest.PytestUnhandledThreadExceptionWarning,
        pytest.PytestUnraisableExceptionWarning,
    ],
)
def test_an_exception_that_pytest_notices_is_an_error(category):
    """In a thread, or in a destructor such as that of an open file."""
    with pytest.raises(category):
        warnings.warn(category("noticed"), stacklevel=1)
