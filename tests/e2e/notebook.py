"""`make notebook-results`: run notebooks/explore.py on an emulated lake, and keep the results.

They are the results that a reader of the repository sees. A test compares them.
"""

import tempfile
from pathlib import Path

import nbformat

from tests.support.emulated_lake import fill
from tests.support.notebooks import RESULTS, executed


def main() -> None:
    """Write explore.ipynb."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = executed(fill(folder).file.path, folder)
    nbformat.write(notebook, RESULTS)
    print(f"{RESULTS}: {RESULTS.stat().st_size / 1000:,.0f} kB")  # noqa: T201  # its result


if __name__ == "__main__":
    main()
