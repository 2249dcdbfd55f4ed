"""docs/optuna.md as it is written, but for fewer and shorter trials: what it finds and prunes, and its options."""

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from nnmass.commands.training.lightning_cli import parsed_fit
from nnmass.runtime.config_names import CONFIG_FOLDER


@pytest.mark.slow
def test_optuna_chooses_prunes_and_names_options_of_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    optuna = pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "optuna.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(script.replace("n_trials=30", "n_trials=2").replace("max_epochs=10", "max_epochs=1"), names)
    found, options = capsys.readouterr().out.strip().splitlines()[-2:]
    study = names["study"]
    assert found == f"validation accuracy {max(trial.value for trial in study.trials):.4f}"
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    assert (tmp_path / "search.db").is_file()
    chosen = parsed_fit(["--config", str(CONFIG_FOLDER / "digits_dense.yaml"), *options.split()]).model
    assert chosen.optimizer.init_args.lr == study.best_params["model.optimizer.lr"]
    assert chosen.network.init_args.width_multiplier == study.best_params["model.network.width_multiplier"]
    unreachable = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=1.1))
    unreachable.optimize(names["accuracy"], n_trials=1)
    assert unreachable.trials[0].state.name == "PRUNED"
