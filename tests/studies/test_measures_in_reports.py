"""Training-free measures in the report of a study: fits, page, figures and tables, also where some rows lack them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.models.widgets import DataTable, ScientificFormatter
from rich.console import Console

from nnmass.runtime.files import write_table
from nnmass.studies.choices import Endpoint
from nnmass.studies.explain import Predictor, measure_columns
from nnmass.studies.report.baselines import baseline_table
from nnmass.studies.report.figures import draw_partial_regression, draw_scatter
from nnmass.studies.report.fits import averages, study_fits
from nnmass.studies.report.markdown import Progress, study_markdown
from nnmass.studies.report.page import _networks
from nnmass.studies.report.writer import _row, _table_of_baselines


def results(measured: int, names: Sequence[str] = ("grad_norm", "zen")) -> pd.DataFrame:
    """Trainings of twelve networks, the first of which have been measured by ``names``; zen has no value of any."""
    number = np.arange(12)
    table = pd.DataFrame({"network": [f"net_{one}" for one in number], "row": [f"r{one}" for one in number]}).assign(
        **{"status": "finished", "engine": "fit", "config": "c", "seed": 0, "depth": 4 + number % 3},
        **{"nn_mass": 1.0 + number, "nn_density": 0.5, "num_params": 50 + 7 * number, "macs": 9 + number**2},
        **{"flops": 2 * number + 5, "average_degree": 2.0, "num_layers": 3, "test_accuracy_last": np.sin(number)},
    )
    if measured:
        values = np.where(number < measured, 1e-5 * np.cos(number), np.nan)
        table = table.assign(**{name: values for name in names if name != "zen"})
        table["measures"] = [" ".join(names) if one < measured else None for one in number]
        reasons = json.dumps({"zen": 'Expected "norms", but got none, or one.'})
        table["not_measured"] = [reasons if one < measured and "zen" in names else None for one in number]
    return table


def page_of(table: pd.DataFrame) -> str:
    fits, baselines = study_fits(table), baseline_table(table)
    return study_markdown("measured", table, fits, baselines, None, [], Progress(len(table), len(table)))


def test_an_endpoint_names_a_measure_that_the_study_takes() -> None:
    endpoint = Endpoint(measure="grad_norm")
    sentence = r"Expected report.endpoint.measure to be one of .*, but got 'grad_norm'; study run takes it"
    with pytest.raises(ValueError, match=sentence):
        baseline_table(results(0), endpoint=endpoint)
    assert "grad_norm" in set(baseline_table(results(12), endpoint=endpoint)["measure"])


@pytest.mark.parametrize("endpoint", [Endpoint(measure="log zen"), Endpoint(given=["zen", "depth"])])
def test_an_endpoint_without_values_leaves_the_rest_of_the_report(endpoint: Endpoint) -> None:
    table = results(12)
    baselines = baseline_table(table, endpoint=endpoint)
    assert {"log NN-Mass", "grad_norm"} <= set(baselines["measure"])
    assert draw_partial_regression(table, endpoint, "depth", None) is None
    text = study_markdown("measured", table, study_fits(table), baselines, endpoint, [], Progress(12, 12))
    assert 'zen has no value in 12 of 12 rows: Expected "norms", but got none, or one.' in text


def test_measures_of_some_rows_are_not_passed_off_as_those_of_all() -> None:
    table = results(9)
    fits = study_fits(table).query("averaging == 'mean over seeds'")
    known = table.iloc[:9]
    r2 = known["grad_norm"].corr(known["test_accuracy_last"]) ** 2
    assert fits.set_index("explaining").loc["grad_norm", ["n", "r2"]].tolist() == pytest.approx([9, r2])
    assert "grad_norm" not in set(baseline_table(table)["measure"])
    assert "- grad_norm has not been taken in 3 of 12 rows: study run takes it if the study names it." in page_of(table)
    assert "has not been taken" not in page_of(results(12))
    explained_by = _row(fits)[1].splitlines()
    assert "grad_norm (9)" in explained_by
    assert "parameters" in explained_by
    (panel,) = draw_scatter(averages(table), "test_accuracy_last", "", "depth", None, [Predictor("grad_norm")]).axes
    assert panel.get_title().startswith("3 have no value\nR² ")
    assert len(panel.lines) == 1 + 3, "a line through the points of three depths"


def test_results_are_read_from_csv_as_they_were_written(tmp_path: Path) -> None:
    table = results(9)
    write_table(tmp_path / "results.csv", table)
    read = pd.read_csv(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(read, table.astype(read.dtypes))
    assert page_of(read) == page_of(table)
    assert measure_columns(read) == ["grad_norm"]


def test_many_measures_make_rows_of_four_panels() -> None:
    names = ["grad_norm", "snip", "grasp", "synflow", "fisher", "zico"]
    table = averages(results(12, names))
    chosen = [Predictor(name) for name in names]
    figure = draw_scatter(table, "test_accuracy_last", "accuracy", "depth", None, chosen)
    assert [axes.get_xlabel() for axes in figure.axes] == names
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "", "", "", "accuracy", ""]
    assert figure.get_size_inches().tolist() == pytest.approx([16, 7.6])


def test_the_page_shows_measures_and_lets_them_be_chosen() -> None:
    table = results(12, ["grad_norm", "snip"]).assign(snip=1e-5 * (1 + np.arange(12)))
    plots = _networks(averages(table), "depth")
    assert {"grad_norm", "snip", "log10 snip"} <= set(plots.select_one({"title": "abscissa"}).options)
    assert "log10 grad_norm" not in plots.select_one({"title": "abscissa"}).options, "some are negative"
    columns = {column.field: column for column in plots.select_one({"type": DataTable}).columns}
    assert isinstance(columns["snip"].formatter, ScientificFormatter), "four decimals of it are 0"


def test_no_name_of_a_measure_is_cut_at_eighty_columns() -> None:
    names = ["grad_norm", "synflow", "jacob_cov", "nn_degree"]
    console = Console(width=80, file=io.StringIO())
    console.print(_table_of_baselines("all", "all", baseline_table(results(12, names))))
    text = console.file.getvalue()
    assert all(name in text for name in [*names, "NN-density", "parameters"])
    assert {line[-1] for line in text.splitlines()[1:]} == set("┓┃┩│┘"), "the last column is whole"
