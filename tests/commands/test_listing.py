"""Names and version: quick, plain, and the same as what the other subcommands take."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from nnmass.commands import SUBCOMMANDS
from nnmass.commands.main import main
from nnmass.runtime.config_names import find_config, find_study
from nnmass.zoo import list_models

RUN = {
    "network": "RandomSkipMLP",
    "status": "finished",
    "epochs": 3,
    "topology": {"nn_mass": 1234.5, "num_params": 8310},
    "test": {"test/accuracy": 0.97121},
}


def names(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["list", *arguments]) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


def test_every_name_is_one_that_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert names(capsys, "models") == list_models()
    assert names(capsys, "models", "wrn18_*") == list_models("wrn18_*")
    configs, studies = names(capsys, "configs"), names(capsys, "studies")
    assert len(configs) == len(list((ROOT / "configs").glob("*.yaml")))
    assert len(studies) == len(list((ROOT / "configs" / "studies").glob("*.yaml")))
    assert all(find_config(name) for name in configs)
    assert all(find_study(name) for name in studies)


def test_networks_with_trained_weights_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "models", "mlp_d24_*"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "weights: MNIST, 94.27 %" in line] == ["mlp_d24_w8_t2"]


def test_every_configuration_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("models", "configs", "studies"):
        main(["list", kind])
        assert all(re.fullmatch(r"\S+  +\S.*", line) for line in capsys.readouterr().out.splitlines())


def test_runs_are_listed_with_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, record in (("2026-01-01_a_1", {"network": "MyNet", "status": "failed"}), ("2026-01-02_b_2", RUN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    (tmp_path / "latest").symlink_to("2026-01-02_b_2")
    assert names(capsys, "runs", "--output_dir", str(tmp_path)) == ["2026-01-01_a_1", "2026-01-02_b_2"]
    main(["list", "runs", "*_b_*", "--output_dir", str(tmp_path)])
    assert capsys.readouterr().out == (
        "2026-01-02_b_2  RandomSkipMLP: finished, epochs 3, NN-Mass 1,234.5, parameters 8,310, test accuracy 0.9712\n"
    )
    (tmp_path / "2026-01-02_b_2" / "run.json").write_text(json.dumps({"name": "b"}))
    main(["list", "runs", "*_b_*", "--output_dir", str(tmp_path)])
    assert capsys.readouterr().out == "2026-01-02_b_2  not begun\n"
    assert main(["list", "runs", "--output_dir", str(tmp_path / "none")]) == 2
    assert "Expected --output-dir to be a folder with runs" in capsys.readouterr().err


def test_a_failed_run_tells_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for status, reason in (
        ("failed", "ValueError('Expected\\nthis.')"),
        ("running", "old"),
        ("interrupted", "x" * 999),
    ):
        (tmp_path / status).mkdir()
        (tmp_path / status / "run.json").write_text(json.dumps(RUN | {"status": status, "reason": reason}))
    assert main(["list", "runs", "--output_dir", str(tmp_path)]) == 0
    failed, interrupted, running = capsys.readouterr().out.splitlines()
    assert failed.endswith("because of ValueError('Expected\\nthis.')")
    assert "because" not in running
    assert len(interrupted) < 500


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"nnmass \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "list models", "list configs", "list studies"] + [f"{name} --help" for name in SUBCOMMANDS],
)
def test_what_only_tells_loads_no_torch(command: str) -> None:
    code = "import sys, cli\ntry: cli.main(sys.argv[1:])\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "\x1b" not in done.stdout
