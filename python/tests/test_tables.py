"""What tables are made of; those of trained networks are in test_results.py."""

import json
from pathlib import Path

import pytest

from experiments.results import plots, tables
from horq.train import ConfigError, read, runs


def test_bundled_tables_are_whole(tmp_path):
    known = tables.tables()
    assert {"mnist", "cifar-vgg-half", "vgg-half-dial", "vgg-half-energy"} <= set(known)
    for table in known.values():
        assert tables.wanted(table)
        assert tables.NOT_RUN in tables.render(table, tmp_path)
    with pytest.raises(ConfigError, match=r"no table 'x'; there are .*mnist"):
        tables.find("x")


def test_the_page_shows_the_figures_that_are_kept():
    docs = Path(__file__).parents[2] / "docs"
    page, kept = (docs / "results.md").read_text(), docs / "runs"
    known = tables.tables().values()
    held = {t.name: t for t in known if any(runs.has_figures(kept / name) for name in tables.wanted(t))}
    assert {"nin", "resnet20", "vgg-half-longer", "vgg-half-longest", "vgg-half-energy"} <= set(held), "their figures"
    for name, table in held.items():
        assert f"<!-- table {name} -->\n{tables.render(table, kept)}\n" in page, name
    shown = {name for table in held.values() for name in tables.wanted(table)}
    assert {folder.name for folder in kept.iterdir()} <= shown, "kept figures that no page is held to"


def test_no_curve_joins_two_files_of_the_same_kind():
    configs = tables.wanted(tables.find("vgg-half-longer"))
    rows = [
        tables.Row(config, order, 1, [{"orders": {}}], None, 1, [])
        for config in configs.values()
        if config.seed == 1
        for order in config.orders
    ]
    drawn = {series.name: [row.order for row in series.rows] for series in plots._series(rows)}
    each = [1, 2, 3, 4]
    assert drawn == {"vgg-half-longer-dial": each, "vgg-half-longest-dial": each, "HORQ": each, "BWN": [0]}


def test_trials_say_what_sets_them_apart(tmp_path):
    recipe = tmp_path / "trials.toml"
    recipe.write_text(
        """
        network = "lenet5"
        data = "mnist"
        method = "horq"
        epochs = 4
        held_out = 100
        init = "net"
        [runs.net]
        method = "float"
        init = ""
        [runs.plain]
        [runs.rate]
        lr = 4e-3
        seeds = [1, 2]
        [runs.higher]
        options = { order = 3 }
        [runs.scratch]
        init = ""
        [runs.second]
        init = "rate"
        teacher = "net"
        [runs.weights]
        method = "bwn"
        [runs.then]
        init = "weights"
        """
    )
    table = tables.Table("trials", str(recipe), kind="trials", base="plain")
    reached = {
        "net": {"0": 0.9},
        "plain": {"2": 0.8},
        "rate": {"2": 0.8125},
        "rate-seed2": {"2": 0.8175},
        "higher": {"3": 0.84},
        "weights": {"0": 0.88},
    }
    for name, orders in reached.items():
        config = read(recipe)[name]
        folder = tmp_path / name
        folder.mkdir()
        (folder / "final.pt").write_bytes(name.encode())
        (folder / "config.json").write_text(json.dumps(runs.plain(config)))
        (folder / "result.json").write_text(json.dumps({"accuracy": orders, "sources": runs.sources(config, tmp_path)}))
    lines = tables.render(table, tmp_path).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["float, lenet5", "", "4", "90.00", ""],
        ["the base", "2", "4", "80.00", ""],
        ["lr 0.004", "2", "4", "81.50 (81.25 to 81.75)", "+1.50"],
        ["order 3", "3", "4", "84.00", ""],
        ["init none", "2", "4", "not run", ""],
        ["init rate, teacher float", "2", "4 + 4", "not run", ""],
        ["method bwn", "", "4", "88.00", ""],
        ["init weights", "2", "4 + 4", "not run", ""],
    ]


def test_cells():
    assert tables.spread([98.5]) == "98.50"
    assert tables.spread([98.5, 98.7, 98.6]) == "98.60 (98.50 to 98.70)"
    entry = {"torch": {"images": 1000, "equal": 998, "ties": 1, "different": 1}}
    assert tables.same_predictions([entry, entry]) == "1,996 of 2,000, 2 tied"
    assert tables.micro({"p10": 9.9e-4, "p50": 1e-3, "p90": 2e-3}) == "1000 (990 to 2000)"
    assert tables.micro({"p10": 14e-6, "p50": 15.04e-6, "p90": 17e-6}) == "15.0 (14.0 to 17.0)"
