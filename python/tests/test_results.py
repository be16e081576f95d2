"""Evaluation, latency, residual energy and tables, on tiny networks trained on made-up images."""

import dataclasses
import json
import math
import shutil
from xml.etree import ElementTree

import made_up
import numpy as np
import pytest
import torch

import horq
from experiments import reproduce
from experiments.results import __main__ as command
from experiments.results import energy, latency, speed, tables
from experiments.results.cards import recipe_of
from experiments.results.evaluate import agreement, engine_inputs, evaluate, evaluation, file_of
from experiments.results.int8 import evaluate8, evaluation8, quantized8
from experiments.results.latency import in_turns
from experiments.results.papers import reported
from experiments.results.plots import draw
from experiments.results.subjects import SUBJECTS, doodles
from horq.nn import HorqConv2d, HorqLinear, set_order
from horq.train import Config, ConfigError, data, read, runs

# ---- agreement and evaluation


def test_agreement_tells_ties_from_differences():
    expected = torch.tensor([[1.0, 5.0, 2.0], [4.0, 4.0 - 1e-6, 0.0], [3.0, 2.0, 1.0], [-8.0, 1.0, 1.0 + 2e-5]])
    engine = expected.clone()
    engine[1, 1] += 3e-6  # a tie turned round
    engine[2, 1] += 1.5  # another answer
    engine[3, 1] += 3e-5  # within 1e-5 of the largest magnitude, 8
    found = agreement(engine, expected, torch.tensor([1, 0, 0, 2]))
    assert (found.images, found.equal, found.ties, found.different) == (4, 1, 2, 1)
    assert found.accuracy == 1.0
    assert found.engine_accuracy == 0.25
    assert found.largest_difference == pytest.approx(0.5)


def test_evaluation_is_what_both_sides_answer(evaluated):
    folder, found = evaluated.out / "net-dial", evaluated.found["net-dial"]
    assert json.loads((folder / "evaluation.json").read_text()) == found == evaluation(folder)
    assert list(found["orders"]) == ["1", "2"]
    net, config = runs.load(folder)
    test = data.load("mnist", evaluated.data, "test")
    model = horq.Model(file_of(folder))
    for order in (1, 2):
        entry, hits, right = found["orders"][str(order)], 0, 0
        set_order(net, order)
        for image, label in zip(test.images, test.labels, strict=True):
            with torch.no_grad():
                theirs = int(net(image[None].float()).argmax())
            ours = int(model.run(image[None].permute(0, 2, 3, 1).float().contiguous().numpy(), order=order).argmax())
            hits += ours == label
            right += ours == theirs
        assert entry["images"] == entry["torch"]["images"] == len(test) == 60
        assert entry["accuracy"] == hits / 60
        assert entry["torch"]["equal"] == right == 60
        assert entry["torch"]["different"] == 0
        assert entry["torch"]["largest_difference"] < 1e-5
    assert found["bytes"] == file_of(folder).stat().st_size
    assert found["digest"] == model.digest
    assert json.loads(model.notes["training"])["name"] == config.name


def test_torch_may_take_fewer_images_and_sizes_are_told(evaluated):
    entry = evaluated.found["net-order1"]["orders"]["1"]
    assert (entry["images"], entry["torch"]["images"], entry["torch"]["equal"]) == (60, 30, 30)
    assert list(evaluated.found["net-float"]["orders"]) == ["0"]
    own, whole = (evaluated.found["net-float"][key] for key in ("bytes", "float_bytes"))
    assert abs(own - whole) < 1024, "a float network is as large as the float network but for its notes"
    assert evaluated.found["net-dial"]["bytes"] < whole


def test_figures_of_an_earlier_training_do_not_count(evaluated, tmp_path):
    folder = tmp_path / "net-float"
    folder.mkdir()
    for name in ("config.json", "result.json", "evaluation.json", "final.pt"):
        (folder / name).write_bytes((evaluated.out / "net-float" / name).read_bytes())
    assert evaluation(folder) is not None
    runs.write_whole(folder / "final.pt", {"other": torch.zeros(1)})
    assert evaluation(folder) is None


def test_unfinished_runs_are_named(made):
    with pytest.raises(FileNotFoundError, match=r"net-dqc holds no finished run"):
        evaluate(made.out / "net-dqc", made.data)


def test_made_up_images_have_the_shape_of_the_data():
    for name in SUBJECTS:
        images = doodles(name, 3)
        assert tuple(images.shape) == (3, *SUBJECTS[name].shape)
        assert torch.equal(images, images.round())
        assert images.min() >= 0
        assert images.max() <= 255
        assert images.std() > 20
        assert torch.equal(images, doodles(name, 3))
    assert engine_inputs(doodles("cifar-10", 2).byte()).shape == (2, 32, 32, 3)


# ---- 8 bits


def test_a_float_run_in_8_bits(evaluated, tmp_path):
    folder = tmp_path / "net-float"
    shutil.copytree(evaluated.out / "net-float", folder)
    found = evaluate8(folder, evaluated.data)
    assert evaluation8(folder) == found
    assert found["orders"]["0"]["torch"]["equal"] == 60
    assert abs(found["orders"]["0"]["accuracy"] - evaluated.found["net-float"]["orders"]["0"]["accuracy"]) < 0.1
    model = horq.Model(folder / "net-float.int8.horq")
    ops = [node["op"] for node in model.graph["nodes"]]
    assert (ops.count("int8_conv2d"), ops.count("int8_dense")) == (2, 2)
    assert not {"conv2d", "dense"} & set(ops)
    assert not latency.is_timed(folder)
    latency.measure([folder], rounds=10)
    assert latency.is_timed(folder)
    assert list(latency.latency(folder)["orders"]) == ["0", "int8"]
    text = tables.render(tables.find(str(evaluated.recipe)), tmp_path)
    assert f"| 8 bits, not trained |  | 1 of 2 | 2 | {100 * found['orders']['0']['accuracy']:.2f} | all 60 |" in text
    with pytest.raises(ValueError, match="net-dial is a run of horq; only float runs"):
        evaluate8(evaluated.out / "net-dial", evaluated.data)


def test_8_bit_ranges_are_those_of_the_images():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images = torch.randint(0, 200, (70, 1, 4, 4)).byte()
    images[60] = 200
    eight = quantized8(net, images)
    assert eight[0].scale.item() == pytest.approx(200 / 255)
    assert eight[3].scale.item() == pytest.approx(net[:3](images.float()).max().item() / 255)
    with torch.no_grad():
        expected = net(images.float())
        assert (eight(images.float()) - expected).abs().max() < 0.03 * expected.abs().max()
    with pytest.raises(ValueError, match="no Conv2d or Linear"):
        quantized8(torch.nn.Sequential(torch.nn.ReLU()), images)


# ---- latency


def test_latency_is_measured_in_turns(evaluated, monkeypatch, capsys):
    folders = [evaluated.out / "net-float", evaluated.out / "net-dial"]
    made_up.call(monkeypatch, command, "latency", *folders, "--rounds", 10)
    assert "net-dial, order 2: " in capsys.readouterr().out
    for folder, orders in zip(folders, (["0"], ["1", "2"]), strict=True):
        found = latency.latency(folder)
        assert list(found["orders"]) == orders
        for entry in found["orders"].values():
            assert entry["runs"] == 50
            assert 0 < entry["p10"] <= entry["p50"] <= entry["p90"] < 1
        assert found["cpu"]
    with pytest.raises(ValueError, match="at least 10"):
        latency.measure(folders, rounds=9)
    with pytest.raises(FileNotFoundError, match="evaluate the run first"):
        latency.measure([evaluated.out / "net-order2"])


# ---- residual energy


def test_gaussian_and_uniform_shares():
    shares = energy.gaussian()
    assert shares[0] == pytest.approx(1 - 2 / math.pi, abs=1e-9)
    assert [round(share, 3) for share in shares[:4]] == [0.363, 0.130, 0.058, 0.033]
    x = (torch.arange(100_000) + 0.5) / 100_000
    assert energy.left(x, torch.ones_like(x), 4) == pytest.approx([0.25**k for k in (1, 2, 3, 4)], rel=1e-6)


def plain_residuals(groups, order, scales):
    """||x||^2 and ||R_k||^2 over groups of values, in plain loops with signs."""
    whole, left = 0.0, [0.0] * order
    for group in groups:
        whole += sum(value * value for value in group)
        r = list(group)
        for k in range(order):
            b = sum(abs(value) for value in r) / len(r) if scales is None else scales[k]
            r = [value - b if value >= 0 else value + b for value in r]
            left[k] += sum(value * value for value in r)
    return [value / whole for value in left]


@pytest.mark.parametrize("mode", ["fixed", "image", "window", "none", "halving"])
def test_shares_of_a_layer_are_those_of_plain_loops(mode):
    torch.manual_seed(1)
    layer = HorqConv2d(3, 4, 3, stride=2, padding=1, order=3, scale_mode=mode)
    x = torch.randn(2, 3, 5, 4)
    watch = energy._Watch(layer)
    watch.add(x[:1])
    watch.add(x[1:])
    samples = [image.flatten().tolist() for image in x.double()]
    halves = layer._constants() if mode == "halving" else None
    constants = {"fixed": layer.scales, "none": torch.ones(3), "halving": halves}.get(mode)
    groups = samples
    if mode == "window":
        groups = [
            [
                x[n, c, i, j].item()
                for c in range(3)
                for i in range(max(top, 0), min(top + 3, 5))
                for j in range(max(left, 0), min(left + 3, 4))
            ]
            for n in range(2)
            for top in (-1, 1, 3)
            for left in (-1, 1)
        ]
    scales = None if constants is None else constants.tolist()
    assert watch.own.shares() == pytest.approx(plain_residuals(groups, 3, scales), rel=1e-6)
    assert watch.means.shares() == pytest.approx(plain_residuals(samples, 3, None), rel=1e-6)


def test_shares_of_a_dense_layer():
    layer = HorqLinear(20, 4, order=2, scale_mode="window")
    x = torch.randn(3, 20)
    watch = energy._Watch(layer)
    watch.add(x)
    expected = plain_residuals([row.tolist() for row in x.double()], 2, None)
    assert watch.own.shares() == watch.means.shares() == pytest.approx(expected, rel=1e-6)


def test_energy_of_a_run(evaluated):
    found = energy.measure(evaluated.out / "net-dial", evaluated.data, images=25)
    assert energy.energy(evaluated.out / "net-dial") == found
    assert (found["images"], list(found["layers"])) == (25, ["conv2", "fc1"])
    for layer in found["layers"].values():
        assert layer["means"][1] < layer["means"][0] < 1
    assert len(found["gaussian"]) == 2
    text = tables.energy_table(found)
    assert "| normal distribution | means | 0.363 | 0.130 |" in text
    assert f"| conv2 | its own (fixed) | {found['layers']['conv2']['own'][0]:.3f} |" in text
    with pytest.raises(ValueError, match="no layer with binary activations"):
        energy.measure(evaluated.out / "net-float", evaluated.data)


def test_speed_needs_no_training(tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "all.toml"
    methods = {method: "" for method in ("horq", "xnor", "bnn", "bwn", "bwnh", "dqc", "sqc", "inq")}
    methods["horq"] = "options = { order = 2, scale_mode = 'window' }\ndial = true"
    further = "".join(f"[runs.{m}]\nmethod = '{m}'\n{fields}\n" for m, fields in methods.items())
    recipe.write_text(
        "network = 'lenet5'\nwidth = 0.25\ndata = 'mnist'\nepochs = 4\ninit = 'net'\n"
        f"[runs.net]\nmethod = 'float'\ninit = ''\nseeds = [1, 2]\n{further}"
    )
    timed = []
    monkeypatch.setattr(speed, "in_turns", lambda entries, rounds: timed.extend(entries) or in_turns(entries, rounds))
    made_up.call(monkeypatch, command, "speed", recipe, "--rounds", 10)
    one, two = (entry.session.run(entry.inputs[:1]) for entry in timed[2:4])
    assert not np.array_equal(one, two), "each session has its order"
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:-2]]
    assert [(row[1], row[2]) for row in cells] == [
        ("float", ""),
        ("8 bits", ""),
        ("HORQ, one file for orders 1 to 2, scale mode window", "1"),
        ("HORQ, one file for orders 1 to 2, scale mode window", "2"),
        ("XNOR-Net", "1"),
        ("BNN", "1"),
        *[(method, "") for method in ("BWN", "BWNH", "DQC", "SQC", "INQ")],
    ]
    assert all(row[0] == "lenet5 x 0.25" for row in cells)
    sizes = [int(row[3].replace(",", "")) for row in cells]
    assert all(size < sizes[0] for size in sizes[1:])
    assert all(float(row[5].split()[0]) > 0 for row in cells)
    assert lines[-1].startswith("Latency (us): untrained, one image, one thread, ")
    with pytest.raises(SystemExit, match="rounds must be at least 10"):
        made_up.call(monkeypatch, command, "speed", recipe, "--rounds", 1)


# ---- tables


def test_rows_show_what_was_run_and_what_not(evaluated):
    text = tables.render(tables.find(str(evaluated.recipe)), evaluated.out)
    found = evaluated.found["net-dial"]
    lines = text.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert cells[0][:5] == ["method", "order", "seeds", "epochs", "accuracy, %"]
    table = {(row[0], row[1]): row for row in cells[2:]}
    assert set(table) == {
        ("float", ""),
        ("HORQ, one file for orders 1 to 2", "1"),
        ("HORQ, one file for orders 1 to 2", "2"),
        ("HORQ, scale mode window", "1"),
        ("HORQ", "2"),
        ("DQC, 3 bits", ""),
    }
    row = table["HORQ, one file for orders 1 to 2", "2"]
    assert row[4] == f"{100 * found['orders']['2']['accuracy']:.2f}"
    assert row[5] == "all 60"
    assert row[7:9] == [f"{found['bytes']:,}", f"{found['float_bytes'] / found['bytes']:.1f} x"]
    assert table["float", ""][2] == "1 of 2"
    assert table["DQC, 3 bits", ""][4] == "not run"


def test_the_dial_beside_nets_of_one_order(evaluated):
    table = tables.Table("d", str(evaluated.recipe), "dial", dial="net-dial", own="net-order{order}")
    alone = evaluated.found["net-order1"]["orders"]["1"]["accuracy"]
    dial = [100 * evaluated.found["net-dial"]["orders"][k]["accuracy"] for k in ("1", "2")]
    lines = tables.render(table, evaluated.out).splitlines()
    assert lines[2] == f"| 1 | {100 * alone:.2f} | {dial[0]:.2f} | {dial[0] - 100 * alone:+.2f} |"
    assert lines[3] == f"| 2 | not run | {dial[1]:.2f} |  |"
    with pytest.raises(ConfigError, match="has not: net-order1x, net-order2x"):
        tables.wanted(tables.Table("d", str(evaluated.recipe), "dial", dial="net-dial", own="net-order{order}x"))


def test_papers_figures_stand_beside_the_same_network_only():
    def row(order=0, **fields):
        given = {"name": "x", "network": "resnet20", "data": "cifar-10", "epochs": 1, "method": "dqc"}
        given |= {"init": "y", **fields}
        return reported(Config(**given), order)

    assert row(options={"bits": 3}) == "90.07 (DQC, 2019)"
    assert row() == "91.71 (DQC, 2019)"
    assert row(options={"bits": 5, "zero": True}) == "92.82 (DQC, 2019)"
    assert row(network="resnet56", options={"bits": 4}) == "93.54 (DQC, 2019)"
    assert row(method="float") == "92.12 (DQC, 2019)"
    assert row(method="inq", options={"bits": 5}, epochs=4) == ""
    assert row(width=0.5) == ""
    assert row(2, network="mlp", data="mnist", method="horq").startswith("98.75")


def test_a_run_with_other_settings_is_refused(evaluated, tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(made_up.RECIPE.replace("lr = 3e-3", "lr = 1e-3"))
    with pytest.raises(ConfigError, match="was trained with other settings"):
        tables.render(tables.find(str(recipe)), evaluated.out)


# ---- pictures


def test_pictures_of_what_was_measured(evaluated, monkeypatch, capsys, tmp_path):
    latency.measure([evaluated.out / "net-dial"], rounds=10)
    energy.measure(evaluated.out / "net-dial", evaluated.data, images=20)
    for to in (tmp_path / "a", tmp_path / "b"):
        made_up.call(monkeypatch, command, "plots", evaluated.recipe, "--out", evaluated.out, "--to", to)
        draw(tables.Table("e", str(evaluated.recipe), "energy", run="net-dial"), evaluated.out, to)
    names = {"tiny-training", "tiny-order", "tiny-latency", "tiny-size", "net-dial-energy"}
    assert {file.stem for file in (tmp_path / "a").iterdir()} == names
    for file in (tmp_path / "a").iterdir():
        assert file.suffix == ".svg"
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), "the same figures, the same file"
        assert file.stat().st_size < 60_000
        ElementTree.parse(file)
    order = (tmp_path / "a" / "tiny-order.svg").read_text()
    assert "HORQ, one file for orders 1 to 2" in order
    assert "HORQ, scale mode window" in order
    assert "DQC" not in order, "it was not run"
    assert "conv2" in (tmp_path / "a" / "net-dial-energy.svg").read_text()
    assert "HORQ, scale mode window" not in (tmp_path / "a" / "tiny-latency.svg").read_text(), "it was not timed"
    assert draw(tables.find(str(evaluated.recipe)), tmp_path / "none", tmp_path / "c") == []


# ---- models


def test_a_card_says_what_the_model_is(evaluated, monkeypatch, tmp_path):
    made_up.call(monkeypatch, command, "card", evaluated.out / "net-dial", "--to", tmp_path, "--name", "tiny")
    assert {file.name for file in tmp_path.iterdir()} == {"tiny.horq", "tiny.md"}
    model, text = horq.Model(tmp_path / "tiny.horq"), (tmp_path / "tiny.md").read_text()
    found = evaluated.found["net-dial"]["orders"]
    assert text.startswith("# tiny.horq\n\nlenet5 with 0.25 times its channels, HORQ, one file for orders 1 to 2")
    for part in (model.digest, model.notes["input"], "seed 1", "a recipe of its own", "MNIST (Yann LeCun"):
        assert part in text
    for order in ("1", "2"):
        assert f"| {order} | {100 * found[order]['accuracy']:.2f} % | 60 |" in text
    given, expected = model.golden()
    assert np.array_equal(given[:, :, :, 0], doodles("mnist", 4)[:, 0].numpy()), "no image of the data"
    assert np.allclose(model.run(given), expected, rtol=1e-4, atol=1e-4)


def test_models_that_are_not_sure_get_no_card(evaluated, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="PyTorch took 30 of 60 images"):
        made_up.call(monkeypatch, command, "card", evaluated.out / "net-order1", "--to", tmp_path)
    with pytest.raises(SystemExit, match="has no evaluation"):
        made_up.call(monkeypatch, command, "card", evaluated.out / "net-never", "--to", tmp_path)
    with pytest.raises(SystemExit, match="differ"):
        made_up.call(monkeypatch, command, "card", evaluated.out / "net-dial", "--to", tmp_path, "--tolerance", 1e-12)
    folder = tmp_path / "runs" / "net-dial"
    shutil.copytree(evaluated.out / "net-dial", folder)
    figures = json.loads((folder / "evaluation.json").read_text())
    figures["orders"]["1"]["torch"] |= {"different": 1, "equal": 59}
    runs.write_whole(folder / "evaluation.json", figures)
    with pytest.raises(SystemExit, match="order 1: the engine predicts otherwise than PyTorch on 1 images"):
        made_up.call(monkeypatch, command, "card", folder, "--to", tmp_path)
    shutil.copy(file_of(evaluated.out / "net-float"), file_of(folder))
    with pytest.raises(SystemExit, match="is not the file that was evaluated"):
        made_up.call(monkeypatch, command, "card", folder, "--to", tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"runs"}


def test_the_recipe_of_a_run_is_found():
    config = read(tables.RECIPES / "mnist.toml")["mlp-order2-seed2"]
    assert recipe_of(config) == tables.RECIPES / "mnist.toml"
    assert recipe_of(dataclasses.replace(config, epochs=1)) is None


# ---- reproduce


def test_reproduce_trains_evaluates_and_updates_a_page(evaluated, monkeypatch, capfd, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("before\n<!-- table tiny -->\nold\n<!-- end tiny -->\nafter\n")
    options = ["--out", evaluated.out, "--data", evaluated.data, "--update", page, "--plots", tmp_path / "plots"]
    made_up.call(monkeypatch, reproduce, evaluated.recipe, *options)
    out = capfd.readouterr().out
    assert tables.NOT_RUN not in out
    text = page.read_text()
    assert text.startswith("before\n<!-- table tiny -->\n| method |")
    assert text.endswith("![tiny training](plots/tiny-training.svg)\n<!-- end tiny -->\nafter\n")
    assert text.count("![") == len(list((tmp_path / "plots").iterdir())) == 4
    assert "old" not in text
    assert "| float |  | 2 | 2 |" in text
    assert "| 8 bits, not trained |  | 2 | 2 |" in text
    assert "\n\nLatency (us): one image, one thread, median (p10 to p90) on " in text
    assert {p.name for p in evaluated.out.iterdir()} == {"net-float-seed2", *read(evaluated.recipe)}
    before = {file: file.stat().st_mtime_ns for file in evaluated.out.glob("*/*")}
    made_up.call(monkeypatch, reproduce, evaluated.recipe, *options)
    assert before == {file: file.stat().st_mtime_ns for file in evaluated.out.glob("*/*")}, "nothing was left to do"


def test_pages_without_markers_are_refused():
    page = "<!-- table a -->\n<!-- end a -->"
    assert reproduce.updated(page, "a", r"x\1") == "<!-- table a -->\nx\\1\n<!-- end a -->"
    for bad in ("", "<!-- table a -->", "<!-- end a --><!-- table a -->", page + page):
        with pytest.raises(ConfigError, match="needs the lines <!-- table a -->"):
            reproduce.updated(bad, "a", "x")
