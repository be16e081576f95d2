"""The trainer takes networks of the user's: by the command line, by a recipe, and in a program."""

import random
import re
from pathlib import Path

import made_up
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import horq
from horq import nn as hn
from horq.train import ConfigError, NetworkError, __main__, fit, load, read, runs
from horq.train.loop import Trainer

NETS = """
import torch
from torch import nn
from horq import nn as hn
from horq.train import pixels
from beside import SIZE

class Small(nn.Module):
    def __init__(self, outputs=10, channels=1):
        super().__init__()
        self.pixels = pixels(1)
        self.stem = nn.Conv2d(channels, 8, 3, stride=4, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 16, 3, bias=False)
        self.after = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(16 * 25, outputs)

    def forward(self, x):
        x = self.after(self.conv(self.norm(self.stem(self.pixels(x)))))
        return self.head(self.drop(x.flatten(1)))

def make_net(width=1.0):
    return Small()

class ByHand(nn.Module):  # signs as people write them, which only the general road knows
    def __init__(self):
        super().__init__()
        self.net = Small()

    def forward(self, x):
        own = self.net
        x = own.norm(own.stem(own.pixels(x)))
        signs = torch.where(x >= 0, 1.0, -1.0).detach() + x.clamp(-1, 1) - x.clamp(-1, 1).detach()
        w = own.conv.weight
        w = (w.sign() * w.abs().mean((1, 2, 3), keepdim=True)).detach() + w - w.detach()
        return own.head(own.after(nn.functional.conv2d(signs, w)).flatten(1))

def own_layers():
    net = Small()
    net.conv = hn.HorqConv2d(8, 16, 3, order=3)
    return net

def unlike_others():
    class Cumulative(Small):
        def forward(self, x):
            return super().forward(x).sort(1).values
    return Cumulative()

hundred = lambda: Small(100)
colours = lambda: Small(channels=3)
pair = lambda: type("Pair", (Small,), {"forward": lambda self, x: (Small.forward(self, x), x)})()
text = lambda: "net"
module = Small()
number = 3

def fails():
    raise KeyError("no weights")

def needs(depth):
    return Small()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a user's files, which is the current one."""
    made_up.write_mnist(tmp_path / "data")
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "beside.py").write_text("SIZE = 8\n")
    (tmp_path / "broken.py").write_text("x = 1\n\nimport nowhere_at_all\n")
    (tmp_path / "untidy.py").write_text("def make(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HORQ_DATA", raising=False)
    return tmp_path


TINY = ("--set", "data=mnist", "--set", "epochs=2", "--set", "batch=20", "--set", "lr=0.01", "--set", "augment=0.0")


def call(monkeypatch, *arguments):
    made_up.call(monkeypatch, __main__, "--quiet", "--data", "data", *arguments)


def error_of(monkeypatch, *arguments):
    """What the command line says when it refuses."""
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *arguments)
    return str(caught.value)


def test_a_network_of_a_file_is_trained_and_exported(place, monkeypatch, capsys):
    call(monkeypatch, "--net", "nets.py:make_net", *TINY, "--set", "method=horq", "--set", "options.order=3")
    folder = place / "runs" / "make_net"
    said = capsys.readouterr().out
    assert "binary order 3" in said
    net, config = load(folder)
    assert config.network == f"{place}/nets.py:make_net"
    assert (config.precision, config.compile, config.order) == ("f32", False, 3)
    model, images = horq.Model(folder / "make_net.horq"), torch.rand(4, 1, 28, 28) * 255
    for order in (1, 3):
        hn.set_order(net, order)
        answers = model.run(images.numpy(), order=order, layout="nchw")
        np.testing.assert_allclose(answers, net(images).detach().numpy(), rtol=1e-3, atol=1e-3)
    assert "binary order 3" in (folder / "report.txt").read_text()
    call(monkeypatch, "--net", "nets.py:make_net", *TINY, "--set", "method=horq", "--set", "options.order=3")
    assert capsys.readouterr().out == ""  # finished
    again = error_of(monkeypatch, "--net", "nets.py:make_net", *TINY, "--set", "method=float")
    assert "was trained with other settings" in again


def test_the_general_road_exports_code_of_the_users_own(place, monkeypatch, capsys):
    call(monkeypatch, "--net", "nets.py:ByHand", *TINY, "--set", "method=own")
    assert "the general road" in capsys.readouterr().out
    report = (place / "runs" / "ByHand" / "report.txt").read_text()
    assert re.search(r"conv\S* .*binary order 1", report)


def test_layers_that_a_network_has_keep_their_dial(place, monkeypatch):
    own = ("--net", "nets.py:own_layers", *TINY, "--set", "method=own", "--set", "dial=true", "--set", "settle=0.5")
    assert "dial needs method = 'horq' (or 'own')" in error_of(monkeypatch, *own)
    said = error_of(monkeypatch, *own, "--set", "options.order=2")
    assert "have orders up to 3, where its options say 2; set options.order to 3" in said
    call(monkeypatch, *own, "--set", "options.order=3")
    assert set(runs.result(place / "runs" / "own_layers")["accuracy"]) == {"1", "2", "3"}


def test_a_recipe_names_a_file_beside_it(place, monkeypatch):
    (place / "recipes").mkdir()
    (place / "recipes" / "a.toml").write_text(
        'network = "../nets.py:make_net"\ndata = "mnist"\nepochs = 1\nbatch = 20\ncompile = false\n'
        '[runs.start]\n[runs.dial]\nmethod = "horq"\ndial = true\ninit = "start"\nteacher = "start"\nwidth = 0.5\n'
    )
    configs = read("recipes/a.toml")
    assert configs["start"].network == f"{place}/nets.py:make_net"
    call(monkeypatch, "recipes/a.toml", "--set", "width=2", "--no-export")
    assert not (place / "runs" / "dial" / "dial.horq").exists()
    assert load(place / "runs" / "dial")[1].width == 2.0
    changed = read("recipes/a.toml", {"epochs": 7, "options": {"order": 3}})
    assert (changed["dial"].epochs, changed["dial"].order) == (7, 3)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("gone.py:make", r"there is no file \S*/gone.py for the network"),
        ("nets.py", r"--net nets.py must be FILE.py:NAME or package.module:NAME"),
        ("nets.py:make", r"nets.py has no 'make'; it has Small, make_net, ByHand, own_layers"),
        ("nowhere.at.all:make", r"cannot import 'nowhere.at.all' .*No module named 'nowhere'.*installed"),
        (
            "broken.py:make",
            r"broken.py cannot be run \(line 3\): ModuleNotFoundError: No module named 'nowhere",
        ),
        ("untidy.py:make", r"untidy.py cannot be run \(line 1\): SyntaxError"),
        ("nets.py:fails", r"fails when it is called as fails\(\) \(line \d+\): KeyError: 'no weights'"),
        (
            "nets.py:needs",
            r"needs\(\).*missing 1 required .* 'depth'; .* give its arguments defaults",
        ),
        ("nets.py:text", r"text gives a str, where it must give a torch.nn.Module"),
        ("nets.py:number", r"number is a int; name a function or class"),
        ("nets.py:hundred", r"answers \[2, 100\] to 2 samples, where \[N, 10\] .*its last layer must have 10 outputs"),
        ("nets.py:colours", r"does not take the images of mnist of shape \[N, 1, 28, 28\].*must read 1 channels"),
        ("nets.py:pair", r"answers a tuple; training needs one tensor of logits, \[N, 10\]: wrap it"),
        ("nets.py:unlike_others", r"no .horq file can be made of unlike_others's network.*\n.*sort"),
    ],
)
def test_what_is_wrong_with_a_network_is_named(place, monkeypatch, net, words):
    assert re.search(words, error_of(monkeypatch, "--net", net, *TINY, "--set", "method=float"), re.DOTALL)
    assert not list(place.glob("runs/*/final.pt"))


def test_what_is_wrong_with_the_command_is_named(place, monkeypatch):
    assert "give a RECIPE, or a network of your own" in error_of(monkeypatch)
    assert "without a recipe a run needs data: --set data=" in error_of(monkeypatch, "--net", "nets.py:make_net")
    assert "must be FIELD=VALUE" in error_of(monkeypatch, "--net", "nets.py:make_net", "--set", "epochs")
    said = error_of(monkeypatch, "--net", "nets.py:make_net", *TINY, "--set", "learning=1")
    assert "unknown field 'learning'" in said
    said = error_of(monkeypatch, "--net", "nets.py:module", *TINY, "--set", "width=0.5")
    assert "is a module, which takes no width" in said
    call(monkeypatch, "--net", "nets.py:module", *TINY, "--set", "name=other", "--no-export")
    assert runs.finished(place / "runs" / "other")


def test_a_changed_file_is_told_from_a_checkpoint(place, monkeypatch):
    given = ("--net", "nets.py:make_net", *TINY, "--no-export")
    monkeypatch.setattr(Trainer, "_finish", lambda self: {})
    call(monkeypatch, *given)
    (place / "nets.py").write_text(NETS.replace("Conv2d(8, 16, 3, bias=False)", "Conv2d(8, 16, 3, bias=True)"))
    assert "checkpoint.pt is of a network with other layers; remove the folder" in error_of(monkeypatch, *given)


# ---- in a program


class Net(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1, bias=False), hn.BatchNorm2d(8)
        self.conv, self.after = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), hn.BatchNorm2d(16)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(256, classes)

    def forward(self, x):
        x = self.after(self.conv(self.norm(self.stem(x))))
        return self.head(self.drop(x.flatten(1)))


def samples(n=64):
    rng = np.random.default_rng(0)
    patterns, classes = rng.standard_normal((4, 2, 8, 8)), np.arange(n) % 4
    return (patterns[classes] + 0.3 * rng.standard_normal((n, 2, 8, 8))).astype(np.float32), classes


class Noisy(TensorDataset):
    """A data set that draws from each source of random numbers."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + 0.1 * random.random() + 0.1 * np.random.rand() + 0.1 * torch.rand(()), label


def loader(**options):
    images, classes = samples()
    return DataLoader(Noisy(torch.from_numpy(images), torch.from_numpy(classes)), 16, shuffle=True, **options)


DIAL = {"method": "horq", "options": {"order": 2}, "dial": True, "lr": 0.01, "warmup": 0.5}


@pytest.mark.parametrize("with_loader", [False, True])
def test_a_module_learns_all_orders_and_leaves_a_file(tmp_path, with_loader):
    torch.manual_seed(0)
    net, (images, classes) = Net(), samples()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train = loader() if with_loader else (images, classes)
    batch = {} if with_loader else {"batch": 16}
    fitted = fit(net, train, tmp_path / "run", epochs=10, watched=(images, classes), **DIAL, **batch)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert min(fitted.result["accuracy"].values()) >= 0.9
    assert fitted.result["on"] == "64 samples that it was not trained on"
    model = horq.Model(fitted.file)
    for order in (1, 2):
        answers = model.run(images, order=order, layout="nchw")
        assert (answers.argmax(1) == classes).mean() >= 0.9
    again = fit(net, train, tmp_path / "run", epochs=10, watched=(images, classes), **DIAL, **batch)
    assert again.result == fitted.result
    found, wanted = again.net.state_dict(), fitted.net.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(ConfigError, match="was trained with other settings; remove it"):
        fit(net, train, tmp_path / "run", epochs=11, watched=(images, classes), **DIAL, **batch)
    with pytest.raises(ConfigError, match=r"was given to horq.train.fit, which alone can make it"):
        load(tmp_path / "run")


@pytest.mark.parametrize("kind", ["arrays", "loader", "a loader with a generator"])
def test_a_training_that_was_cut_off_ends_as_if_it_were_not(tmp_path, monkeypatch, kind):
    torch.manual_seed(0)
    net = Net()

    def go(folder):
        own = {"generator": torch.Generator().manual_seed(5)} if kind.endswith("generator") else {}
        train = samples() if kind == "arrays" else loader(**own)
        given = {"batch": 16} if kind == "arrays" else {}
        return fit(net, train, tmp_path / folder, epochs=4, export=False, **DIAL, **given)

    whole, one = go("whole/run"), Trainer._one_epoch

    def stop(trainer, *args):
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        return one(trainer, *args)

    monkeypatch.setattr(Trainer, "_one_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        go("cut/run")
    monkeypatch.setattr(Trainer, "_one_epoch", one)
    torch.manual_seed(77)
    random.seed(77)
    cut = go("cut/run")
    assert cut.file is None
    found, wanted = cut.net.state_dict(), whole.net.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_module_follows_a_teacher_and_is_hashed_or_frozen(tmp_path):
    torch.manual_seed(0)
    images, classes = samples()
    arrays = {"batch": 16, "epochs": 4, "lr": 0.01}
    teacher = fit(Net(), (images, classes), tmp_path / "teacher", **arrays).net
    for method, more in (("inq", {}), ("bwnh", {"hash_images": 32})):
        given = fit(teacher, (images, classes), tmp_path / method, method=method, teacher=teacher, **arrays, **more)
        assert ("hash_errors" in given.result) == (method == "bwnh")
        assert given.file is not None


def test_an_epoch_does_not_hang_on_what_lies_behind_a_module(tmp_path):
    """Flat samples, and classes as bytes."""
    images, classes = samples()
    net = nn.Sequential(nn.Linear(128, 32), hn.BatchNorm1d(32), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    flat = (images.reshape(64, -1), classes.astype(np.uint8))
    fitted = fit(net, flat, tmp_path / "run", epochs=3, batch=16, method="bwn")
    assert horq.Model(fitted.file).run(flat[0]).shape == (64, 4)


def rows(labels=None, images=None):
    own = samples()
    return (own[0] if images is None else images, own[1] if labels is None else labels)


@pytest.mark.parametrize(
    ("train", "given", "words"),
    [
        (rows(labels=np.arange(64) % 5), {}, "class 4 is among the labels; they must count from 0 to 3, since the"),
        (rows(labels=np.arange(64) - 1), {}, "class -1 is among the labels"),
        (rows(labels=np.ones(64)), {}, "classes must be whole numbers, one for each of the 64 samples, not .*float64"),
        (rows(labels=np.arange(63) % 4), {}, r"one for each of the 64 samples, not .* of shape \[63\]"),
        (rows(images=np.zeros((64, 3, 8, 8))), {}, r"Net does not take the samples of shape \[N, 3, 8, 8\]"),
        (rows(images=np.array(["a"] * 64)), {}, "train must hold arrays of numbers"),
        ((np.zeros((0, 2, 8, 8)), np.zeros(0, int)), {}, "train has no samples"),
        (samples()[0], {}, "train must be a DataLoader or a pair .* of arrays, not a ndarray"),
        (rows(), {"batch": 65}, "a batch of 65 needs more than 64 images"),
        (rows(), {"watched": 3}, "watched must be a DataLoader or a pair"),
        (rows(), {"augment": 1.0}, "fit has no setting 'augment'; it has method, options"),
        (rows(), {"method": "magic"}, "fit: method must be one of float, horq"),
        (rows(), {"dial": True}, "dial needs method"),
        (
            DataLoader(TensorDataset(torch.zeros(8, 2, 8, 8)), 4),
            {},
            r"gives a list of 1, where .* pairs \(sam",
        ),
        (DataLoader(TensorDataset(torch.zeros(8, 2, 8, 8), torch.full((8,), 9)), 4), {}, "class 9 is among the labels"),
        (DataLoader(TensorDataset(torch.zeros(2, 2, 8, 8)), 4, drop_last=True), {}, "the DataLoader has no batch"),
        (loader(), {"batch": 4}, "the DataLoader makes the batches"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_named(tmp_path, train, given, words):
    with pytest.raises((ConfigError, NetworkError), match=words):
        fit(Net(), train, tmp_path / "run", epochs=1, **given)
    assert not (tmp_path / "run" / "final.pt").exists()


def test_a_loader_may_be_watched(tmp_path):
    given = {"epochs": 2, "lr": 0.01, "export": False}
    images, classes = samples(20)
    held = DataLoader(TensorDataset(torch.from_numpy(images), torch.from_numpy(classes)), 8)
    fitted = fit(Net(), loader(), tmp_path / "run", watched=held, **given)
    assert fitted.result["on"] == "20 samples that it was not trained on"
    assert fit(Net(), loader(), tmp_path / "other", **given).result["on"] == "64 images of the training set"


def test_an_endless_loader_is_refused(tmp_path):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from zip(*samples(), strict=True)

    with pytest.raises(ConfigError, match="does not know how many batches it has; give its data set a __len__"):
        fit(Net(), DataLoader(Endless(), 4), tmp_path / "run", epochs=1)


def test_the_pages_program_runs(tmp_path, monkeypatch):
    """The program of docs/bring-your-network.md that calls `horq.train.fit`."""
    page = Path(made_up.__file__).parents[2] / "docs" / "bring-your-network.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    (program,) = [block for block in blocks if "fit(" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(program, str(page), "exec"), {"__name__": "__main__"})
    assert list(tmp_path.glob("runs/*/*.horq"))
