"""The page of a study as Markdown says what its numbers say, and nothing that they do not."""

import numpy as np
import pandas as pd
from test_baselines import results

from nnmass.studies.choices import Endpoint
from nnmass.studies.report.baselines import baseline_table
from nnmass.studies.report.fits import study_fits
from nnmass.studies.report.markdown import Progress, study_markdown

LINKED = Endpoint(networks="NN-Mass > 0")


def page(table: pd.DataFrame, endpoint: Endpoint | None = LINKED, planned: int | None = None) -> str:
    baselines = baseline_table(table, endpoint=endpoint)
    rows = Progress(len(table), planned or len(table))
    return study_markdown("trial", table, study_fits(table), baselines, endpoint, ["accuracy.png"], rows)


def test_it_asks_and_answers_by_the_endpoint() -> None:
    text = page(results())
    assert "How much of the test accuracy (last epoch) does log NN-Mass explain, and more than the number of" in text
    assert "72 of 72 rows are finished: 36 networks, 2 seeds each." in text
    row = baseline_table(results(), endpoint=LINKED).query("endpoint == 'primary'").iloc[0]
    answer = f"is {row['r2']:.2f} ({row['r2_low']:.2f} to {row['r2_high']:.2f}), over 32 networks with NN-Mass > 0"
    assert answer in text
    assert "; mass explains more." in text  # than parameters and depth
    assert "In the networks of NN-Mass > 0, log t says nearly the same as log NN-Mass" in text
    assert "![accuracy](accuracy.png)" in text
    assert all(line.count("|") == 8 for line in text.splitlines() if line.startswith("| log t"))


def test_it_says_what_is_missing_or_not_known() -> None:
    few = results(chains=False).query("depth == 16 and seed == 0 and tc < 6")
    text = page(few, Endpoint(), planned=20)
    assert "5 of 20 rows are finished: 5 networks, 1 seed each." in text
    assert "15 of 20 rows are missing." in text
    assert "One seed each: what the seeds scatter is not known" in text
    assert ", without an interval: there are too few networks." in text
    assert "nan" not in text


def test_without_an_endpoint_it_claims_nothing() -> None:
    text = page(results(), endpoint=None)
    assert "every fit is exploratory" in text
    assert "There is no result at a primary endpoint" in text
    assert "**" not in text


def test_of_a_grid_it_says_which_combination_it_is_about() -> None:
    table = results()
    fits, baselines = study_fits(table), baseline_table(table)
    text = study_markdown("trial", table, fits, baselines, None, [], Progress(144, 144), "c lr0.1", "## All\n\nx")
    assert text.index("## Setup") < text.index("## All\n\nx\n\n") < text.index("## Answer")
    assert "144 of 144 rows are finished. Of the grid's combinations this page is about the best by validation" in text
    assert "c lr0.1: 36 networks, 2 seeds each." in text
    assert "missing" not in text


def test_what_chance_explains_is_not_told_apart() -> None:
    table = results()
    table["test_accuracy_last"] = np.random.default_rng(5).standard_normal(len(table))
    assert "the interval holds 0, so these networks do not tell them apart" in page(table)
