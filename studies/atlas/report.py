"""Tables and figure of the topology atlas."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from nnmass.runtime.csv_text import csv_text
from nnmass.runtime.files import write_atomically, write_figures
from nnmass.runtime.tables import rich_table
from nnmass.studies.atlas.survey import EXPLAINING, explained, join_accuracies
from nnmass.studies.drawing import draw_line
from nnmass.studies.explain import Predictor

__all__ = ["coverage", "draw_accuracies", "within_families", "write_report"]


def write_report(atlas: pd.DataFrame, folder: Path, accuracies: Path | None) -> Iterator[Table]:
    """Write ``atlas.csv``, ``without_attention.txt`` and, where accuracies are given, what explains them.

    Args:
        atlas: What :func:`studies.atlas.survey.read_atlas` returns.
        folder: Where ``accuracy.csv``, ``explained.csv``, ``explained.png`` and ``explained.svg`` go too.
        accuracies: A CSV with columns ``model`` and ``top1``; None for none.

    Yields:
        Tables for the terminal.

    Raises:
        ValueError: If the accuracies lack a column.
    """
    write_atomically(folder / "atlas.csv", csv_text(atlas))
    without = atlas[atlas.get("attention_products", pd.Series(dtype=float)) == 0]
    write_atomically(folder / "without_attention.txt", "".join(f"{name}\n" for name in without["name"]))
    yield _as_table("Architectures", coverage(atlas))
    if accuracies is None:
        return
    joined = join_accuracies(atlas, accuracies)
    if joined.empty:
        raise ValueError(f"Expected {accuracies} to name architectures of the atlas, but it names none that was read.")
    fits = explained(joined)
    write_atomically(folder / "accuracy.csv", csv_text(joined[["name", "family", "top1", "top1_in1k"]]))
    write_atomically(folder / "explained.csv", csv_text(fits))
    write_figures(folder / "explained", draw_accuracies(joined))
    for networks in ("all", "without attention"):
        for accuracy in ("top1", "top1_in1k"):
            part = fits[(fits["networks"] == networks) & (fits["accuracy"] == accuracy)]
            # The terminal gets the families of one of the four fits; explained.csv has all.
            if (networks, accuracy) != ("without attention", "top1_in1k"):
                part = part[part["group"] == "all"]
            shown = part.drop(columns=["networks", "accuracy"]).round(3)
            yield _as_table(f"What explains {accuracy}: {networks}", shown)
            if len(part) > len(EXPLAINING):
                yield _as_table("Within families", within_families(part))


def within_families(fits: pd.DataFrame) -> pd.DataFrame:
    """Average over all families that have fits what each number explains of accuracy within one.

    Args:
        fits: Rows of :func:`studies.atlas.survey.explained` for one choice of networks and accuracy.

    Returns:
        One row per explaining number: families, mean R2 and Spearman, and in how many families its R2 is the highest.
    """
    families = fits[fits["group"] != "all"].dropna()
    highest = families.loc[families.groupby("group")["r2"].idxmax(), "explaining"].value_counts()
    means = families.groupby("explaining")[["r2", "spearman"]].mean().round(3)
    return means.assign(
        families=families["group"].nunique(), highest_r2=highest.reindex(means.index, fill_value=0)
    ).reset_index()


def coverage(atlas: pd.DataFrame) -> pd.DataFrame:
    """Count the architectures that were read, and those of which every joint is judged.

    Args:
        atlas: What :func:`studies.atlas.survey.read_atlas` returns.

    Returns:
        One row each for all architectures and for those without attention.
    """
    read = atlas[atlas["nn_mass"].notna()] if "nn_mass" in atlas else atlas.iloc[:0]
    rows = []
    for name, table in (
        ("all", read),
        ("without attention", read[read["attention_products"] == 0] if len(read) else read),
    ):
        judged = int((table["not_judged"] == 0).sum()) if len(table) else 0
        joints = int(table["joints"].sum()) if len(table) else 0
        open_joints = int(table["not_judged"].sum()) if len(table) else 0
        rows.append(
            {
                "architectures": name,
                "read": len(table),
                "failed": len(atlas) - len(read) if name == "all" else 0,
                "wholly judged": judged,
                "share wholly judged": round(judged / len(table), 4) if len(table) else float("nan"),
                "joints": joints,
                "joints not judged": open_joints,
            }
        )
    return pd.DataFrame(rows)


def draw_accuracies(joined: pd.DataFrame) -> Figure:
    """Draw top-1 against NN-Mass, parameters and MACs, in the colours of the largest families.

    Args:
        joined: What :func:`studies.atlas.survey.join_accuracies` returns; rows without mass are left out.

    Returns:
        Three panels with logarithmic axes and fitted lines.
    """
    table = joined[joined["nn_mass"] > 0]
    figure = Figure(figsize=(14, 5), layout="constrained")
    large = table["family"].value_counts().head(9).index
    for axes, (label, column) in zip(figure.subplots(1, 3, sharey=True), EXPLAINING.items(), strict=True):
        others = table[~table["family"].isin(large)]
        axes.scatter(others[column], others["top1"], s=10, color="0.75", label="other families")
        for number, family in enumerate(large):
            part = table[table["family"] == family]
            axes.scatter(part[column], part["top1"], s=12, color=f"C{number}", label=family)
        fit = draw_line(axes, table, Predictor(column, is_logarithm=True), "top1", color="black", lw=1)
        axes.set_xscale("log")
        axes.set_xlabel(label.removeprefix("log "))
        axes.set_title(f"R² of top-1 on {label}: {fit.r2:.2f}", loc="left")
    figure.axes[0].set_ylabel("ImageNet top-1 of the best weights (%)")
    figure.axes[-1].legend(fontsize=7, loc="lower right")
    return figure


def _as_table(title: str, rows: pd.DataFrame) -> Table:
    return rich_table(title, list(map(str, rows.columns)), rows.itertuples(index=False))
