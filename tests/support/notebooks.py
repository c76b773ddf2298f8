"""The notebooks: their cells, and what running one in a fresh kernel gives."""

import os
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

from tests.support.places import ROOT

FOLDER = ROOT / "notebooks"
EXPLORE = FOLDER / "explore.py"
RESULTS = FOLDER / "explore.ipynb"
_TIMEOUT_S = 120
Notebook = Any  # nbformat's node


def kept() -> Notebook:
    """Return explore.ipynb with its results, as it is in the repository."""
    return nbformat.read(RESULTS, as_version=4)


def executed(config: Path, scratch: Path) -> Notebook:
    """Run explore.py in a fresh kernel of this environment on the lake of `config`.

    `scratch`: an empty folder, for the kernel's own files.
    """
    notebook = jupytext.read(EXPLORE)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    own = {"PINPIP_CONFIG": str(config), "IPYTHONDIR": str(scratch), "JUPYTER_NO_CONFIG": "1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PINPIP_")} | own
    where = {"metadata": {"path": str(FOLDER)}}
    client = NotebookClient(
        notebook, timeout=_TIMEOUT_S, kernel_name="python3", record_timing=False, resources=where
    )
    client.execute(env=environment)
    return notebook


def texts(notebook: Notebook) -> list[str]:
    """Return what the cells printed and their tables, in order, without the charts."""
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = ("text/html", "text/markdown")
    return [o.get("text") or "".join(o["data"].get(kind, "") for kind in kinds) for o in shown]


def charts(notebook: Notebook) -> list[str]:
    """Return the charts as SVG, in order."""
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [o["data"]["image/svg+xml"] for o in shown if "image/svg+xml" in o.get("data", {})]
