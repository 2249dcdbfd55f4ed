"""submit: the job file that is written for SLURM, and what is refused before anything is queued."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from nnmass.commands.main import main
from nnmass.commands.submit import split_arguments
from nnmass.commands.training.lightning_cli import parsed_fit
from nnmass.runtime.config_names import CONFIG_FOLDER
from nnmass.runtime.job_scripts import job_script, largest_array


def job_file(folder: Path) -> str:
    (path,) = folder.glob("jobs/*.sh")
    subprocess.run(["bash", "-n", str(path)], check=True)
    return path.read_text()


def submit(tmp_path: Path, *words: str, config: str = "imagenet_dense.yaml") -> int:
    return main(["submit", "fit", "--config", config, "--output_dir", str(tmp_path), "--dry-run", *words])


def test_every_option_of_fit_is_known_as_one() -> None:
    known = vars(parsed_fit(["--config", str(CONFIG_FOLDER / "digits_dense.yaml")]))
    for name in known:
        assert split_arguments([f"--{name}", "value"]) == ([f"--{name}", "value"], []), name


def test_the_job_file_says_what_the_configuration_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNMASS_DATA", raising=False)
    words = ["--nodes", "2", "--gpus-per-node", "8", "--time", "24:00:00", "--data.num_workers", "6", "-p", "big mem"]
    assert submit(tmp_path, *words) == 0
    text = job_file(tmp_path)
    assert text in capsys.readouterr().out
    lines = text.splitlines()
    for option in ("nodes=2", "ntasks-per-node=8", "gpus-per-node=8", "time=24:00:00", "cpus-per-task=7", "requeue"):
        assert f"#SBATCH --{option}" in lines
    for option in ("open-mode=append", "signal=SIGUSR1@120", "partition='big mem'", "job-name=imagenet_dense"):
        assert f"#SBATCH --{option}" in lines
    (command,) = (line for line in lines if line.startswith("srun"))
    assert command.startswith("srun --kill-on-bad-exit=1 ")
    assert command.endswith("--data.num_workers 6 --trainer.devices 8 --trainer.num_nodes 2")
    assert "configs/imagenet_dense.yaml" in command
    assert command.count("/imagenet_dense.yaml") == 1


def test_readers_in_proportion_to_the_cores_are_given_cores(tmp_path: Path) -> None:
    assert submit(tmp_path, "--gpus-per-node", "4") == 0
    assert "#SBATCH --cpus-per-task=8" in job_file(tmp_path).splitlines()


def test_ones_own_options_of_sbatch_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNMASS_DATA", "/data of mine")
    words = [
        "--ntasks-per-node=3",
        "--trainer.devices=3",
        "-J",
        "mine",
        "--no-requeue",
        "--signal=USR1@60",
        "--cpus-per-task=2",
    ]
    assert submit(tmp_path, *words, config="digits_dense.yaml") == 0
    text = job_file(tmp_path)
    options = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    for option in ("ntasks-per-node=3", "job-name=mine", "no-requeue", "signal=USR1@60", "cpus-per-task=2", "nodes=1"):
        assert f"#SBATCH --{option}" in options
    assert len({option.split("=")[0] for option in options}) == len(options)
    assert "#SBATCH --requeue" not in options
    assert "export NNMASS_DATA='/data of mine'" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--gpus-per-node=8", "--trainer.devices=4"],
            "Expected trainer.devices to be the 8 tasks of each node, but got 4; --trainer.devices 8 says so.",
        ),
        (["--gpus-per-task=1"], "Expected --gpus-per-node rather than --gpus-per-task, but got 1"),
        (["--gpus-per-node=8", "--ntasks-per-node=4"], "Expected --gpus-per-node to be the 4 tasks of each node"),
        (["--nodes=2", "--trainer.num_nodes=4"], "Expected trainer.num_nodes to be the 2 of --nodes, but got 4"),
        (["--nodes=2-4"], "Expected --nodes to be a whole number of at least 1, but got 2-4"),
        (["--ntasks", "4"], "Expected --nodes and --ntasks-per-node rather than --ntasks, but got 4"),
        (["--gpus-per-node=2", "--trainer.accelerator=cpu"], "Expected no GPUs for trainer.accelerator cpu, but got 2"),
        (["--trainer.accelerator=gpu"], "Expected --gpus-per-node for trainer.accelerator gpu, but got none"),
        (["--gpus-per-node=many"], "Expected --gpus-per-node to be a number of GPUs, but got many"),
        (["--trainer.max_epoch=3"], "Expected a known option or key, but got 'trainer.max_epoch'"),
        (["--config", "imagenet_dens.yaml"], "did you mean imagenet_dense.yaml"),
        (["--nodes", "2", "4"], "Expected an option of sbatch before its value, but got '4'"),
    ],
)
def test_what_cannot_work_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert submit(tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "jobs").exists()


def test_only_fit_is_submitted(capsys: pytest.CaptureFixture) -> None:
    assert main(["submit", "test"]) == 2
    assert "Expected submit to be followed by fit, but got 'test'; for a study: nnmass study submit" in (
        capsys.readouterr().err
    )
    assert main(["submit"]) == 2


def study(tmp_path: Path, rows: int) -> Path:
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump({"configs": ["digits_dense.yaml"], "seeds": rows}))
    return path


def submit_study(tmp_path: Path, *words: str, rows: int = 10) -> int:
    folder = ["--output_dir", str(tmp_path / "out"), "--dry-run"]
    return main(["study", "submit", str(study(tmp_path, rows)), *folder, *words])


def test_an_array_has_as_many_tasks_as_its_rows_take(tmp_path: Path) -> None:
    assert submit_study(tmp_path, "--runs-per-task", "4", "--parallel", "2") == 0
    text = (tmp_path / "out" / "job.sh").read_text()
    assert "#SBATCH --array=1-3%2" in text
    assert text.count("--limit 4") == 1
    assert submit_study(tmp_path, "--tasks", "50") == 0
    assert "#SBATCH --array=1-10\n" in (tmp_path / "out" / "job.sh").read_text()


def test_more_tasks_than_the_cluster_takes_are_several_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnmass.runtime.job_scripts.largest_array", lambda: 4)
    assert submit_study(tmp_path, "--runs-per-task", "1") == 0
    arrays = [
        next(line for line in (tmp_path / "out" / name).read_text().splitlines() if "--array" in line)
        for name in ("job.sh", "job_2.sh", "job_3.sh")
    ]
    assert arrays == ["#SBATCH --array=1-4", "#SBATCH --array=1-4", "#SBATCH --array=1-2"]


def test_only_what_is_missing_or_has_failed_is_submitted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert submit_study(tmp_path, rows=3) == 0
    ids = (tmp_path / "out" / "rows.txt").read_text().split()
    for name, status in zip(ids, ("finished", "failed", "finished"), strict=True):
        (tmp_path / "out" / "rows" / name).mkdir(parents=True)
        (tmp_path / "out" / "rows" / name / "row.json").write_text(f'{{"status": "{status}", "reason": "none"}}')
    assert submit_study(tmp_path, "--runs-per-task", "1", rows=3) == 0
    assert "#SBATCH --array=1-1\n" in (tmp_path / "out" / "job.sh").read_text()
    (tmp_path / "out" / "rows" / ids[1] / "row.json").write_text('{"status": "finished"}')
    capsys.readouterr()
    assert submit_study(tmp_path, rows=3) == 2
    assert "are finished" in capsys.readouterr().err


def test_limits_are_for_rows_that_are_trained_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["study", "submit", "digits_mlp", "--output_dir", str(tmp_path), "--dry-run"]
    assert main([*words, "--runs-per-task", "3"]) == 2
    assert "Expected --runs-per-task only for a study of the engine fit" in capsys.readouterr().err
    assert main([*words, "--runs-per-task", "3", "--tasks", "2"]) == 2
    assert "Expected either --tasks or --runs-per-task" in capsys.readouterr().err


HOSTILE = ["a\ntouch PWNED", "a\rb", "a/b", "..", "-rf", "a\u2028b", "", "\x1b[31m", "x" * 200]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_is_neither_a_path_nor_an_option_nor_a_further_command(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    written = study(tmp_path, rows=1)
    written.write_text(yaml.safe_dump({"name": name, "configs": ["digits_dense.yaml"]}))
    out = ["--output_dir", str(tmp_path / "out"), "--dry-run"]
    assert main(["study", "submit", str(written), *out]) == 2
    error = capsys.readouterr().err
    assert "Expected the study's name to" in error
    assert error.count("\n") == 1
    assert submit(tmp_path, "-J", name, config="digits_dense.yaml") == 2
    assert "Expected --job-name to" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Expected --job-name to"):
        job_script(name, {}, Path("log.txt"), ["true"], "#", {})
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"name": name}))
    (run / "config.yaml").write_text("trainer: {max_epochs: 1}")
    assert main(["fit", "--config", str(run / "config.yaml"), "--output_dir", str(tmp_path / "runs")]) == 2
    assert "Expected the configuration's name to" in capsys.readouterr().err
    assert not (tmp_path / "jobs").exists()
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "out").exists()


def test_a_configuration_of_such_a_name_names_no_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tmp_path / "a\ntouch PWNED\n.yaml"
    config.write_text((CONFIG_FOLDER / "digits_dense.yaml").read_text())
    for words in (["fit"], ["submit", "fit", "--dry-run"]):
        assert main([*words, "--config", str(config), "--output_dir", str(tmp_path / "out")]) == 2
        assert "Expected the configuration's name to be one line" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bash_runs_the_command_of_a_job_file_and_nothing_else(tmp_path: Path) -> None:
    """Options, paths and arguments may hold any characters; srun is a program that prints its own arguments."""
    odd = """blank 'quote" $(touch PWNED) `touch PWNED` ; touch PWNED # \\ % {} * ~ \t \u00fc"""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "srun").write_text('#!/bin/sh\nshift\nprintf "%s\\0" "$NNMASS_DATA" "$@"\n')
    (place / "srun").chmod(0o755)
    options = {name: odd.replace("\t", "") for name in ("partition", "account", "time", "comment", "output")}
    command = [f"/{odd}/python", "cli.py", odd, "a\nb", "", "-x"]
    text = job_script(
        "name of blanks", options, Path(odd.replace("\t", "")) / "%j.txt", command, "# Notes.", {"NNMASS_DATA": odd}
    )
    (tmp_path / "job.sh").write_text(text)
    done = subprocess.run(
        ["bash", str(tmp_path / "job.sh")],
        cwd=tmp_path,
        env={"PATH": f"{place}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\0") == [odd, *command, ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "job.sh"]
    for option, value in (("partition", "a\ntouch PWNED"), ("time", "1\r2"), ("a\ntouch PWNED", None), ("chdir", "\0")):
        with pytest.raises(ValueError, match="Expected (--|an option of sbatch)"):
            job_script("name", {option: value}, Path("log.txt"), command, "#", {})


def test_a_folder_of_percent_signs_is_no_pattern_of_sbatch(tmp_path: Path) -> None:
    text = job_script("name", {}, Path("/50%x/jobs/%x_%j.txt"), ["true"], "#", {})
    assert "#SBATCH --output=/50%%x/jobs/%x_%j.txt" in text.splitlines()


def test_a_cluster_is_asked_how_large_an_array_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\necho 'MaxArraySize            = 251'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert largest_array() == 250
