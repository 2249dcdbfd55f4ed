"""An installed copy: the console script from anywhere, also beside folders of the same names."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
from conftest import ROOT

SHIPPED = {
    "zoo",
    "callbacks",
    "commands",
    "configs",
    "datamodules",
    "nnmass.py",
    "runtime",
    "studies",
    "MANIFEST.in",
    "cli.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment into which this project was installed without its dependencies.

    The dependencies are borrowed from the environment that runs the tests.
    """
    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in files or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.suffix in (".py", ".yaml")]:
        if name.partition("/")[0] in SHIPPED:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})["purelib"])
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", str(source)]
    subprocess.run([str(python), *install], check=True)
    return home / "bin"


def in_project(installed: Path, project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(installed / command[0]), *command[1:]],
        cwd=project,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, whose folders are called like ours and must not be imported."""
    for name in ("callbacks", "commands", "configs", "datamodules", "studies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this is somebody else')\n")
    return tmp_path


@pytest.mark.parametrize("search_path", [pytest.param("", marks=pytest.mark.slow), "."])
def test_the_console_script_works_beside_folders_of_the_same_names(
    installed: Path, project: Path, search_path: str
) -> None:
    environment = {"PYTHONPATH": str(project)} if search_path else {}
    arguments = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu"]
    done = in_project(installed, project, "nnmass", "fit", "--config", "digits_dense.yaml", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert "NN-Mass" in done.stdout
    assert (project / "runs" / "latest" / "run.json").is_file()


def test_the_source_archive_holds_what_is_needed(tmp_path: Path) -> None:
    """A wheel is made from it; the other tests have installed a wheel itself."""
    source = tmp_path / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    code = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [archive] = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert names >= {
        "LICENSE",
        "README.md",
        "cli.py",
        "nnmass.py",
        "pyproject.toml",
        "zoo/py.typed",
        "zoo/fast/__init__.py",
    }
    for folder in ("configs", "configs/studies"):
        assert names >= {f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.yaml")}
    released = {f"zoo/weights/released/{path.name}" for path in (ROOT / "zoo" / "weights" / "released").iterdir()}
    assert released
    assert names >= released


def test_the_console_script_inspects(installed: Path, project: Path) -> None:
    done = in_project(installed, project, "nnmass", "inspect", "resnet18", "--config", "digits_dense")
    assert done.returncode == 0, done.stderr
    assert "3,392.000" in done.stdout


def test_uninstalling_leaves_nothing_behind(installed: Path, project: Path, tmp_path: Path) -> None:
    """A folder that is left over would hide the next installation; compilers keep their files elsewhere."""
    code = "import numpy as np; from nnmass.zoo.jacobian.gram import scaled_gram_singular_values as values; "
    code += "values(np.eye(2)[None], np.ones((1, 1, 2)))"
    done = in_project(installed, project, "python", "-c", code, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache" / "nnmass" / "numba").rglob("*.nbi"))
    site = next(installed.parent.glob("lib/python*/site-packages"))
    (record,) = site.glob("nnmass-*.dist-info/RECORD")
    recorded = {line.partition(",")[0] for line in record.read_text().splitlines()}
    inside = {name.partition("/")[0] for name in recorded if not name.startswith("../")}
    assert inside == {"nnmass", record.parent.name}  # one package, and nothing beside it
    folders = {name.split("/")[1] for name in recorded if name.endswith("/__init__.py")}
    assert folders == {name for name in SHIPPED if "." not in name} - {"LICENSE"}
    for path in (path for path in (site / "nnmass").rglob("*") if path.is_file()):
        source = path.parent.parent / f"{path.name.partition('.')[0]}.py" if path.suffix == ".pyc" else path
        assert str(source.relative_to(site)) in recorded


def test_script_and_file_say_the_same(installed: Path, project: Path) -> None:
    for arguments in (["--help"], ["fit", "--config", "nothing.yaml"]):
        script = in_project(installed, project, "nnmass", *arguments)
        file = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *arguments], cwd=project, capture_output=True, text=True, check=False
        )
        assert (script.returncode, script.stdout, script.stderr) == (file.returncode, file.stdout, file.stderr)


def test_the_installed_zoo_is_ours_and_knows_no_cli(installed: Path, project: Path) -> None:
    network = "zoo.create_model('dense_40_w2_60_130_170')"
    code = f"from nnmass import zoo; print(zoo.__file__, round(zoo.topology({network}).nn_mass, 3))"
    code += "; print(zoo.create_model('mlp_d24_w8_t2', pretrained=True).nn_mass)"
    done = in_project(installed, project, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    path, mass, trained = done.stdout.split()
    assert path.startswith(str(installed.parent))
    assert (mass, trained[:5]) == ("755.345", "4.173")
