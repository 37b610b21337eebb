"""Programs of this folder are compiled as those of the method are."""

from tests.mass.conftest import quick_compilation  # noqa: F401 (a fixture of every test)
