"""Parsers of subcommands and their actions: whose options are whose, and how options are spelt."""

import pytest

from nnmass.commands.main import main
from nnmass.commands.options.parser import Actions, Parser


@pytest.fixture
def parser() -> Parser:
    """A command with an action that has an option and one that has none."""
    parser = Parser("nnmass cook", "Cook.")
    actions = Actions(parser, "dish")
    soup = actions.add("soup", "something to spoon", len)
    soup.add_argument("--salt-spoons", type=int)
    soup.add_argument("--note", default="")
    actions.add("bread", "something to slice", len)
    return parser


@pytest.mark.parametrize("words", [["--salt-spoons", "2"], ["--salt_spoons", "2"], ["--salt_spoons=2"]])
def test_options_are_taken_with_hyphens_and_with_underscores(words: list[str], parser: Parser) -> None:
    options = parser.parse_args(["soup", *words, "--note=--salt_spoons"])
    assert (options.dish, options.salt_spoons, options.note, options.run) == ("soup", 2, "--salt_spoons", len)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bread --salt_spoons 2", "Expected --salt-spoons with soup only, but got it with bread."),
        ("bread --salt-spoons=2", "Expected --salt-spoons with soup only, but got it with bread."),
        ("soup --salt-spoon 2", "Expected a known option, but got '--salt-spoon'; did you mean --salt-spoons?"),
        ("--salt-spoons 2 soup", "Expected dish before any option, but got '--salt-spoons'"),
        ("cake", "Expected dish to be one of soup, bread, but got 'cake'"),
        ("", "Expected nnmass cook to be given dish, but got nothing"),
        ("bread white", "Expected a known option, but got 'white'; nnmass cook bread --help lists them."),
    ],
)
def test_an_option_of_another_action_is_refused_by_its_name(words: str, message: str, parser: Parser) -> None:
    with pytest.raises(ValueError, match="Expected") as error:
        parser.parse_args(words.split())
    assert message in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        "study plan",
        "study submit",
        "study compare",
        "gradients mlp",
        "list runs",
        "inspect",
        "measure",
        "design",
        "atlas",
        "shrink",
    ],
)
def test_help_shows_hyphens(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    assert not [word for word in shown.split() if word.lstrip("[").startswith("--") and "_" in word.partition("=")[0]]
