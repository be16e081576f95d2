"""Pictures of a table's runs: accuracy by order, against latency and size; training curves; residual energy by order.

matplotlib is asked for only here. Pictures are SVG with text as text, without dates, so that the same figures give the
same file.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from horq.train import Config, read

from .energy import energy
from .tables import Row, Table, first_seed, network, rows, stages, wanted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
"""Okabe and Ito's, which colour-blind readers tell apart, and two more; float networks are black."""
MARKS = "osD^vP*X"


@dataclass
class Series:
    """What is drawn in one colour: rows of one network that differ in order, or in bits."""

    name: str
    rows: list[Row] = field(default_factory=list)

    @property
    def ordered(self) -> bool:
        """Whether it has orders."""
        return self.rows[0].order > 0


def _series(entries: Sequence[Row]) -> list[Series]:
    """The evaluated rows in series, in their order; what two runs would both be called gives way to their names."""
    shown = [row for row in entries if row.evaluations]
    often = Counter((row.label(), row.order) for row in shown)
    shared = {row.label(bits=False) for row in shown if often[row.label(), row.order] > 1}
    found: dict[str, Series] = {}
    for row in shown:
        label = row.label(bits=False)
        name = row.config.name if label in shared else label
        found.setdefault(name, Series(name)).rows.append(row)
    return list(found.values())


def _tag(row: Row) -> str:
    """What tells a point from the others of its series: the order or the bits."""
    if row.order:
        return str(row.order)
    return f"{row.config.options['bits']} bits" if "bits" in row.config.options else ""


def _colours(series: Sequence[Series]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each series."""
    others = [entry.name for entry in series if entry.name != "float"]
    found = {name: (COLOURS[at % len(COLOURS)], MARKS[at % len(MARKS)]) for at, name in enumerate(others)}
    return {"float": ("black", "s"), **found}


# ---- one panel each


def _by_order(axes: Axes, series: Sequence[Series]) -> None:
    for entry in series:
        colour, mark = _colours(series)[entry.name]
        if entry.ordered:
            means = [fmean(row.accuracies()) for row in entry.rows]
            below = [mean - min(row.accuracies()) for mean, row in zip(means, entry.rows, strict=True)]
            above = [max(row.accuracies()) - mean for mean, row in zip(means, entry.rows, strict=True)]
            style: Any = {"marker": mark, "color": colour, "markersize": 5, "capsize": 3, "linewidth": 1.4}
            axes.errorbar([row.order for row in entry.rows], means, [below, above], label=entry.name, **style)
        else:
            dashes = ["-", "--", "-.", ":"]
            for row, dash in zip(entry.rows, dashes, strict=False):
                name = row.label()
                axes.axhline(fmean(row.accuracies()), color=colour, linestyle=dash, linewidth=1.1, label=name)
    axes.set_xlabel("order of the activations")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _against(measure: Callable[[Row], float | None]) -> Callable[[Axes, Sequence[Series]], None]:
    """A panel of accuracy against what `measure` says of a row, on a logarithmic axis."""

    def draw(axes: Axes, series: Sequence[Series]) -> None:
        for entry in series:
            colour, mark = _colours(series)[entry.name]
            points = [(x, fmean(row.accuracies()), _tag(row)) for row in entry.rows if (x := measure(row)) is not None]
            if not points:
                continue
            line = "-" if len(points) > 1 else ""
            xs, ys = [point[0] for point in points], [point[1] for point in points]
            axes.plot(xs, ys, marker=mark, color=colour, linestyle=line, markersize=5, linewidth=1, label=entry.name)
            for x, y, tag in points:
                axes.annotate(tag, (x, y), (4, 4), textcoords="offset points", fontsize=7, color=colour)
        axes.set_xscale("log")
        axes.margins(0.12)
        _plain_ticks(axes.xaxis, lambda value: f"{value:,.10g}")

    return draw


def _plain_ticks(axis: Axis, shown: Callable[[float], str]) -> None:
    """Values as `shown` writes them rather than powers of ten on a logarithmic axis, also between decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axis.set_minor_formatter(NullFormatter())


# ---- pictures


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError("pictures need matplotlib: pip install matplotlib") from error
    matplotlib.use("svg")
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "horq",
            "font.family": "sans-serif",
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "legend.fontsize": 7,
            "figure.facecolor": "white",
        }
    ):
        yield


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """A figure of that many panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8 * count, 3.8), layout="constrained")
    figure.suptitle(title, fontsize=9)
    return figure, [figure.add_subplot(1, count, at + 1) for at in range(count)]


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


def _accuracies(
    title: str, entries: Sequence[Row], draw: Callable[[Axes, Sequence[Series]], None], below: str
) -> Figure:
    """A panel a network, accuracy upwards."""
    by_network: dict[str, list[Row]] = {}
    for row in entries:
        by_network.setdefault(network(row.config), []).append(row)
    networks = {name: series for name, own in by_network.items() if (series := _series(own))}
    figure, panels = _panels(len(networks), title)
    for axes, (name, series) in zip(panels, networks.items(), strict=True):
        draw(axes, series)
        axes.set_title(name, fontsize=8)
        axes.set_ylabel("test accuracy, %")
        if below:
            axes.set_xlabel(below)
        _legend(axes)
    return figure


def _curves(table: Table, configs: Mapping[str, Config], out: Path) -> Figure | None:
    """Accuracy by epoch of the first seed of each run and of its stages, each from where the one before ends."""
    known = read(table.recipe)
    shown = {stage.name: stage for config in configs.values() for stage in stages(config, known)}
    figure, (axes,) = _panels(1, table.name)
    for at, config in enumerate(c for c in shown.values() if first_seed(c, shown) == c.name):
        log = out / config.name / "log.csv"
        if not log.exists():
            continue
        start = sum(stage.epochs for stage in stages(config, known)[:-1])
        with log.open(newline="") as file:
            points = [(start + int(row["epoch"]), 100 * float(row["accuracy"])) for row in csv.DictReader(file)]
        colour, dash = COLOURS[at % len(COLOURS)], ("-", "--", ":")[at // len(COLOURS) % 3]
        mark = "o" if len(points) == 1 else None  # a single point has no line to be seen by
        axes.plot(*zip(*points, strict=True), dash, color=colour, linewidth=1.2, marker=mark, label=config.name)
    if not axes.lines:
        return None
    axes.set_xlabel("epoch")
    held = {bool(config.held_out) for config in configs.values()}
    axes.set_ylabel(f"accuracy on {'held-out' if held == {True} else 'watched training'} images, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes)
    return figure


def _energies(name: str, figures: Mapping[str, Any]) -> Figure:
    """What each order leaves in each layer, with means over a sample and with the layer's scales."""
    figure, panels = _panels(2, f"{name}: energy left after each order, {figures['images']} test images")
    for axes, (key, kind) in zip(
        panels, (("means", "scales: means over a sample"), ("own", "its own scales")), strict=True
    ):
        orders = range(1, len(figures["gaussian"]) + 1)
        axes.plot(orders, figures["gaussian"], color="black", linewidth=2, label="normal distribution")
        for at, (layer, shares) in enumerate(figures["layers"].items()):
            style = {"color": COLOURS[at % len(COLOURS)], "marker": MARKS[at % len(MARKS)], "markersize": 4}
            axes.plot(range(1, len(shares[key]) + 1), shares[key], linewidth=1, label=layer, **style)
        axes.set_yscale("log")
        axes.set_title(kind, fontsize=8)
        axes.set_xlabel("order")
        axes.set_ylabel("share of the energy left")
        axes.xaxis.get_major_locator().set_params(integer=True)
    top = max(axes.get_ylim()[1] for axes in panels)
    low = min(axes.get_ylim()[0] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, top)
        _plain_ticks(axes.yaxis, lambda share: f"{100 * share:.3g} %")
    _legend(panels[-1])
    return figure


def _pictures(table: Table, out: Path) -> dict[str, Figure | None]:
    """The pictures of a table by the names of their files."""
    configs = wanted(table)
    if table.kind == "energy":
        figures = energy(out / table.run)
        return {f"{table.run}-energy": None if figures is None else _energies(table.run, figures)}
    if table.kind == "trials":
        return {f"{table.name}-training": _curves(table, configs, out)}
    evaluated = [row for row in rows(configs, out) if row.evaluations]
    found: dict[str, Figure | None] = {}
    if any(row.order for row in evaluated):
        found[f"{table.name}-order"] = _accuracies(f"{table.name}: accuracy by order", evaluated, _by_order, "")
    if table.kind == "dial":
        return found
    timed = [row for row in evaluated if row.latency is not None]
    if timed:
        machine = timed[0].latency["cpu"] if timed[0].latency else ""
        below = f"us for one image, one thread\n{machine}"
        title = f"{table.name}: accuracy against latency"
        found[f"{table.name}-latency"] = _accuracies(
            title, timed, _against(lambda row: (seconds := row.seconds()) and 1e6 * seconds["p50"]), below
        )
    if evaluated:
        title = f"{table.name}: accuracy against size"
        found[f"{table.name}-size"] = _accuracies(
            title, evaluated, _against(lambda row: row.evaluations[0]["bytes"] / 1000), "kB of the file"
        )
    return {**found, f"{table.name}-training": _curves(table, configs, out)}


def draw(table: Table, out: Path, to: Path, ending: str = "svg") -> list[Path]:
    """Draws what has been measured of a table's runs into the folder `to` and returns the files.

    NAME-order, NAME-latency, NAME-size and NAME-training for a table of runs, NAME-order for one of the dial,
    NAME-training for one of trials and RUN-energy for one of energies; those of which nothing has been measured are
    left out.

    Raises `ValueError` if matplotlib is missing.
    """
    with _style():
        made = {name: figure for name, figure in _pictures(table, out).items() if figure is not None}
        to.mkdir(parents=True, exist_ok=True)
        for name, figure in made.items():
            figure.savefig(to / f"{name}.{ending}", metadata={"Date": None} if ending == "svg" else None, dpi=110)
    return [to / f"{name}.{ending}" for name in made]
