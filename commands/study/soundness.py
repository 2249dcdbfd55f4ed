"""Refusal of a study whose options or report cannot be, before anything of it is trained."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnmass.commands.study.opened import OpenedStudy

if TYPE_CHECKING:
    from nnmass.studies.definition import Study

__all__ = ["require_sound"]


def require_sound(opened: OpenedStudy) -> None:
    """Refuse options that ``nnmass fit`` does not have, values that they cannot take, and a report on what is missing.

    Args:
        opened: The study.

    Raises:
        ValueError: It names the option, and the nearest one.
    """
    from nnmass.studies.declared import require_report

    if opened.study.engine != "published":
        _require_options(opened.study, opened.configurations)
    require_report(opened.study, opened.rows)


def _require_options(study: "Study", configurations: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what is wrong with the configurations, each with its first network and with each value of the grid."""
    from nnmass.studies.definition import planned_rows
    from nnmass.studies.grid import single_options, with_options
    from nnmass.studies.outline import is_plain

    plain = planned_rows(replace(study, grid={}, seeds=study.seed_list[:1]), configurations)
    for name, base in {row.config: row.configuration for row in reversed(plain)}.items():
        contents = [with_options(base, one) for one in single_options(study.grid)] or [base]
        unknown = [content for content in contents if not is_plain(content)]
        if unknown:
            from nnmass.runtime.configuration import require_options  # loads torch, which a plain study does without

            require_options(unknown, f"{study.name}, {name}")
