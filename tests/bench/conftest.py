import importlib
import pathlib
import sys

import pytest

HERE = str(pathlib.Path(__file__).parent)


@pytest.fixture(scope="session")
def import_program():
    """A function that imports one of the programs here, which import each other by their names."""

    def import_program(name):
        sys.path.insert(0, HERE)
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(HERE)

    return import_program
