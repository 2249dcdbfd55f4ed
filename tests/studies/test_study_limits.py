"""A study of more rows than anybody fills, or of numbers where keys belong, is refused at once by every action."""

import time
from pathlib import Path

import pytest
import yaml

from nnmass.commands.main import main

CONFIGS = {"configs": ["digits_dense.yaml"]}
MANY = list(range(1, 400))
STUDIES = {
    "seeds": ({"seeds": 10**9}, "seeds to be at most 100,000, or a list of seeds, but got 1000000000."),
    "high seed": ({"seeds": [2**32]}, "seeds to be below 2**32, but got [4294967296]."),
    "higher seed": ({"seeds": [10**30]}, "seeds to be below 2**32, but got"),
    "grid": (
        {"networks": [{"cell_depth": MANY, "width_multiplier": MANY, "tc": MANY}]},
        "networks and seeds to make at most 100,000 rows, but got 63,521,199.",
    ),
    "grid and seeds": ({"networks": [{"tc": MANY}], "seeds": 1000}, "at most 100,000 rows, but got 399,000."),
    "samples": ({"jacobian": {"samples": 10**12}}, "jacobian.samples to lie in 1 to 100,000, but got 1000000000000."),
    "report": ({"report": 5}, "report to be keys and values, but got 5."),
    "jacobian": ({"jacobian": 5}, "the study's jacobian to be "),
    "section": ({"changes": {"trainer": 5}}, "keys and values under trainer in {path}, but it holds 5."),
    "model": ({"changes": {"model": True}}, "keys and values under model in {path}, but it holds True."),
}


@pytest.mark.parametrize("what", STUDIES)
def test_it_is_refused_at_once(what: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content, sentence = STUDIES[what]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(CONFIGS | content))
    for action in ("plan", "run", "status", "report", "submit"):
        began = time.perf_counter()
        dry = ["--dry-run"] if action == "submit" else []
        assert main(["study", action, str(tmp_path / "x.yaml"), *dry]) == 2
        message = capsys.readouterr().err
        assert sentence.format(path=tmp_path / "x.yaml") in message
        assert message.count("\n") == 1
        assert time.perf_counter() - began < 10
