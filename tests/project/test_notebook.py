"""The notebook runs from top to bottom, and shows what its text says."""

from pathlib import Path
from typing import Any

from conftest import ROOT


def texts(cell: Any) -> str:
    """All that a cell printed or shows."""
    outputs = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "\n".join(outputs)


def test_the_notebook_runs(monkeypatch: Any, tmp_path: Path) -> None:
    import nbformat  # which a machine for the other tests may lack
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples" / "topology.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    by_hand, by_formula = map(float, texts(cells[2]).split())
    assert abs(by_hand - by_formula) < 1e-9
    results: dict[str, tuple[float, float]] = eval(texts(next(cell for cell in cells if "results = {" in cell.source)))
    assert results["chain"][1] < min(results["some links"][1], results["many links"][1]) - 0.1
    mass, _ = eval(texts(cells[-1]))
    assert mass >= results["many links"][0]
