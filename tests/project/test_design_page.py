"""Numbers that the page on designs prints, computed again: what the papers' networks have, and could have."""

import re

from conftest import ROOT

from nnmass import zoo

PAGE = (ROOT / "docs" / "results" / "design.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
ICLR_T5 = [row for row in ROWS if row[0].isdigit()]
ICLR_T1_TO_T3 = [row for row in ROWS if re.fullmatch(r"\d+, \d", row[0])]
MOBILE = {
    "MobileNetV2 (1.4)": (1.4, [1, 2, 3, 4, 3, 3, 1]),
    "A": (1.0, [2, 3, 4, 5, 4, 3, 1]),
    "MobileNetV2 (0.75)": (0.75, [1, 2, 3, 4, 3, 3, 1]),
    "B": (0.6, [2, 3, 4, 5, 4, 3, 1]),
}
CVPR_T2 = [row for row in ROWS if row[0] in MOBILE]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def dense(depth: int, width: float, tc: list[int]) -> tuple[zoo.Size, float]:
    widths = [int(16 * 2**cell * width) for cell in range(3)]
    return zoo.densenet_size([depth] * 3, widths, tc), zoo.nn_mass(depth, widths, tc)


def heaviest(grid: list, size: zoo.Size) -> zoo.Design:
    return zoo.highest_mass(grid, size.num_params, size.macs).designs[0]


def gained(highest: float, mass: float) -> str:
    return f"{highest:.0f} (+{100 * (highest / mass - 1):.0f} %)"


def test_the_rows_of_iclr_t5_have_what_is_printed_and_their_gain() -> None:
    assert len(ICLR_T5) == 5
    for layers, params, flops, mass, tcs, highest, its_tc in ICLR_T5:
        depth = (int(layers) - 4) // 3
        size, own = dense(depth, 2, numbers(tcs)[:3])
        best = heaviest(zoo.densenet_grid([depth], [2], range(1301)), size)
        assert [params, flops] == [f"{size.num_params / 1e6:.2f} M", f"{2 * size.macs / 1e9:.2f} G"]
        assert mass == str(int(own + 1e-9))  # the papers truncate
        assert [highest, numbers(its_tc)] == [gained(int(best.nn_mass), own), best.arguments["tc"]]


def test_rows_of_iclr_t1_to_t3_have_what_is_printed_and_their_gain() -> None:
    assert len(ICLR_T1_TO_T3) == 8
    for shape, tcs, params, macs, mass, highest, free, its_mass in ICLR_T1_TO_T3:
        layers, width = numbers(shape)
        depth = (layers - 4) // 3
        size, own = dense(depth, width, numbers(tcs))
        best = heaviest(zoo.densenet_grid([depth], [width], range(1301)), size)
        assert [params, macs] == [f"{size.num_params / 1e6:.2f} M", f"{size.macs / 1e6:.0f} M"]
        assert [mass, highest] == [f"{own:.0f}", gained(best.nn_mass, own)]
        its_shape, _, its_tc = free.partition(":")
        depth_and_width = [float(number) for number in its_shape.split(",")]
        its_size, heavier = dense(int(depth_and_width[0]), depth_and_width[1], numbers(its_tc))
        assert its_mass == f"{heavier:.0f}"
        assert its_size.num_params <= size.num_params
        assert its_size.macs <= size.macs


def test_mobile_networks_have_what_is_printed_and_their_gain() -> None:
    assert len(CVPR_T2) == 4
    widths = [round(0.05 * step, 2) for step in range(7, 29)]
    for name, params, macs, mass, highest, repeats, free, its_repeats in CVPR_T2:
        width, blocks = MOBILE[name]
        size, own = zoo.mobilenet_size(width, blocks)
        assert [params, macs] == [f"{size.num_params / 1e6:.2f} M", f"{size.macs / 1e6:.0f} M"]
        best = heaviest(zoo.mobilenet_grid([width], range(1, 7)), size)
        assert [mass, highest] == [f"{own:.0f}", gained(best.nn_mass, own)]
        assert numbers(repeats) == best.arguments["repeats"]
        free_best = heaviest(zoo.mobilenet_grid(widths, range(1, 7)), size)
        its_width, _, its_blocks = its_repeats.partition(":")
        expected = [6] * 7 if "in each stage" in its_blocks else numbers(its_blocks)
        assert [free, float(its_width), expected] == [f"{free_best.nn_mass:.0f}", *free_best.arguments.values()]


def test_the_readme_has_the_range_of_all_gains() -> None:
    gains = [int(gain) for gain in re.findall(r"\(\+(\d+) %\)", PAGE)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| [{min(gains)} to {max(gains)} %](docs/results/design.md) at" in readme
    of_t5 = [int(gain) for row in ICLR_T5 for gain in re.findall(r"\+(\d+)", row[5])]
    assert f"all had {min(of_t5)} to {max(of_t5)} % to gain" in PAGE
