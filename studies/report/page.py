"""report.html: a study in one file that opens offline, to be looked at and sorted."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJS, HoverTool, Model
from bokeh.models.annotations.geometry import BoxAnnotation
from bokeh.models.annotations.labels import Label
from bokeh.models.widgets import DataTable, NumberFormatter, ScientificFormatter, Select, StringFormatter, TableColumn
from bokeh.palettes import Category10_10, Turbo256
from bokeh.plotting import figure
from bokeh.resources import INLINE
from bokeh.transform import factor_cmap
from jinja2 import Template

from nnmass.studies.explain import LABELS, measure_columns
from nnmass.studies.report.fits import averages, explained_columns
from nnmass.studies.report.sweep import Sweep, sweep_plot

__all__ = ["study_page"]

_ABSCISSAE = {f"log10 {LABELS[column]}": column for column in ("nn_mass", "num_params", "macs")} | {
    LABELS[column]: column for column in ("nn_mass", "nn_density", "num_params", "mean_singular_value")
}
_SHOWN = ("config", "network", "seeds", "nn_mass", "nn_density", "num_params", "macs")

_TITLES = {f"test_accuracy_{epoch}": f"test {epoch}" for epoch in ("last", "best", "late")} | {
    "mean_singular_value": "mean singular"
}
_SMALL = 1e-3  # four decimals tell little of smaller numbers
_WIDTH = 1200  # of plots and tables, in px; a window of 1280 has a scroll bar and margins

_PAGE = Template("""{% from macros import embed %}<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title | e }}</title>
{{ bokeh_css | safe }}
{{ bokeh_js | safe }}
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; color: #222 }
  h1, h2 { line-height: 1.2 } h2 { margin-top: 2em }
  img { max-width: 100% } pre { background: #f4f4f4; padding: 1em; overflow: auto }
</style>
</head>
<body>
<h1>{{ title | e }}</h1>
<p>{{ summary | e }}</p>
{% if swept %}<h2>Combinations of options</h2>
<p>Every line is a combination, the mean over its seeds; values of options are at equal distances. Point at a line to
see what it is; a click on a line or on a row of the table shows it alone. Fits and figures below are those of the best
combination alone.</p>
{{ embed(docs[0].roots[2]) }}
{% endif %}<h2>Every network</h2>
<p>Point at a network to see what it is. A click on a heading of the table sorts it. Tests last, best and late: test
accuracy of the last epoch, of the best by validation, and the mean after the first third of all epochs.</p>
{{ embed(docs[0].roots[0]) }}
<h2>What explains the results</h2>
<p>R&sup2; of a straight line with its 95&nbsp;% interval (Fisher's below 30 networks, otherwise the bootstrap's over
the networks), the noise ceiling, which is the most that the seeds' scatter leaves to be explained, and the published
R&sup2;. Of fewer than eight networks (n), R&sup2; has no interval and says
little: a line through two points explains everything.</p>
{{ embed(docs[0].roots[1]) }}
<h2>Figures</h2>
{% for name, picture in pictures %}<img alt="{{ name | e }}" src="data:image/png;base64,{{ picture }}">
{% endfor %}
<h2>To do it again</h2>
<p>Save these files beside each other, then run <code>nnmass study run study.yaml</code> and
<code>nnmass study report study.yaml</code>.</p>
{% for name, text in definition %}<h3>{{ name | e }}</h3>
<pre>{{ text | e }}</pre>
{% endfor %}
<h3>versions</h3>
<pre>{{ versions | e }}</pre>
{{ plot_script | safe }}
</body>
</html>
""")


def study_page(
    name: str,
    results: pd.DataFrame,
    fits: pd.DataFrame,
    colour: str,
    pictures: Sequence[Path],
    definition: Mapping[str, str],
    versions: Mapping[str, str],
    sweep: Sweep | None = None,
    planned: int | None = None,
) -> str:
    """Write the whole page.

    Args:
        name: Of the study.
        results: What :func:`studies.load` returns.
        fits: What :func:`studies.report.fits.study_fits` returns.
        colour: Column that colours the points.
        pictures: PNG files to show.
        definition: The study and its configurations as YAML, by the name of the file.
        versions: Of the packages that were used.
        sweep: Combinations of a grid's options; None for a study without one.
        planned: Number of rows that the study has; None for those of the results.
    """
    table = averages(results)
    finished = int((results["status"] == "finished").sum())
    summary = (
        f"{finished} trainings of {_counted(table, sweep)}; every point is the mean over the seeds of a network. "
        f"{_missing(planned or len(results), finished)}Engine {results['engine'].iloc[0]}; {_protocol(results)}"
    )
    return file_html(
        [
            _networks(table, colour if colour in table else "network"),
            _fits_table(fits),
            *([_combinations(sweep)] if sweep is not None else []),
        ],
        INLINE,
        name,
        template=_PAGE,
        template_variables={
            "summary": summary,
            "swept": sweep is not None,
            "pictures": [(path.stem, base64.b64encode(path.read_bytes()).decode()) for path in pictures],
            "definition": list(definition.items()),
            "versions": "\n".join(f"{package} {version}" for package, version in versions.items()),
        },
    )


def _counted(table: pd.DataFrame, sweep: Sweep | None) -> str:
    if sweep is None:
        return f"{len(table)} networks"
    return f"{table['network'].nunique()} networks, each with {table['config'].nunique()} combinations of options"


def _missing(planned: int, finished: int) -> str:
    """Say how many rows the page is not about."""
    if planned == finished:
        return ""
    return f"{planned - finished} of the study's {planned} rows are missing here: they failed or are not finished. "


def _protocol(results: pd.DataFrame) -> str:
    keys = [key for key in ("data", "epochs", "batch_size", "optimizer", "learning_rate") if key in results]
    parts = [f"{key.replace('_', ' ')} {', '.join(map(str, results[key].dropna().unique()))}" for key in keys]
    if "val_on_test" in results and results["val_on_test"].any():
        parts.append("validated on the test set, as the papers do")
    return "; ".join(parts) + "."


def _networks(table: pd.DataFrame, colour: str) -> Model:
    """Make an interactive scatter over a sortable table of the same networks."""
    ordinates = {f"{explained}, {epoch}": name for (explained, epoch), name in explained_columns(table).items()}
    measures = measure_columns(table)
    positive = {f"log10 {name}": name for name in measures if (table[name].dropna() > 0).all()}
    known = _ABSCISSAE | {name: name for name in measures} | positive
    abscissae: dict[str, str] = {label: name for label, name in known.items() if name in table}
    shown = table[[name for name in (*_SHOWN, *ordinates.values(), *measures) if name in table]].copy()
    strips: dict[str, float] = {}  # where an axis has no place for 0, its points stand at the left
    for label, name in abscissae.items():
        if label.startswith("log10"):
            shown[label], edge = _log10(table[name])
            strips |= {} if edge is None else {label: edge}
            abscissae[label] = label
    shown["colour"] = table[colour].map(str, na_action="ignore").fillna("none")
    source = ColumnDataSource(shown)
    first_x, first_y = next(iter(abscissae)), next(iter(ordinates))
    plot = figure(
        width=_WIDTH,
        height=460,
        x_axis_label=first_x,
        y_axis_label=first_y,
        tools="pan,wheel_zoom,box_zoom,reset,save",
    )
    values = sorted(shown["colour"].unique(), key=lambda text: (len(text), text))
    palette = Category10_10 if len(values) <= 10 else [Turbo256[int(i * 255 / len(values))] for i in range(len(values))]
    points = plot.scatter(
        abscissae[first_x],
        ordinates[first_y],
        source=source,
        size=9,
        alpha=0.8,
        color=factor_cmap("colour", palette[: len(values)], values),
        legend_group="colour",
    )
    plot.legend.title = colour
    plot.add_layout(plot.legend[0], "right")
    formats = {"nn_mass": "{0,0.00}", "nn_density": "{0.000}", "num_params": "{0,0}", "macs": "{0,0}"}
    tips = [(name, f"@{{{name}}}{formats.get(name, '')}") for name in _SHOWN if name in shown]
    tips += [(label, f"@{name}{{0.0000}}") for label, name in ordinates.items()]
    plot.add_tools(HoverTool(renderers=[points], tooltips=tips))
    choose_x = Select(title="abscissa", value=first_x, options=cast(list, list(abscissae)))
    choose_y = Select(title="ordinate", value=first_y, options=cast(list, list(ordinates)))
    for select, field, axis, names in (
        (choose_x, "x", plot.xaxis[0], abscissae),
        (choose_y, "y", plot.yaxis[0], ordinates),
    ):
        code = "points.glyph[field] = {field: names[this.value]}; axis.axis_label = this.value"
        arguments = {"points": points, "field": field, "axis": axis, "names": names}
        select.js_on_change("value", CustomJS(args=arguments, code=code))
    _mark_zeros(plot, strips, choose_x)
    hidden = ("colour", *(label for label in abscissae if label.startswith("log10")))
    listing = _data_table(source, [str(name) for name in shown if name not in hidden])
    return column(row(choose_x, choose_y), plot, listing)


def _mark_zeros(plot: figure, strips: Mapping[str, float], choose_x: Select) -> None:
    """Mark the strip in which points of value 0 stand, as long as the abscissa is one that has no place for them.

    Args:
        plot: Where to draw.
        strips: Right edges, by the abscissa's name.
        choose_x: Says which abscissa is shown.
    """
    is_shown = choose_x.value in strips
    edge = strips.get(str(choose_x.value), 0.0)
    strip = BoxAnnotation(right=edge, fill_color="gray", fill_alpha=0.12, visible=is_shown)
    text = Label(x=5, y=5, x_units="screen", y_units="screen", text="0", text_color="gray", visible=is_shown)
    plot.add_layout(strip)
    plot.add_layout(text)
    code = "strip.visible = text.visible = this.value in strips; strip.right = strips[this.value] ?? 0"
    choose_x.js_on_change("value", CustomJS(args={"strip": strip, "text": text, "strips": strips}, code=code))


def _combinations(sweep: Sweep) -> Model:
    """Make parallel coordinates over a sortable table of the same combinations."""
    source = ColumnDataSource(sweep.table)
    names = [str(name) for name in sweep.table if name != "config" or name in sweep.varied]
    return column(sweep_plot(sweep, source), _data_table(source, names))


def _fits_table(fits: pd.DataFrame) -> Model:
    names = ["explained", "epoch", "averaging", "networks", "group", "explaining", "n", "r2", "r2_low", "r2_high"]
    names += ["explainable", "published", "slope", "spearman", "kendall"]
    return _data_table(ColumnDataSource(fits.astype({"published": float})[names]), names)


def _data_table(source: ColumnDataSource, names: Sequence[str]) -> DataTable:
    """Make a table of these columns, as wide as their contents; one that tells nothing is left out."""
    columns = []
    for name in names:
        values, title = pd.Series(source.data[name]), _TITLES.get(name, name.replace("_", " "))
        if values.nunique(dropna=False) == 1 and (values.isna().all() or values.iloc[0] == "all"):
            continue
        options: dict[str, Any] = {}
        if pd.api.types.is_numeric_dtype(values):
            options["formatter"], written = _formatter(values)
            texts = values.map(written.format)
        else:
            texts = values.astype(str)
        width = round(max(14 + 6.8 * texts.str.len().max(), 18 + 6.2 * len(title)))
        columns.append(TableColumn(field=name, title=title, width=width, **options))
    table = DataTable(source=source, columns=columns, width=_WIDTH, height=420, autosize_mode="none")
    table.index_position, table.reorderable = None, False
    return table


def _formatter(values: pd.Series) -> tuple[StringFormatter, str]:
    """Return how a column of numbers is written: whole, with four decimals, or small ones with an exponent."""
    sizes = values[values != 0].abs().dropna()
    if len(sizes) and sizes.median() < _SMALL:
        return ScientificFormatter(precision=3, text_align="right", nan_format=""), "{:.3e}"
    whole = bool((values.dropna() % 1 == 0).all())
    formatter = NumberFormatter(format="0,0" if whole else "0,0.0000", text_align="right", nan_format="")
    return formatter, "{:,.0f}" if whole else "{:,.4f}"


def _log10(values: pd.Series) -> tuple[pd.Series, float | None]:
    """Return logarithms, those of 0 to the left of all others, and the right edge of the strip of these, if any."""
    logarithms = pd.Series(np.log10(values.astype(float).where(values > 0)))
    if not (values == 0).any():
        return logarithms, None
    least, most = (logarithms.min(), logarithms.max()) if logarithms.notna().any() else (0.0, 0.0)
    margin = 0.1 * (most - least) or 0.5
    return logarithms.mask(values == 0, least - 2 * margin), least - margin
