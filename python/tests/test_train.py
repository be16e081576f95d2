"""Recipes, data sets and the training loop on made-up images."""

import gzip
import json
import lzma
import shutil

import pytest
import torch

from experiments.results.tables import RECIPES, is_current
from horq import convert
from horq.nn import BinaryWeight, HorqConv2d, HorqLinear, PowerOfTwo, SwitchableBatchNorm, horq_layers
from horq.train import Config, ConfigError, build, load, read
from horq.train import data as sets
from horq.train.__main__ import main
from horq.train.loop import Trainer, _optimizer
from horq.train.networks import GREY, NETWORKS, finish
from horq.train.runs import locked, made

COUNT = 96


@pytest.fixture
def root(tmp_path):
    """Tiny data sets in their original formats; the class is readable from the brightness."""
    generator = torch.Generator().manual_seed(0)

    def images(n, *shape):
        labels = torch.arange(n) % 10
        noise = torch.randint(0, 30, (n, *shape), generator=generator)
        return (noise + 22 * labels.view(-1, *[1] * len(shape))).to(torch.uint8), labels.to(torch.uint8)

    folder = tmp_path / "mnist"
    folder.mkdir()
    for prefix, n in (("train", COUNT), ("t10k", 20)):
        pixels, labels = images(n, 28, 28)
        head = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (n, 28, 28))
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.numpy().tobytes()))
        head = b"\0\0\x08\x01" + n.to_bytes(4, "big")
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.numpy().tobytes()))
    folder = tmp_path / "cifar-10"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels, labels = images(20, 3, 32, 32)
        content = torch.cat([labels[:, None], pixels.flatten(1)], 1).numpy().tobytes()
        if name == "test_batch":
            (folder / f"{name}.bin").write_bytes(content)
        else:
            (folder / f"{name}.bin.xz").write_bytes(lzma.compress(content))
    return tmp_path


def config(name="run", **fields):
    values = {"network": "mlp", "width": 1 / 32, "data": "mnist", "epochs": 2, "batch": 32, "precision": "f32"}
    return Config(name=name, **{**values, "compile": False, "augment": 0.2, **fields})


def train(root, out, *args, **kwargs):
    return Trainer(config(*args, **kwargs), root, out, progress=False).go()


def test_data_sets_are_split_without_loss(root):
    train_part, held = sets.load("mnist", root, "train", 16), sets.load("mnist", root, "held-out", 16)
    assert (len(train_part), len(held)) == (COUNT - 16, 16)
    whole = sets.load("mnist", root, "train")
    rejoined = torch.cat([train_part.images, held.images])
    assert torch.equal(rejoined, whole.images)
    cifar = sets.load("cifar-10", root, "train")
    assert cifar.images.shape == (100, 3, 32, 32)
    assert sets.load("cifar-10", root, "test").labels.tolist() == [i % 10 for i in range(20)]


def test_a_device_that_is_not_there_is_named(root, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train", str(RECIPES / "mnist.toml"), "--data", str(root), "--device", "meta"])
    with pytest.raises(SystemExit, match="error: --device meta: this PyTorch cannot compute on it"):
        main()


def test_a_wrong_folder_or_file_is_named(root, monkeypatch):
    monkeypatch.delenv("HORQ_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="HORQ_DATA"):
        sets.data_root(None)
    (root / "cifar-10" / "test_batch.bin").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="test_batch holds 100 bytes"):
        sets.load("cifar-10", root, "test")
    (root / "cifar-10" / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match="test_batch"):
        sets.load("cifar-10", root, "test")


def test_crops_and_flips_keep_the_image_whole():
    images = torch.randint(1, 256, (64, 3, 32, 32), dtype=torch.uint8)
    pixels = sets.augmented("cifar-10", images, 1.0, torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images.float(), (4,) * 4)
    for image, source in zip(pixels, padded, strict=True):
        crops = source.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        both = torch.cat([crops, crops.flip(-1)])
        assert (both == image).flatten(1).all(1).sum() == 1
    assert torch.equal(sets.augmented("cifar-10", images, 0, torch.Generator()), images.float())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_and_finish_makes_the_first_layer_exact(name):
    torch.manual_seed(0)
    net = build(name, 0.25).eval()
    side, channels = (28, 1) if name in GREY else (32, 3)
    pixels = torch.randint(0, 256, (2, channels, side, side)).float()
    assert net(pixels).shape == (2, 10)
    finish(net)
    first = next((layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)), None)
    if first is not None:
        x = net.pixels(pixels)
        assert torch.equal(x.double(), net.double().pixels(pixels.double()))
        exact = torch.nn.functional.conv2d(x.double(), first.weight.double(), None, 1, first.padding)
        net.float()
        turned = first.weight.flip(1, 2, 3)  # another order of summation
        other = torch.nn.functional.conv2d(x.flip(1, 2, 3), turned, None, 1, first.padding).flip(2, 3)
        assert torch.equal(first(x).double(), exact)
        assert torch.equal(other.double(), exact)


def test_recipes_merge_seeds_and_options(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text(
        'network = "mlp"\ndata = "mnist"\nepochs = 3\noptions = { order = 2 }\n'
        '[runs.a]\nmethod = "horq"\nseeds = [5, 6]\noptions = { gradient = "recursion" }\n[runs.b]\nlr = 1'
    )
    runs = read(file)
    assert list(runs) == ["a", "a-seed6", "b"]
    assert runs["a-seed6"].seed == 6
    assert runs["a"].options == {"order": 2, "gradient": "recursion"}
    assert runs["b"].lr == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = 1", "no runs"),
        ("[runs.a", "is no TOML"),
        ('[runs.a]\nnetwork = "mlp"', "missing 2 required"),
        ('[runs.a]\nnetwork = "alexnet"\ndata = "mnist"\nepochs = 1', "network must be one of"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1.5', "epochs must be int"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 0', "epochs must be 1 to"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nlearning = 2', "unknown field 'learning'"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\ndial = true', "dial needs"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nmethod = "bwnh"', "name it in init"),
        (
            '[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nmethod = "horq"\ndial = true\ndraws = [1, 2, 3]',
            "draws needs dial and a number above 0 for each of its orders",
        ),
        (
            '[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nmethod = "horq"\ndraws = [1, 2]',
            "draws needs dial",
        ),
        (
            '[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nmethod = "horq"\ndial = true\ndraws = [inf, 2]',
            "draws needs dial and a number above 0",
        ),
        (
            '[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nmethod = "horq"\ndial = true\nown_norms = true',
            "own_norms needs dial, and settle = 0",
        ),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nshares = [0.5]', "shares must grow"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 3\nmethod = "inq"', "each of its 4 shares"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 4\nmethod = "inq"', "inq starts from a float run"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nsubset = 0', "subset must be 1 to"),
        ('[runs.a]\nnetwork = "mlp"\ndata = "cifar-10"\nepochs = 1', "mlp does not read the images of cifar-10; nin"),
        ('[runs.a]\nnetwork = "nin"\ndata = "mnist"\nepochs = 1', "of mnist; convnet, convnet-prelu, lenet5, mlp do"),
        ('options = 3\n[runs.a]\nnetwork = "nin"\ndata = "mnist"\nepochs = 1', "options must be Mapping"),
        (
            '[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nseeds = [1, 2]\n'
            '[runs.a-seed2]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1',
            "two runs are called a-seed2",
        ),
        ('[runs.a]\nnetwork = "mlp"\ndata = "mnist"\nepochs = 1\nseeds = "x"', "list of integers"),
    ],
)
def test_a_wrong_recipe_is_told_by_file_and_field(tmp_path, text, said):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read(file)
    assert "wrong.toml" in str(error.value)


def test_the_recipes_of_the_experiments_are_read():
    files = list(RECIPES.glob("*.toml"))
    assert "cifar-vgg-half" in [file.stem for file in files]
    for file in files:
        for run in read(file).values():
            assert run.teacher != run.name
    with pytest.raises(ConfigError, match="there is no recipe at nowhere"):
        read("nowhere")
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        read(RECIPES)


def test_a_run_learns_and_leaves_its_folder(root, tmp_path):
    result = train(root, tmp_path / "out", epochs=12, lr=0.01, held_out=16, augment=0.0, width=1 / 8)
    assert result["accuracy"]["0"] >= 0.8
    net, given = load(tmp_path / "out" / "run")
    assert given == config(epochs=12, lr=0.01, held_out=16, augment=0.0, width=1 / 8)
    assert not net.training
    rows = (tmp_path / "out" / "run" / "log.csv").read_text().splitlines()
    assert len(rows) == 13
    assert not (tmp_path / "out" / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "horq", "options": {"order": 2}, "dial": True, "epochs": 4},  # settles after 2 of them
        {"method": "horq", "options": {"order": 2}, "dial": True, "epochs": 4, "settle": 0.75},
        {"method": "inq", "epochs": 4, "init": "start", "teacher": "start", "optimizer": "sgd", "weight_decay": 0.01},
    ],
)
def test_a_run_that_was_cut_off_ends_as_if_it_were_not(root, tmp_path, fields):
    for name in ("whole", "cut"):
        train(root, tmp_path / name, "start", epochs=1)
    train(root, tmp_path / "whole", **fields)
    trainer = Trainer(config(**fields), root, tmp_path / "cut", progress=False)
    epochs, one = [], trainer._one_epoch

    def stop(*args):
        if len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(None)
        return one(*args)

    trainer._one_epoch = stop
    with pytest.raises(KeyboardInterrupt):
        trainer.go()
    train(root, tmp_path / "cut", **fields)
    both = [torch.load(tmp_path / name / "run" / "final.pt", weights_only=True) for name in ("whole", "cut")]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load(tmp_path / "nowhere")


def test_a_run_knows_what_it_was_made_from(root, tmp_path):
    fields = {"method": "horq", "options": {"order": 1}, "epochs": 2, "init": "start", "teacher": "start"}
    train(root, tmp_path, "start", epochs=1)
    train(root, tmp_path, "done", **fields)
    assert is_current(config("done", **fields), tmp_path)
    trainer = Trainer(config("cut", **fields), root, tmp_path, progress=False)
    trainer._finish = lambda: None  # leaves the checkpoint
    trainer.go()
    shutil.rmtree(tmp_path / "start")
    assert is_current(config("done", **fields), tmp_path)
    train(root, tmp_path, "start", epochs=1, seed=2)
    with pytest.raises(ConfigError, match="done was made from another training of start; remove it"):
        is_current(config("done", **fields), tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint.pt started from another training of start; remove the folder"):
        train(root, tmp_path, "cut", **fields)


def test_one_process_trains_a_run(root, tmp_path):
    with locked(tmp_path / "run"), pytest.raises(ConfigError, match=r"another process trains .*run"):
        train(root, tmp_path, epochs=1)
    assert not (tmp_path / "run" / "config.json").exists()


def test_binary_weights_do_not_decay():
    def decaying(method):
        net = convert(build("lenet5", 1 / 16), method)
        group = _optimizer(net, config(weight_decay=0.1)).param_groups[0]
        assert group["weight_decay"] == 0.1
        names = {parameter: name for name, parameter in net.named_parameters()}
        return {names[parameter] for parameter in group["params"]}

    assert decaying("horq") == decaying("bwn") == {"conv1.weight", "classifier.weight"}
    assert len(decaying("dqc")) == len(decaying("float")) == 4


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("mnist/t10k-images-idx3-ubyte.gz", gzip.compress(b"abc" * 99)[:20], "t10k-images.* is damaged"),
        ("mnist/t10k-images-idx3-ubyte.gz", b"<html>", "t10k-images.* is damaged or not what its name says"),
        ("cifar-10/data_batch_3.bin.xz", lzma.compress(b"abc" * 99)[:40], "data_batch_3.bin.xz"),
        ("cifar-10/data_batch_3.bin.xz", b"<html>", "data_batch_3.bin.xz is damaged"),
    ],
    # Names of their own: gzip writes the time into the bytes, and two
    # processes of one run must give a test one name.
    ids=["gzip cut short", "no gzip", "xz cut short", "no xz"],
)
def test_a_damaged_file_is_named(root, file, content, words):
    (root / file).write_bytes(content)
    name, part = ("mnist", "test") if file.startswith("mnist") else ("cifar-10", "train")
    with pytest.raises(ValueError, match=words):
        sets.load(name, root, part)


@pytest.mark.parametrize(
    ("method", "options", "layer"),
    [
        ("horq", {"order": 3}, HorqConv2d),
        ("horq", {"order": 1, "scale_mode": "window"}, HorqConv2d),
        ("horq", {"order": 2, "scale_mode": "halving"}, HorqConv2d),
        ("bwn", {}, BinaryWeight),
        ("bwnh", {}, BinaryWeight),
        ("dqc", {"bits": 3}, PowerOfTwo),
        ("sqc", {"bits": 3}, PowerOfTwo),
    ],
)
def test_methods_start_from_a_float_run_and_follow_it(root, tmp_path, method, options, layer):
    fields = {"network": "vgg-small", "data": "cifar-10", "width": 1 / 16, "epochs": 1}
    train(root, tmp_path, "float", **fields)
    more = {"method": method, "options": options, "init": "float", "teacher": "float", "hash_images": 20}
    result = train(root, tmp_path, "own", **fields, **more)
    net, _ = load(tmp_path / "own")
    assert any(isinstance(module, layer) for module in net.modules())
    assert ("hash_errors" in result) == (method == "bwnh")
    json.dumps(result)


def test_a_dial_run_starts_the_run_of_one_order(root, tmp_path):
    fields = {"method": "horq", "options": {"order": 3, "skip": ["classifier"]}, "epochs": 1}
    train(root, tmp_path, "dial", **fields, dial=True)
    fields["options"] = {"order": 1, "skip": ["classifier"]}
    result = train(root, tmp_path, "one", **fields, init="dial")
    assert list(result["accuracy"]) == ["1"]
    with pytest.raises(ValueError, match="init one is mlp of width"):
        train(root, tmp_path, "wide", **fields, init="one", width=1 / 8)
    with pytest.raises(ValueError, match=r"other \(dqc\) starts from a run of float or its own method, not horq"):
        train(root, tmp_path, "other", method="dqc", epochs=1, init="one")
    with pytest.raises(ValueError, match=r"other \(bwnh\) starts from a run of float or its own method, not horq"):
        train(root, tmp_path, "other", method="bwnh", epochs=1, init="one")


def test_halving_scales_start_from_data_or_from_scales_that_mean_the_same(root, tmp_path):
    fields = {"method": "horq", "network": "vgg-small", "data": "cifar-10", "width": 1 / 16}

    def options(order, mode="halving", own=True):
        return {"options": {"order": order, "scale_mode": mode} | ({"own_scales": True} if own else {})}

    def started(name, given, **more):
        trainer = Trainer(config(name, **fields, **more, init=given), root, tmp_path, progress=False)
        trainer._initialize()
        return [layer.scales.detach() for layer in horq_layers(trainer.net)]

    def untrained(**more):
        return [layer.scales.detach() for layer in horq_layers(made(config("x", **fields, **more)))]

    train(root, tmp_path, "dial", **fields, **options(3), dial=True, epochs=1)
    trained = [layer.scales.detach() for layer in horq_layers(load(tmp_path / "dial")[0])]
    for one, other in zip(started("two", "dial", **options(2)), trained, strict=True):
        assert torch.equal(one, other[:2])
    fresh = started("one", "dial", **options(3, own=False))
    for one, other, first in zip(fresh, trained, untrained(**options(3, own=False)), strict=True):
        assert one.shape == (1,)
        assert one not in (other[0], first)
        assert 0.3 < one < 3
    constants = started("constants", "dial", **options(2, "fixed", own=False))
    assert all(map(torch.equal, constants, untrained(**options(2, "fixed", own=False))))


def test_binary_activations_start_from_binary_weights(root, tmp_path):
    kept = {"skip": ["classifier"]}
    train(root, tmp_path, "weights", method="bwn", options=kept, epochs=1)
    source, _ = load(tmp_path / "weights")
    fields = {"method": "horq", "options": {"order": 2, **kept}, "init": "weights"}
    trainer = Trainer(config(**fields), root, tmp_path, progress=False)
    trainer._initialize()
    binary = [layer for layer in source.modules() if isinstance(layer, BinaryWeight)]
    quantized = [layer for layer in trainer.net.modules() if isinstance(layer, HorqLinear)]
    assert len(binary) == len(quantized) == 3
    assert all(torch.equal(a.layer.weight, b.weight) for a, b in zip(binary, quantized, strict=True))
    norms = [[norm.weight for norm in net.modules() if hasattr(norm, "running_var")] for net in (source, trainer.net)]
    assert all(torch.equal(a, b) for a, b in zip(*norms, strict=True))
    with pytest.raises(ValueError, match=r"other \(dqc\) starts from a run of float or its own method, not bwn"):
        train(root, tmp_path, "other", method="dqc", init="weights")


@pytest.mark.parametrize("method", ["bwn", "xnor", "bnn"])
def test_binary_weights_start_from_those_of_a_dial(root, tmp_path, method):
    kept = {"skip": ["classifier"]}
    fields = {"method": "horq", "options": {"order": 3, **kept}, "dial": True, "own_norms": True, "settle": 0.0}
    train(root, tmp_path, "dial", **fields, epochs=1)
    source, _ = load(tmp_path / "dial")
    trainer = Trainer(config(method=method, options=kept, init="dial"), root, tmp_path, progress=False)
    trainer._initialize()
    weights = [layer.weight for layer in source.modules() if isinstance(layer, HorqLinear)]
    own = [
        getattr(layer, "layer", layer)
        for layer in trainer.net.modules()
        if isinstance(layer, BinaryWeight | HorqLinear)
    ]
    assert len(own) == len(weights) == 3
    assert all(torch.equal(a.weight, b) for a, b in zip(own, weights, strict=True))
    highest = [norm.norms[2] for norm in source.modules() if isinstance(norm, SwitchableBatchNorm)]
    norms = [norm for norm in trainer.net.modules() if hasattr(norm, "running_var")]
    assert len(norms) == len(highest) > 0
    for a, b in zip(norms, highest, strict=True):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize("own", [True, False])
def test_what_stands_before_binary_layers_goes_along(root, tmp_path, own):
    fields = {"network": "convnet", "width": 1 / 4, "method": "horq", "options": {"order": 2}, "dial": True}
    train(root, tmp_path, "dial", **fields, own_norms=own, settle=0.0, epochs=1)
    source = load(tmp_path / "dial")[0].state_dict()
    name = "blocks.1.0.before.norms.1.running_mean" if own else "blocks.1.0.before.running_mean"
    for method, taken in (("xnor", True), ("horq", True), ("bwn", False)):
        given = config(network="convnet", width=1 / 4, method=method, init="dial")
        trainer = Trainer(given, root, tmp_path, progress=False)
        trainer._initialize()
        state = trainer.net.state_dict()
        assert ("blocks.1.0.before.running_mean" in state) == taken
        assert not taken or torch.equal(state["blocks.1.0.before.running_mean"], source[name])


def test_orders_are_drawn_as_often_as_told(root, tmp_path):
    fields = {"method": "horq", "options": {"order": 3}, "dial": True}
    told = Trainer(config(**fields, draws=(3.0, 1.0, 2.0)), root, tmp_path, progress=False)
    evenly = Trainer(config(**fields), root, tmp_path, progress=False)
    for trainer, shares in ((told, (1 / 2, 1 / 6, 1 / 3)), (evenly, (1 / 3, 1 / 3, 1 / 3))):
        drawn = torch.tensor([trainer._drawn(3) for _ in range(3000)])
        for index, share in enumerate(shares):
            assert abs((drawn == index).float().mean().item() - share) < 0.05  # five standard errors


def test_the_fused_network_learns_as_the_plain_one(root, tmp_path):
    fields = {"method": "horq", "options": {"order": 2}, "network": "lenet5", "width": 1 / 4, "epochs": 1}
    plain = train(root, tmp_path, "plain", **fields)
    fused = train(root, tmp_path, "fused", **fields, compile=True)
    assert fused["accuracy"].keys() == plain["accuracy"].keys()
    losses = [float((tmp_path / n / "log.csv").read_text().splitlines()[1].split(",")[1]) for n in ("plain", "fused")]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_every_order_may_have_batch_norms_of_its_own(root, tmp_path):
    fields = {"method": "horq", "options": {"order": 2}, "dial": True, "settle": 0.0}
    train(root, tmp_path, "shared", **fields)
    own = Trainer(config("own", **fields, own_norms=True, init="shared"), root, tmp_path, progress=False)
    own._initialize()
    shared = load(tmp_path / "shared")[0]
    for order in (1, 2):  # both start as the one that they shared
        assert torch.equal(own.net.blocks[0][2].norms[order - 1].running_mean, shared.blocks[0][2].running_mean)
    result = own.go()
    net, told = load(tmp_path / "own")
    assert told.own_norms
    assert set(result["accuracy"]) == {"1", "2"}
    first, second = net.blocks[1][2].norms
    assert not torch.equal(first.weight, second.weight)
    assert not torch.equal(first.running_mean, second.running_mean)

    def started(init, **changed):
        given = config("next", **{**fields, "init": init, **changed})
        trainer = Trainer(given, root, tmp_path, progress=False)
        trainer._initialize()
        return trainer.net.blocks[1][2]

    assert torch.equal(started("own", own_norms=True).norms[0].weight, first.weight)
    more = started("own", own_norms=True, options={"order": 4}).norms  # of a higher order than the network had
    assert [torch.equal(norm.weight, second.weight) for norm in more] == [False, True, True, True]
    assert torch.equal(started("own", options={"order": 1}, dial=False).weight, first.weight)
    assert torch.equal(started("own", options={"order": 3}).weight, second.weight)
    train(root, tmp_path, "third", **{**fields, "options": {"order": 3}}, own_norms=True, init="own")
    assert len(started("third", own_norms=True).norms) == 2


def test_a_checkpoint_that_lacks_a_new_field_is_gone_on_from(root, tmp_path):
    trainer = Trainer(config(epochs=2), root, tmp_path, progress=False)
    trainer.folder.mkdir()
    state = trainer._state(_optimizer(trainer.net, trainer.config))
    state["notes"] = {"sources": {}}
    del state["config"]["own_norms"]
    torch.save(state, trainer.folder / "checkpoint.pt")
    assert trainer.go()["epochs"] == 2
    del state["config"]["lr"]  # a default, but not what this run has
    torch.save(state, trainer.folder / "checkpoint.pt")
    with pytest.raises(ValueError, match="belongs to other settings"):
        Trainer(config(epochs=2, lr=0.5), root, tmp_path, progress=False).go()
