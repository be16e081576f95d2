"""The tables of docs/results.md: what stands in them, and their Markdown from the figures of finished runs."""

from __future__ import annotations

import dataclasses
import fnmatch
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from horq.train import Config, ConfigError, read, runs

from .energy import energy
from .evaluate import evaluation
from .int8 import evaluation8
from .latency import latency, timed_on
from .papers import reported

RECIPES = Path(__file__).parents[1] / "recipes"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Table:
    """One table: the recipe that its runs come from and what it shows of them."""

    name: str
    recipe: str
    """The recipe's file."""
    kind: str = "runs"
    runs: tuple[str, ...] = ("*",)
    dial: str = ""
    own: str = ""
    run: str = ""
    base: str = ""


def tables() -> dict[str, Table]:
    """All tables by name: one for each recipe in `RECIPES`, and those of tables.toml."""
    found = {file.stem: Table(file.stem, str(file)) for file in sorted(RECIPES.glob("*.toml"))}
    further = tomllib.loads((Path(__file__).parent / "tables.toml").read_text())
    for name, fields in further.items():
        recipe = str(RECIPES / f"{fields['recipe']}.toml")
        found[name] = Table(name, **{**fields, "recipe": recipe, "runs": tuple(fields.get("runs", ("*",)))})
    return found


def find(name: str) -> Table:
    """The table of that name, or the one of the recipe in the file `name`.

    Raises `ConfigError` if there is neither.
    """
    known = tables()
    if name in known:
        return known[name]
    if name.endswith(".toml") and Path(name).is_file():
        return Table(Path(name).stem, name)
    raise ConfigError(f"there is no table {name!r}; there are {', '.join(known)}, and any recipe's file")


def wanted(table: Table) -> dict[str, Config]:
    """The runs that a table shows, by name."""
    configs = read(table.recipe)
    if table.kind == "energy":
        names = [table.run]
    elif table.kind == "dial":
        needed = configs[table.dial].orders if table.dial in configs else []
        names = [table.dial, *(table.own.format(order=order) for order in needed)]
    elif table.kind == "trials":
        names = [table.base, *configs]
    else:
        return {n: c for n, c in configs.items() if any(fnmatch.fnmatch(n, pattern) for pattern in table.runs)}
    missing = [name for name in names if name not in configs]
    if missing:
        raise ConfigError(f"table {table.name} needs runs that recipe {table.recipe} has not: {', '.join(missing)}")
    return {name: config for name, config in configs.items() if first_seed(config, configs) in names}


def first_seed(config: Config, configs: Mapping[str, Config]) -> str:
    """The name of the run that `config` repeats with another seed, or its own."""
    base = config.name.removesuffix(f"-seed{config.seed}")
    return base if base in configs else config.name


def label(config: Config, bits: bool = True) -> str:
    """What a row calls a run: its method and the options that it was given, with or without its bits."""
    options = {key: value for key, value in config.options.items() if key not in ("order", "skip")}
    words = [{"float": "float", "xnor": "XNOR-Net"}.get(config.method, config.method.upper())]
    if config.dial:
        words.append(f"one file for orders 1 to {config.order}")
        words += ["batch norms of their own"] * config.own_norms
    width = options.pop("bits", None)
    if width is not None and bits:
        words.append(f"{width} bits")
    if "zero" in options:
        words.append("with zero" if options.pop("zero") else "without zero")
    words += [f"{key.replace('_', ' ')} {str(value).lower()}" for key, value in options.items()]
    return ", ".join(words)


def network(config: Config) -> str:
    """What a row calls a run's network: its name, and its width if that is not 1."""
    return config.network if config.width == 1 else f"{config.network} x {config.width:g}"


def stages(config: Config, known: Mapping[str, Config]) -> list[Config]:
    """The quantized runs that a run goes on from, the first of them first, and the run itself."""
    before = known.get(config.init or "")
    return [*(stages(before, known) if before is not None and before.method != "float" else []), config]


def epochs(config: Config, known: Mapping[str, Config]) -> str:
    """How long a run was trained: ``15 + 6`` if it goes on from a quantized run of 15 epochs."""
    return " + ".join(str(stage.epochs) for stage in stages(config, known))


@dataclass(frozen=True)
class Row:
    """A network at an order, over its seeds."""

    config: Config
    """The run of the first seed."""
    order: int
    seeds: int
    """The number of seeds in the recipe."""
    evaluations: list[dict[str, Any]]
    """The evaluations of the seeds that are finished and evaluated."""
    latency: dict[str, Any] | None
    """The content of `latency.json` of the first seed that has one."""
    finished: int
    held_out: list[float]
    """Accuracy on held-out training images in percent, of each finished seed; empty where none are held out."""
    int8: bool = False
    """Whether it is the 8-bit form of a float run."""

    def label(self, bits: bool = True) -> str:
        """The name of the row."""
        return "8 bits, not trained" if self.int8 else label(self.config, bits)

    def figures(self) -> list[dict[str, Any]]:
        """The figures of each evaluated seed at this order."""
        return [found["orders"][str(self.order)] for found in self.evaluations]

    def accuracies(self) -> list[float]:
        """The engine's accuracy in percent, of each evaluated seed."""
        return [100 * found["accuracy"] for found in self.figures()]

    def seconds(self) -> dict[str, float] | None:
        """The latency at this order: p10, p50, p90."""
        return None if self.latency is None else self.latency["orders"].get("int8" if self.int8 else str(self.order))


def rows(configs: Mapping[str, Config], out: Path) -> list[Row]:
    """A row for each network and order of those runs, in their order, with what the folders in `out` hold."""
    groups: dict[str, list[Config]] = {}
    for config in configs.values():
        groups.setdefault(first_seed(config, configs), []).append(config)
    found = []
    for group in groups.values():
        done = [config for config in group if is_current(config, out)]
        evaluations = [figures for config in done if (figures := evaluation(out / config.name)) is not None]
        times = [figures for config in done if (figures := latency(out / config.name)) is not None]
        for order in group[0].orders:
            time = times[0] if times else None
            held = [_held_out(out / config.name, order) for config in done if config.held_out]
            found.append(Row(group[0], order, len(group), evaluations, time, len(done), held))
        if group[0].method == "float":
            bytes8 = [figures for config in done if (figures := evaluation8(out / config.name)) is not None]
            whole = {"float_bytes": evaluations[0]["float_bytes"]} if evaluations else {}
            if bytes8 and whole:
                eights = [{**figures, **whole} for figures in bytes8]
                found.append(
                    Row(group[0], 0, len(group), eights, times[0] if times else None, len(done), [], int8=True)
                )
    return found


def _held_out(folder: Path, order: int) -> float:
    return 100 * runs.result(folder)["accuracy"][str(order)]


def is_current(config: Config, out: Path) -> bool:
    """Whether the run is finished, its network there or only its figures.

    Raises `ConfigError` if it was trained with other settings than these, or from a network that was since replaced.
    """
    folder = out / config.name
    if not runs.has_figures(folder):
        return False
    if runs.load_config(folder) != config:
        raise ConfigError(f"{folder} was trained with other settings than its recipe has; remove it to train anew")
    result = runs.result(folder)
    if "restored" in result:
        return True  # what its model was made from is not known
    known = result["sources"]
    for name, digest in runs.sources(config, out).items():
        if known.get(name) != digest:
            raise ConfigError(f"{folder} was made from another training of {name}; remove it to train anew")
    return True


def markdown(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    cells = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean, and from where to where if there are several."""
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def same_predictions(found: Sequence[Mapping[str, Any]]) -> str:
    """On how many images the engine predicts what PyTorch does, over all seeds."""
    total = {key: sum(entry["torch"][key] for entry in found) for key in ("images", "equal", "ties", "different")}
    if total["equal"] == total["images"]:
        return f"all {total['images']:,}"
    ties = f", {total['ties']} tied" if total["ties"] else ""
    return f"{total['equal']:,} of {total['images']:,}{ties}"


def micro(seconds: Mapping[str, float]) -> str:
    """A latency: p50 (p10 to p90) in microseconds."""
    digits = 0 if seconds["p50"] >= 1e-4 else 1
    low, middle, high = (f"{1e6 * seconds[key]:.{digits}f}" for key in ("p10", "p50", "p90"))
    return f"{middle} ({low} to {high})"


def run_table(entries: Sequence[Row], known: Mapping[str, Config]) -> str:
    """The table of accuracy, agreement, size and latency, and what it was measured on.

    `known` are all runs of the recipe, those that rows start from among them.
    """
    several = len({(row.config.network, row.config.width, row.config.data) for row in entries}) > 1
    papers = ["" if row.int8 else reported(row.config, row.order) for row in entries]
    held = any(row.config.held_out for row in entries)
    header = ["network"] * several + ["method", "order", "seeds", "epochs"]
    header += (
        ["held out, %"] * held
        + ["accuracy, %"]
        + ["in the paper, %"] * any(papers)
        + ["predicts as PyTorch", "logits within", "bytes", "f32 is", "us"]
    )
    lines = []
    for row, paper in zip(entries, papers, strict=True):
        config, found, time = row.config, row.figures(), row.seconds()
        seeds = str(row.seeds) if len(found) == row.seeds else f"{len(found)} of {row.seeds}"
        line = [network(config)] * several + [row.label(), row.order or "", seeds]
        line += [epochs(config, known)]
        line += [spread(row.held_out) if row.held_out else ""] * held
        line += [spread(row.accuracies()) if found else "not evaluated" if row.finished else NOT_RUN]
        line += [paper] * any(papers)
        if found:
            size, whole = (row.evaluations[0][key] for key in ("bytes", "float_bytes"))
            within = max(entry["torch"]["largest_difference"] for entry in found)
            line += [same_predictions(found), f"{within:.1e}", f"{size:,}", f"{whole / size:.1f} x"]
        else:
            line += [""] * 4
        lines.append([*line, "" if time is None else micro(time)])
    machines = dict.fromkeys(timed_on(row.latency) for row in entries if row.latency is not None)
    return markdown(header, lines) + "".join(
        f"\n\nLatency (us): one image, one thread, median (p10 to p90) on {machine}." for machine in machines
    )


def dial_table(table: Table, entries: Sequence[Row]) -> str:
    """One file at every order beside the runs made for one order alone."""
    lines = []
    alone = {row.config.name: row for row in entries if row.config.name != table.dial}
    for row in (row for row in entries if row.config.name == table.dial):
        own = alone[table.own.format(order=row.order)]
        ours, theirs = row.accuracies(), own.accuracies()
        cells = [spread(values) if values else NOT_RUN for values in (theirs, ours)]
        loss = f"{sum(ours) / len(ours) - sum(theirs) / len(theirs):+.2f}" if ours and theirs else ""
        lines.append([row.order, *cells, loss])
    return markdown(["order", "made for that order, %", "one file, %", "difference, points"], lines)


def difference(config: Config, base: Config, configs: Mapping[str, Config]) -> str:
    """The fields where a run differs from `base`, as ``field value, field value``; a float run only has its network.

    Runs that are named as init or teacher count as equal if both are float: of its own network each.
    """
    if config.method == "float" != base.method:
        return f"float, {config.network}"

    def shown(field: str, value: Any) -> Any:
        if field not in ("init", "teacher"):
            return value
        return "none" if value is None else "float" if configs[value].method == "float" else value

    words = []
    for field in (field.name for field in dataclasses.fields(Config)):
        ours, theirs = (shown(field, getattr(each, field)) for each in (config, base))
        if field == "options":
            words += [f"{key} {value}" for key, value in ours.items() if theirs.get(key) != value]
        elif field != "name" and ours != theirs:
            words.append(f"{field} {ours:g}" if isinstance(ours, float) else f"{field} {ours}")
    return ", ".join(words) or "the base"


def trials_table(table: Table, configs: Mapping[str, Config], out: Path) -> str:
    """Runs that differ from one of them in a field or two, by what they reach on held-out images."""
    base, lines = configs[table.base], []
    reached: dict[str, list[float]] = {}
    for config in configs.values():
        seeds = reached.setdefault(first_seed(config, configs), [])
        if is_current(config, out):
            seeds.append(_held_out(out / config.name, config.order))
    for name, found in reached.items():
        config = configs[name]
        alike = name != base.name and (config.method, config.order) == (base.method, base.order)
        compared = alike and found and reached[base.name]
        points = f"{fmean(found) - fmean(reached[base.name]):+.2f}" if compared else ""
        held = spread(found) if found else NOT_RUN
        lines.append([difference(config, base, configs), config.order or "", epochs(config, configs), held, points])
    return markdown(["run", "order", "epochs", "held out, %", "points"], lines)


def energy_table(figures: Mapping[str, Any]) -> str:
    """What each order leaves in each binary layer, beside a normally distributed value."""
    whole = len(figures["gaussian"])
    header = ["layer", "scales", *(f"order {k}" for k in range(1, whole + 1))]
    lines: list[list[object]] = [["normal distribution", "means", *(f"{share:.3f}" for share in figures["gaussian"])]]
    for name, layer in figures["layers"].items():
        kinds = [("means", "means over a sample"), ("own", f"its own ({layer['scale_mode']})")]
        for key, kind in kinds:
            shares = [f"{share:.3f}" for share in layer[key]]
            lines.append([name, kind, *shares, *[""] * (whole - len(shares))])
    return markdown(header, lines)


def render(table: Table, out: Path) -> str:
    """The table in Markdown from what the folders of runs in `out` hold; what was not run is called so."""
    configs = wanted(table)
    if table.kind == "energy":
        found = energy(out / table.run) if is_current(configs[table.run], out) else None
        return f"The layers of `{table.run}`: {NOT_RUN}." if found is None else energy_table(found)
    if table.kind == "trials":
        return trials_table(table, configs, out)
    entries = rows(configs, out)
    return dial_table(table, entries) if table.kind == "dial" else run_table(entries, read(table.recipe))
