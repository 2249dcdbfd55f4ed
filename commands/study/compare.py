"""study compare: the fits of several studies side by side."""

from argparse import Namespace

from nnmass.commands.options.parser import Actions, user_path
from nnmass.commands.study.opened import add_study, open_study

__all__ = ["add_to"]


def add_to(actions: Actions) -> None:
    """Add the action ``compare``."""
    examples = ["nnmass study compare runs/study_mnist_mlp runs/study_synthetic_mlp"]
    parser = actions.add("compare", "set the fits of several studies side by side", _compare, examples)
    add_study(parser)
    parser.add_argument("--output-dir", type=user_path, help="folder in which to write compared.csv")


def _compare(options: Namespace) -> None:
    from nnmass.runtime.files import write_table
    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.studies.report.fits import study_fits
    from nnmass.studies.report.writer import compared
    from nnmass.studies.rows import load

    opened = [open_study(name) for name in options.studies]
    fits = {str(one.folder): study_fits(load(one.folder)) for one in opened}
    table = compared(fits)
    numbers = table.select_dtypes("number")
    shown = table.drop(columns=numbers.columns).join(numbers.map("{:.3f}".format, na_action="ignore").fillna(""))
    console = terminal()
    print_rows(console, "R2 of the mean over seeds", list(shown.columns), shown.itertuples(index=False))
    if options.output_dir is not None:
        write_table(options.output_dir / "compared.csv", table)
        console.print(f"Written to {options.output_dir}.")
