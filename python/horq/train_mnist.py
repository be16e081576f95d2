"""Trains one network of the MNIST table: python -m horq.train_mnist --net lenet5 --order 2 --epochs 20.

Writes OUT/NAME.pt (arguments, parameters after `finish`, figures) and OUT/NAME.log. Every choice is judged on the
5,000 training images held out; the test images are read only by `horq.compare_mnist`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import mnist
from .nn import clip_weights_, set_order

DIAL = 4
"""The highest order of a network trained with ``--order any``."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=["lenet5", "mlp"], required=True)
    parser.add_argument("--order", required=True, help="0 (float), 1 to 8, or any: 1 to 4, drawn anew each step")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3, help="of Adam; falls to 0 along a cosine")
    parser.add_argument("--scale-mode", choices=["window", "image", "fixed", "none"], default="fixed")
    parser.add_argument("--gradient", choices=["clip", "per-order", "recursion"], default="clip")
    parser.add_argument("--smoothing", type=float, default=0.05, help="of the labels")
    parser.add_argument("--augment", type=float, default=1.0, help="strength; 0 for none")
    parser.add_argument("--teacher", type=Path, help="a float .pt of either net; half of the loss follows its logits")
    parser.add_argument("--init", type=Path, help="a .pt of the same net to start from")
    parser.add_argument("--subset", type=int, help="train on that many images only (trials)")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16", help="of products while training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", help="folder of the gzipped IDX files; default $HORQ_DATA/mnist")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--name", help="of the files written; default NET-ORDER")
    return parser.parse_args()


@torch.no_grad()
def accuracy(net: nn.Module, kind: str, images: Tensor, labels: Tensor, unit: float, batch: int = 500) -> float:
    """The share of images (uint8, divided by `unit`) that `net` in eval mode labels rightly."""
    net.eval()
    hits = 0
    for at in range(0, len(labels), batch):
        pixels = mnist.shaped(kind, images[at : at + batch].float() / unit)
        hits += int((net(pixels).argmax(1) == labels[at : at + batch]).sum())
    return hits / len(labels)


def norms(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The batch norms of `net`."""
    return [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def recalibrate(net: nn.Module, kind: str, images: Tensor, orders: list[int], unit: float) -> None:
    """Takes the running statistics of every batch norm anew, in f32, averaged over batches and orders."""
    net.eval()
    for norm in norms(net):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for at in range(0, len(images), 500):
        for order in orders:
            if order:
                set_order(net, order)
            net(mnist.shaped(kind, images[at : at + 500] / unit))
    for norm in norms(net):
        norm.momentum = 0.1


def load_teacher(path: Path) -> tuple[nn.Module, str]:
    """A finished float network, for pixels of 0 to 255, and which it is."""
    saved = torch.load(path, weights_only=True)
    kind = saved["arguments"]["net"]
    if saved["arguments"]["order"] != "0":
        raise SystemExit(f"--teacher {path} is no float network")
    teacher = mnist.build(kind, 0)
    teacher.load_state_dict(saved["parameters"])
    return teacher.eval().to(memory_format=torch.channels_last), kind


def initialize(net: nn.Module, path: Path, kind: str) -> None:
    """Starts `net` from a finished network, whose first layer is brought back to the unit of training."""
    state = torch.load(path, weights_only=True)["parameters"]
    first = "conv1.weight" if kind == "lenet5" else "pixels.scale"
    state[first] = state[first] * mnist.PIXEL
    for name, value in net.state_dict().items():
        if name.endswith(".scales"):
            state[name] = state[name][: len(value)] if name in state else value
    net.load_state_dict(state)


def main() -> None:
    """Trains, finishes and saves."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    folder = mnist.data_folder(args.data)
    images, labels = mnist.load(folder, "train")
    images, labels = images[: args.subset], labels[: args.subset]
    held_images, held_labels = mnist.load(folder, "held-out")
    dial = args.order == "any"
    highest = DIAL if dial else int(args.order)
    net = mnist.build(args.net, highest, args.scale_mode, args.gradient).to(memory_format=torch.channels_last)
    if args.init:
        initialize(net, args.init, args.net)
    teacher, taught_by = load_teacher(args.teacher) if args.teacher else (None, args.net)
    optimizer = torch.optim.Adam(net.parameters(), args.lr, fused=True)
    per_epoch = len(labels) // args.batch
    steps = per_epoch * args.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    name = args.name or f"{args.net}-{args.order}"
    args.out.mkdir(parents=True, exist_ok=True)
    log = (args.out / f"{name}.log").open("w", buffering=1)
    frozen_from = math.ceil(args.epochs * 0.7) if dial else args.epochs
    started, history = time.time(), []

    def augmented(kept: Tensor) -> Tensor:
        pixels = images[kept].float()
        pixels = mnist.augment(pixels, args.augment, generator) if args.augment else pixels
        return pixels.to(memory_format=torch.channels_last)

    for epoch in range(args.epochs):
        if epoch == frozen_from:
            kept = torch.randperm(len(labels), generator=generator)[:4000]
            recalibrate(net, args.net, augmented(kept), list(range(1, DIAL + 1)), mnist.PIXEL)
        net.train()
        if epoch >= frozen_from:  # all orders share one set of statistics, so the last epochs train on those
            for norm in norms(net):
                norm.eval()
        total, shuffled = 0.0, torch.randperm(len(labels), generator=generator)
        for at in range(0, per_epoch * args.batch, args.batch):
            kept = shuffled[at : at + args.batch]
            pixels = augmented(kept)
            if dial:
                set_order(net, int(torch.randint(1, DIAL + 1, (1,), generator=generator)))
            with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
                logits = net(mnist.shaped(args.net, pixels / mnist.PIXEL)).float()
                if teacher is not None:
                    with torch.no_grad():
                        target = teacher(mnist.shaped(taught_by, pixels)).float()
            loss = F.cross_entropy(logits, labels[kept], label_smoothing=args.smoothing)
            if teacher is not None:
                followed = F.kl_div(
                    F.log_softmax(logits / 2, 1), F.log_softmax(target / 2, 1), reduction="batchmean", log_target=True
                )
                loss = 0.5 * loss + 0.5 * 4 * followed
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            clip_weights_(net)
            total += loss.item()
        shown = {}
        for order in range(1, DIAL + 1) if dial else [highest]:
            if order:
                set_order(net, order)
            shown[order] = accuracy(net, args.net, held_images, held_labels, mnist.PIXEL)
        history.append(shown)
        line = f"epoch {epoch + 1}: loss {total / per_epoch:.4f}, held out " + ", ".join(
            f"order {order} {100 * value:.2f} %" for order, value in shown.items()
        )
        line += f", {time.time() - started:.0f} s"
        print(line, flush=True)
        print(line, file=log)

    net.finish()
    if not dial:
        kept = torch.randperm(len(labels), generator=generator)[:10000]
        recalibrate(net, args.net, augmented(kept), [highest], 1.0)
    figures = {}
    for order in range(1, DIAL + 1) if dial else [highest]:
        if order:
            set_order(net, order)
        figures[str(order)] = accuracy(net, args.net, held_images, held_labels, 1.0)
    line = f"finished: held out {json.dumps(figures)}, {time.time() - started:.0f} s"
    print(line, flush=True)
    print(line, file=log)
    saved = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    saved.pop("data")
    torch.save(
        {
            "arguments": saved,
            "parameters": net.state_dict(),
            "held_out": figures,
            "seconds": time.time() - started,
        },
        args.out / f"{name}.pt",
    )


if __name__ == "__main__":
    main()
