"""CSV whose texts are no formulas, and whose numbers are numbers."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from nnmass.runtime.csv_text import csv_text
from nnmass.runtime.files import write_table

FORMULA = r"^'('*[=+\-@\t\r\n])"


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text, newline=""), keep_default_na=False, dtype=str)


@given(st.lists(st.text("=+-@\t'\"a,;1. \n", max_size=6), min_size=1))
def test_no_text_begins_a_formula_and_pandas_reads_back_what_was_written(texts: list[str]) -> None:
    cells = read(csv_text(pd.DataFrame({"name": texts, "end": "x"})))["name"]
    for cell, text in zip(cells, texts, strict=True):
        is_number = re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*", text) is not None
        assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cells.replace(FORMULA, r"\1", regex=True).tolist() == texts


def test_numbers_headings_and_the_index_are_as_they_should_be() -> None:
    numbers = {"loss": np.array([-1.5, 0.1], dtype=np.float32), "count": [-1, 2]}
    table = pd.DataFrame(
        {**numbers, "=cmd": ["-2.5", "+a"], "none": [None, "@b"]}, index=pd.Index(["=x", "y"], name="-n")
    )
    assert csv_text(table, index=True) == "'-n,loss,count,'=cmd,none\n'=x,-1.5,-1,-2.5,\ny,0.1,2,'+a,'@b\n"
    assert csv_text(table[["loss"]]) == "loss\n-1.5\n0.1\n"
    assert list(table.columns) == ["loss", "count", "=cmd", "none"]
    same = pd.DataFrame([["=a", "=b"]], columns=["x", "x"])
    assert csv_text(same) == "x,x\n'=a,'=b\n"


def test_the_table_beside_it_has_the_texts_themselves(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", pd.DataFrame({"network": ["=1+1"]}))
    assert (tmp_path / "a.csv").read_text() == "network\n'=1+1\n"
    assert pd.read_parquet(tmp_path / "a.parquet")["network"].tolist() == ["=1+1"]
