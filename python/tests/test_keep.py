"""Figures that are kept without their networks."""

import shutil

import pytest
from made_up import call

from experiments import reproduce
from experiments.results import __main__ as command
from experiments.results import energy, latency, tables
from experiments.results.evaluate import evaluate, evaluation
from experiments.results.int8 import evaluate8
from experiments.results.keep import keep
from experiments.results.plots import draw
from horq.train import ConfigError, read, runs
from horq.train.loop import Trainer


def test_figures_are_kept_without_networks(evaluated, monkeypatch, capsys, tmp_path):
    kept, out, names = tmp_path / "kept", tmp_path / "out", ("net-float", "net-dial", "net-order1")
    shutil.copytree(evaluated.out, out)
    table = tables.find(str(evaluated.recipe))
    latency.measure([out / "net-dial"], rounds=10)
    energy.measure(out / "net-dial", evaluated.data, images=20)
    evaluate8(out / "net-float", evaluated.data)
    call(monkeypatch, command, "keep", *(out / name for name in names), "--to", kept)
    assert capsys.readouterr().out.splitlines() == [str(kept / name) for name in names]
    assert {file.suffix for file in kept.glob("*/*")} == {".json", ".csv"}
    energies = tables.Table("e", str(evaluated.recipe), "energy", run="net-dial")
    made = [tmp_path / "from-runs", tmp_path / "from-kept"]
    for source, to in zip((out, kept), made, strict=True):
        draw(table, source, to)
        draw(energies, source, to)
    for shown in (table, energies):
        assert tables.render(shown, kept) == tables.render(shown, out)
    assert "8 bits" in tables.render(table, kept)
    assert {file.name: file.read_bytes() for file in made[0].iterdir()} == {
        file.name: file.read_bytes() for file in made[1].iterdir()
    }
    before = {file: file.stat().st_mtime_ns for file in kept.glob("*/*")}
    call(monkeypatch, reproduce, evaluated.recipe, "--out", kept, "--no-train", "--data", evaluated.data)
    assert {file: file.stat().st_mtime_ns for file in kept.glob("*/*")} == before, "there is nothing to be measured"


def test_what_needs_a_network_asks_for_it(evaluated, monkeypatch, tmp_path):
    kept, configs = tmp_path / "kept", read(evaluated.recipe)
    folder = keep(evaluated.out / "net-dial", kept)
    assert not reproduce.is_trained(configs["net-dial"], kept)
    with pytest.raises(FileNotFoundError, match="net-dial holds no finished run"):
        evaluate(folder, evaluated.data)
    with pytest.raises(ConfigError, match="net-dial holds figures without a network; train into another folder"):
        Trainer(configs["net-dial"], evaluated.data, kept, progress=False).go()
    with pytest.raises(SystemExit, match="net-dial holds no finished run"):
        call(monkeypatch, command, "keep", folder, "--to", tmp_path / "further")
    with pytest.raises(SystemExit, match="net-dial holds no finished run"):
        call(monkeypatch, command, "card", folder, "--to", tmp_path / "further")
    options = ["--out", kept, "--no-train", "--latency", "--data", evaluated.data]
    with pytest.raises(SystemExit, match=r"no latency without networks: .* only the figures of net-dial"):
        call(monkeypatch, reproduce, evaluated.recipe, *options)


def test_kept_figures_are_those_of_the_last_training(evaluated, monkeypatch, tmp_path):
    folder, kept = tmp_path / "net-float", tmp_path / "kept" / "net-float"
    shutil.copytree(evaluated.out / "net-float", folder)
    assert keep(folder, kept.parent) == kept
    assert evaluation(kept) == evaluation(folder) is not None
    result = runs.result(folder)
    net, config = runs.load(folder)
    runs.write_whole(folder / "final.pt", {name: value + 1 for name, value in net.state_dict().items()})
    for refuse in (lambda: keep(folder, kept.parent), lambda: tables.is_current(config, tmp_path)):
        with pytest.raises(ConfigError, match=r"net-float/result.json is of another network than final.pt"):
            refuse()
    assert evaluation(kept) is not None, "nothing was written"
    runs.write_whole(folder / "result.json", {**result, "network": runs.digest(folder)})
    keep(folder, kept.parent)
    assert evaluation(kept) is None
    result = runs.result(kept)
    assert result.pop("network") == runs.digest(folder)
    runs.write_whole(kept / "result.json", result)
    with pytest.raises(ConfigError, match=r"net-float has neither its network nor a note of it"):
        runs.digest(kept)
    with pytest.raises(SystemExit, match=r"net-float is a run with a final.pt of its own; give another folder"):
        call(monkeypatch, command, "keep", evaluated.out / "net-float", "--to", tmp_path)
    (folder / "final.pt").write_bytes(b"no network")
    with pytest.raises(SystemExit, match=r"net-float/final.pt is damaged or not of config.json; train the run anew"):
        call(monkeypatch, command, "keep", folder, "--to", kept.parent)
    assert runs.has_figures(kept)
