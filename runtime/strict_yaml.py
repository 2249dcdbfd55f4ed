"""Strict YAML: each key once, no octal numbers, no aliases that grow without bound; 1e-3 is a number, as in JSON."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_yaml", "yaml_text"]

_MOST_NODES = 1_000_000  # with every alias written out
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")  # YAML 1.1 wants a point and a sign


class _StrictLoader(yaml.SafeLoader):
    """Loader that refuses a repeated key and a number with a leading zero, and reads 1e-3 as a number."""


class _StrictDumper(yaml.SafeDumper):
    """Dumper that quotes a text which the loader, or YAML 1.2, would read as a number."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        line = key.start_mark.line + 1
        if key.value in seen:
            raise ValueError(f"line {line}: the key {key.value!r} stands in line {seen[key.value]} already")
        seen[key.value] = line
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    digits = node.value.lstrip("+-").replace("_", "")
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xbo":
        line = node.start_mark.line + 1
        raise ValueError(f"line {line}: {node.value} would be read in base 8; write it without the leading zero")
    return yaml.SafeLoader.construct_yaml_int(loader, node)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
for _side in (_StrictLoader, _StrictDumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def yaml_text(content: Mapping[str, Any]) -> str:
    """The text of a file from which :func:`read_yaml` reads the same, the keys in their order.

    Args:
        content: Keys and plain values.

    Example:
        >>> print(yaml_text({"name": "1e3", "lr": 0.001}), end="")
        name: '1e3'
        lr: 0.001
    """
    return yaml.dump(dict(content), Dumper=_StrictDumper, sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values in a file.

    Args:
        path: The file.

    Raises:
        ValueError: If it is no YAML, no mapping, or not what it looks like; the message names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, _StrictLoader)
        _require_bounded(node)
        content = yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"Expected YAML in {path}{line}: {error.problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected YAML in {path}, but it holds other bytes.") from error
    except RecursionError as error:
        raise ValueError(f"Expected a configuration in {path}, but its values are nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"Expected each key once and plain values in {path}, but got {error}.") from error
    if not isinstance(content, dict):
        fault = "is empty" if content is None else f"holds {type(content).__name__}"
        raise ValueError(f"Expected keys and values in {path}, but it {fault}.")
    return content


def _require_bounded(node: yaml.Node | None) -> None:
    """Refuse aliases that contain themselves, or that stand for more values than any configuration has."""
    sizes: dict[int, int | None] = {}  # None while a node's own parts are counted

    def size(part: Any) -> int:
        if id(part) in sizes:
            known = sizes[id(part)]
            if known is None:
                raise ValueError(f"line {part.start_mark.line + 1}: a value that contains itself")
            return known
        sizes[id(part)] = None
        inner = part.value if isinstance(part, yaml.CollectionNode) else []
        parts = [one for entry in inner for one in (entry if isinstance(entry, tuple) else (entry,))]
        total = 1 + sum(size(one) for one in parts)
        if total > _MOST_NODES:
            raise ValueError(f"line {part.start_mark.line + 1}: more than {_MOST_NODES:,} values, by way of aliases")
        sizes[id(part)] = total
        return total

    if node is not None:
        size(node)
