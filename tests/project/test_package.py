"""The package as others import it: cheap, independent, without name clashes."""

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT

from nnmass import zoo

# What other projects may rely on; a name that is added, renamed or taken away here stands in the changelog.
PUBLIC = {
    "zoo": """
        Agreement Answer Block Choice Choices Classifier ClosedForm DegreeDistribution Design Estimate ExpansionBlock
        GraphStatistics Joint Latency LayerSpectrum LoadedWeights MacCount MobileNetV2 Preprocessing RandomSkipCell
        RandomSkipDenseNet RandomSkipMLP ResNet Separation Shape Size Spectrum Topology TrainedNetwork Wiring
        average_degree average_degree_approximation cell_density cell_size check_fast_passes
        circular_convolution_singular_values closed_form count_macs create_model d_optimal degree_distributions
        dense_jacobian dense_singular_values densenet_grid densenet_size draw_cells draw_degrees draw_links
        estimate_spectrum fewest_params graph_statistics hidden_isometry hidden_mean highest_mass initialise
        layer_spectra linear_singular_values link_counts list_models load load_weights macs_by_operator measure_latency
        measure_network mlp_grid mlp_size mobilenet_grid mobilenet_size nn_mass pareto_front pass_in_use
        register_in_timm singular_value_bounds topology
    """,
    "datamodules": """
        Augmentation CIFAR10 CIFAR100 Circle DataModule Digits FashionMNIST HuggingFaceImages ImageDataModule
        ImageFolder ImageNet ImageTable InMemoryDataModule MNIST PhotographAugmentation Seg TorchvisionImages
    """,
    "callbacks": """
        AverageNotes CheckpointDescription CompleteResume ConfusionMatrix DataWait EMAWithWarmUp EpochLines FiniteLoss
        GradientBuckets JacobianRecorder KeptIntegers LearningCurves MeasureRecorder MetricsHistory MetricsTable
        NonFiniteLossError RandomState ResumeCheckpoint RunRecorder StepProtocol TolerantLogger TopologyRecorder
        TrainingStopped log_picture
    """,
}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_zoo_loads_no_framework() -> None:
    assert not loaded_after("from nnmass import zoo; zoo.list_models(); zoo.nn_mass(4, 2, 3)") & {
        "torch",
        "pytorch_lightning",
        "timm",
    }
    heavy = loaded_after("from nnmass import zoo; zoo.create_model('dense_digits')")
    assert "torch" in heavy
    assert not heavy & {"pytorch_lightning", "timm", "fvcore", "torchvision", "huggingface_hub"}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_these(package: str) -> None:
    module = import_module(f"nnmass.{package}")
    names = PUBLIC[package].split()
    assert sorted(module.__all__) == names
    assert all(hasattr(module, name) for name in names)


def test_every_public_name_is_there_and_none_is_a_submodule() -> None:
    submodules = {module.name for module in pkgutil.iter_modules(zoo.__path__)}
    assert not submodules & set(zoo.__all__)
    for name in zoo.__all__:
        assert getattr(zoo, name).__name__ == name
    with pytest.raises(AttributeError, match="No nnmass.zoo attribute nothing"):
        zoo.nothing  # noqa: B018


def test_the_zoo_imports_nothing_from_its_neighbours() -> None:
    neighbours = {"callbacks", "commands", "configs", "datamodules", "runtime", "studies", "cli"}
    for path in (ROOT / "zoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not neighbours & {name.removeprefix("nnmass.").split(".")[0] for name in names}, path


def test_only_one_of_the_two_lightnings_is_imported() -> None:
    """The package ``lightning`` had compromised releases, and its classes do not mix with pytorch_lightning's."""
    for path in (*ROOT.glob("*.py"), *ROOT.glob("[!.]*/*.py"), *ROOT.glob("[!.]*/*/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert "lightning" not in {name.split(".")[0] for name in names}, path


def test_the_maths_needs_only_the_standard_library() -> None:
    for name, others in (("mass", {"nnmass.zoo.checks"}), ("checks", set())):
        tree = ast.parse((ROOT / "zoo" / f"{name}.py").read_text())
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert {module for module in imported if module.partition(".")[0] not in sys.stdlib_module_names} == others


def test_in_a_clone_the_folders_are_the_packages_under_a_second_name() -> None:
    """Never two copies: a class that one name leads to is that of the other, in either order of the imports."""
    modules = ("zoo", "zoo.mass", "zoo.networks.cells", "datamodules.image_files", "runtime.names")
    for first, second in (("", "nnmass."), ("nnmass.", "")):
        code = f"""
from importlib import import_module
for name in {modules}:
    one, other = import_module({first!r} + name), import_module({second!r} + name)
    assert one is other or name == "zoo", name
import zoo, nnmass.zoo
assert zoo.RandomSkipCell is nnmass.zoo.RandomSkipCell
assert nnmass.zoo.mass.__spec__.name == "nnmass.zoo.mass"
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
