"""A study: which networks, on which data, with which seeds; and the rows that follow from it, one per training."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from nnmass.runtime.class_paths import as_recorded, whole_class_paths
from nnmass.runtime.names import require_name
from nnmass.studies.choices import JacobianChoice, ReportChoice, chosen_measures
from nnmass.studies.grid import (
    combinations,
    combined_name,
    distinct_names,
    flat_grid,
    merged,
    require_grid,
    with_options,
)
from nnmass.zoo.networks.names import LEFT_TO_DATA, named, near_names
from nnmass.zoo.networks.variants import VARIANTS, list_models

if TYPE_CHECKING:
    from nnmass.datamodules.base import DataModule
    from nnmass.zoo.training.classifier import Classifier

__all__ = ["Row", "Study", "planned_rows", "takes_one_device"]

Grid = dict[str, list]

# A number such as 5e-05 was a text once, as YAML 1.1 has it: rows that were trained then keep their names.
_EXPONENT = re.compile(r"(?<=[ \[])-?\d+e[-+]\d+(?=[,\]}])")
_MOST_ROWS = 100_000  # of one study; each is a folder and, with the engine fit, a training


@dataclass(frozen=True)
class Study:
    """Every configuration with every network, every combination of a grid's options and every seed.

    Attributes:
        name: Of the study.
        engine: ``fit`` trains each row as ``nnmass fit`` does; ``ensemble`` trains MLPs together, to the same result;
            ``published`` trains nothing and takes the accuracies that are given.
        configs: Configurations of ``nnmass fit``, by name or path.
        networks: Names of the zoo, of timm or torchvision, patterns of such names, or grids of arguments of the
            configuration's own network, each with a list of choices; by default each configuration's own network as it
            is.
        changes: Laid over every configuration, key by key.
        grid: Values of options of the configurations, by the option's name, such as ``data.batch_size``.
        seeds: Seeds, or their number.
        accuracies: Top-1 accuracy of each network in percent, for the engine ``published``.
        jacobian: How the Jacobians are measured; None for not at all.
        measures: Training-free measures of the networks, as columns of the table; ``all`` stands for all that the
            table does not have anyway.
        report: What the report shows.
    """

    name: str
    engine: Literal["fit", "ensemble", "published"] = "fit"
    configs: list[str] = field(default_factory=list)
    networks: list[str | Grid] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    seeds: int | list[int] = 1
    accuracies: dict[str, float] = field(default_factory=dict)
    jacobian: JacobianChoice | None = None
    measures: list[str] = field(default_factory=list)
    report: ReportChoice = field(default_factory=ReportChoice)

    def __post_init__(self) -> None:
        require_name("the study's name", self.name)
        object.__setattr__(self, "grid", flat_grid(self.grid))
        require_grid(self.grid, self.engine)
        if self.engine == "published":
            _require(bool(self.accuracies), "accuracies", "to give the accuracy of each network", "none")
            for key in ("configs", "networks", "changes"):
                _require(not getattr(self, key), key, "to be absent with the engine published", getattr(self, key))
            _require(self.jacobian is None, "jacobian", "to be absent with the engine published", "one")
            hint = "to be absent with the engine published, which has no data; nnmass study benchmark draws noise"
            _require(not self.measures, "measures", hint, ", ".join(self.measures))
            unknown = [name for name in self.accuracies if name not in VARIANTS]
            _require(not unknown, "accuracies", "to name networks of the zoo", ", ".join(unknown))
        else:
            _require(bool(self.configs), "configs", "to name at least one configuration", "none")
            _require(not self.accuracies, "accuracies", "to be absent unless the engine is published", "some")
        if isinstance(self.seeds, int):
            _require(self.seeds <= _MOST_ROWS, "seeds", f"to be at most {_MOST_ROWS:,}, or a list of seeds", self.seeds)
        _require(bool(self.seed_list), "seeds", "to be a number of at least 1, or a list of seeds", self.seeds)
        _require(min(self.seed_list, default=0) >= 0, "seeds", "to be at least 0", self.seeds)
        _require(max(self.seed_list, default=0) < 2**32, "seeds", "to be below 2**32", self.seeds)
        if self.jacobian is not None:
            samples = self.jacobian.samples
            _require(1 <= samples <= _MOST_ROWS, "jacobian.samples", f"to lie in 1 to {_MOST_ROWS:,}", samples)
        if self.measures:
            object.__setattr__(self, "measures", chosen_measures(self.measures))
        for entry in (entry for entry in self.networks if not isinstance(entry, str)):
            for key, choices in entry.items():
                _require(isinstance(choices, list) and bool(choices), f"networks.{key}", "to list choices", choices)
        grids = [prod(map(len, entry.values())) for entry in self.networks if not isinstance(entry, str)]
        least = (
            max(len(self.configs), 1) * max(sum(grids), 1) * len(self.seed_list) * prod(map(len, self.grid.values()))
        )
        _require(
            least <= _MOST_ROWS,
            "networks, grid and seeds" if self.grid else "networks and seeds",
            f"to make at most {_MOST_ROWS:,} rows",
            f"{least:,}",
        )

    @property
    def seed_list(self) -> list[int]:
        """Return the seeds, each once."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(dict.fromkeys(self.seeds))


@dataclass(frozen=True)
class Row:
    """One training of a study.

    Attributes:
        id: Changes whenever anything does that decides the result.
        network: The network's name: the zoo's, or its arguments.
        config: Name of the configuration, and of the combination of a grid's options: rows of one share their data.
        seed: Decides links, initial weights, data order and augmentation.
        arguments: The network's arguments.
        configuration: What ``nnmass fit --config`` takes; empty for a published row.
        accuracy: Published top-1 in percent.
        options: Options of the configuration that a grid has set.
    """

    id: str
    network: str
    config: str
    seed: int
    arguments: dict[str, Any]
    configuration: dict[str, Any]
    accuracy: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Numbers of the training, as ``trainer.precision`` names them: float32 where it is not given."""
        return str((self.configuration.get("trainer") or {}).get("precision") or "32-true")

    def build(self) -> "tuple[Classifier, DataModule]":
        """Build the model and the data of the row's configuration; no sample is loaded yet.

        Raises:
            ValueError: If the configuration does not describe them.
        """
        from nnmass.runtime.configuration import instantiate  # loads torch, which whoever counts rows does without

        return instantiate(self.configuration, self.id)


def planned_rows(study: Study, configurations: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Plan the rows of a study, in the order of its configurations, networks and seeds.

    Args:
        study: The study.
        configurations: Content of each of its configurations, by name.

    Raises:
        ValueError: If a pattern matches no network, a grid is not one, or a configuration names no network.
    """
    if study.engine == "published":
        return [
            Row(f"{name}_{accuracy}", name, "", 0, dict(VARIANTS[name].arguments), {}, accuracy)
            for name, accuracy in study.accuracies.items()
        ]
    rows: dict[str, Row] = {}
    for config, content in configurations.items():
        prefix = f"{config}_" if len(configurations) > 1 else ""
        plain = whole_class_paths(merged(content, study.changes))
        for options, called in zip(combinations(study.grid), distinct_names(study.grid), strict=True):
            base, about = with_options(plain, options), f"{config} {called}" if called else config
            for row in _rows(study, config, prefix, base, options, about):
                rows.setdefault(row.id, row)  # two patterns may name one network
    return list(rows.values())


def _rows(
    study: Study, config: str, prefix: str, base: dict[str, Any], options: dict[str, Any], about: str
) -> Iterator[Row]:
    """Plan the rows of one configuration and one combination of options, which have one name together."""
    combined = combined_name(options)  # in the rows' own names, which end with a digest anyway
    words = f"{combined}_" if combined else ""
    for name, network, left_to_data in _networks(study.networks, base, config):
        for seed in study.seed_list:
            configuration = {**deepcopy(base), "seed_everything": seed}
            configuration["model"]["network"] = network
            called = f"{prefix if name != config else ''}{name}_{words}seed{seed}_{_digest(configuration)}"
            number = re.sub(r"[^\w.=-]+", "-", called)  # it names a folder
            given = {key: value for key, value in network["init_args"].items() if key not in left_to_data}
            configuration["model"]["network"] = {**network, "init_args": given}
            yield Row(number, name, about, seed, network["init_args"], configuration, options=options)


def takes_one_device(configuration: Mapping[str, Any]) -> bool:
    """Tell whether a row takes one device: where its configuration says so, or nothing."""
    return (configuration.get("trainer") or {}).get("devices") in (None, "auto", 1, "1")


def _digest(configuration: dict[str, Any]) -> str:
    """Eight hexadecimal digits of all that decides the result: how a step is calculated does not.

    Nor does one device that is named, because a row takes one anyway.
    """
    decisive = as_recorded(configuration)
    decisive["model"].pop("cuda_graph", None)
    if isinstance(decisive.get("trainer"), dict) and "devices" in decisive["trainer"] and takes_one_device(decisive):
        del decisive["trainer"]["devices"]
    optimizer = decisive["model"].get("optimizer")
    if isinstance(optimizer, dict) and "class_path" in optimizer:
        arguments = {k: v for k, v in optimizer.get("init_args", {}).items() if k not in ("foreach", "fused")}
        decisive["model"]["optimizer"] = {**optimizer, "init_args": arguments} if arguments else optimizer["class_path"]
    text = _EXPONENT.sub(r'"\g<0>"', json.dumps(decisive, sort_keys=True, default=str))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _networks(
    wanted: list[str | Grid], base: dict[str, Any], config: str
) -> Iterator[tuple[str, dict[str, Any], frozenset[str]]]:
    """Name, class with arguments, and those of them that the data decide, of every network.

    Networks of the configuration's own class keep its arguments.
    """
    model = base.get("model")
    own = model.get("network") if isinstance(model, Mapping) else None
    own = {"class_path": own} if isinstance(own, str) else own
    if not isinstance(own, Mapping) or "class_path" not in own:
        raise ValueError(
            f"Expected the configuration {config} to have a model.network with a class_path, but got {own}."
        )
    if not wanted:
        yield config, {**own, "init_args": dict(own.get("init_args", {}))}, frozenset()
    for entry in wanted:
        if isinstance(entry, str):
            for name in _names(entry):
                class_path, arguments = named(name) or _unknown(name)
                kept = own.get("init_args", {}) if own["class_path"] == class_path else {}
                left_to_data = LEFT_TO_DATA & arguments.keys()
                yield name, {"class_path": class_path, "init_args": {**kept, **arguments}}, left_to_data
        else:
            for values in product(*entry.values()):
                arguments = dict(zip(entry, values, strict=True))
                name = "_".join(f"{key}{_word(value)}" for key, value in arguments.items())
                yield name, {**own, "init_args": {**own.get("init_args", {}), **arguments}}, frozenset()


def _names(entry: str) -> list[str]:
    """List the networks that an entry of a study names: one, or those that match a pattern."""
    return sorted(list_models(entry), key=_natural) or [entry]


def _unknown(name: str) -> NoReturn:
    hint = near_names(name)
    ending = f"; {hint}" if hint else "."
    raise ValueError(f"Expected networks to name networks of the zoo, of timm or torchvision, but got {name!r}{ending}")


def _word(value: object) -> str:
    """Write a value as part of a file's name: a list of 5, 8, 12 as 5-8-12."""
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _natural(name: str) -> list[str | int]:
    """Return a key that sorts t2 before t10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _require(holds: bool, key: str, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(f"Expected the study's {key} {rule}, but got {got}.")
