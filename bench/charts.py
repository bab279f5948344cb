"""The charts, as SVG and PNG, from results.json.

    python -m bench.charts bench/results/results.json

They are written beside it: the chart of 2017, requests per second, redrawn, and the same of what a request
costs; each workload; what a request costs by depth of pipelining, and by number of connections.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from bench.workloads import CONNECTIONS, DEPTHS

OURS: Final = "#c0392b"
FLOOR: Final = "#95a5a6"
OTHERS: Final = "#34668f"
COLOURS: Final = {"floor": FLOOR}
BAR_INCHES: Final = 0.34
WIDTH_INCHES: Final = 9.0
CAPTION_COLUMNS_PER_INCH: Final = 17
Row = Mapping[str, Any]


def main() -> None:
    """The program."""
    try:
        (path,) = map(Path, sys.argv[1:])
        results = json.loads(path.read_text())
    except ValueError as error:
        sys.exit(f"bench.charts: name one results.json, as python -m bench writes it ({error})")
    except OSError as error:
        sys.exit(f"bench.charts: {error.filename} cannot be read: {error.strerror}")
    names = draw(results, path.parent)
    print(f"charts written to {path.parent}, as SVG and PNG: {', '.join(names) or 'none'}")


def draw(results: Mapping[str, Any], directory: Path) -> list[str]:
    """Draw what there are figures for; the names of the files, without .svg and .png."""
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    workloads = {workload["key"]: workload for workload in results["workloads"] if workload["rows"]}
    figures: dict[str, Figure] = {}
    if "hello" in workloads:
        figures["requests-per-second"] = bars(workloads["hello"], results, "requests per second", rate)
        figures["cpu-per-request"] = bars(workloads["hello"], results, "server CPU per request, µs", cost)
    for key, workload in workloads.items():
        figures[f"workload-{key}"] = both(workload, results)
    for name, positions, label in (("depth", DEPTHS, "requests in a write"),
                                   ("connections", CONNECTIONS, "connections, all but 100 of them idle")):
        lines = {position: workloads[key] for position, key in positions.items() if key in workloads}
        if len(lines) > 1:
            figures[name] = curve(lines, results, label)
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        figure.savefig(directory / f"{name}.png", dpi=150, bbox_inches="tight")
    return list(figures)


def rate(workload: Row, row: Row) -> float:
    """Requests per second, or octets where there is one large request."""
    return float(row["requests_per_second"] * (workload["upload_octets"] / 1e9 or 1))


def cost(workload: Row, row: Row) -> float:
    """Microseconds for a request, or seconds for one large request."""
    return float(row["cpu_us"] / (1e6 if workload["upload_octets"] else 1))


def bars(workload: Row, results: Row, label: str, figure_of: Callable[[Row, Row], float]) -> Figure:
    """One panel, the best first."""
    figure = Figure(figsize=(WIDTH_INCHES, _height(workload)), layout="constrained")
    _panel(figure.add_subplot(), workload, label, figure_of)
    _label(figure, workload["about"], results, [workload])
    return figure


def both(workload: Row, results: Row) -> Figure:
    """Throughput, and what it costs, side by side."""
    figure = Figure(figsize=(WIDTH_INCHES + 3, _height(workload)), layout="constrained")
    left, right = figure.subplots(1, 2)
    upload = workload["upload_octets"]
    _panel(left, workload, "GB per second" if upload else "requests per second", rate)
    _panel(right, workload, "server CPU, s" if upload else "server CPU per request, µs", cost)
    _label(figure, workload["about"], results, [workload])
    return figure


def curve(workloads: Mapping[int, Row], results: Row, label: str) -> Figure:
    """What a request costs at each position, a line for each contestant."""
    figure = Figure(figsize=(WIDTH_INCHES, 5.5), layout="constrained")
    axes = figure.add_subplot()
    points: dict[str, list[tuple[int, float]]] = {}
    for position, workload in workloads.items():
        for row in workload["rows"]:
            points.setdefault(row["contestant"], []).append((position, row["cpu_us"]))
    colours = mpl.colormaps["tab20"]
    for number, (key, line) in enumerate(sorted(points.items(), key=lambda entry: entry[1][-1][1])):
        ours = key.startswith("japronto")
        axes.plot(*zip(*line, strict=True), marker="o", linewidth=2.5 if ours else 1.2,
                  color=OURS if key == "japronto_accel" else colours(number), linestyle="-" if ours else "--",
                  label=results["contestants"][key]["name"])
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="server CPU per request, µs")
    axes.set_xticks(list(workloads), [f"{position:,}" for position in workloads])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _label(figure, f"Hello world by {label}", results, list(workloads.values()))
    return figure


def _height(workload: Row) -> float:
    return 1 + BAR_INCHES * len(workload["rows"])


def _panel(axes: Axes, workload: Row, label: str, figure_of: Callable[[Row, Row], float]) -> None:
    values = [(row["name"], row["contestant"], figure_of(workload, row)) for row in workload["rows"]]
    values.sort(key=lambda entry: entry[2], reverse=figure_of is rate)
    drawn = axes.barh([name for name, _, _ in values], [value for _, _, value in values],
                      color=[_colour(key) for _, key, _ in values])
    axes.bar_label(drawn, [_short(value) for _, _, value in values], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_xmargin(0.14)
    if max(value for _, _, value in values) >= 1000:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.spines[["top", "right"]].set_visible(False)


def _colour(key: str) -> str:
    return COLOURS.get(key, OURS if key.startswith("japronto") else OTHERS)


def _short(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _label(figure: Figure, title: str, results: Row, workloads: Sequence[Row]) -> None:
    """The title above; below, on what and how it was measured, and who is missing."""
    machine = results["machine"]
    rounds = min(workload["rounds"] for workload in workloads)
    often = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    measured = f"One processor each; {often} of {results['seconds']} s"
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}"
    lines = [f"{measured}. {place}. {results['date'][:10]}. {results['command']}"]
    reasons = {entry["name"]: entry["reason"] for workload in workloads for entry in workload["missing"]}
    lines += [f"Missing: {name}: {reason}" for name, reason in reasons.items()]
    left_out = results["left_out"]["contestants"]
    lines += [f"Left out: {', '.join(left_out)}"] if left_out else []
    columns = int(figure.get_figwidth() * CAPTION_COLUMNS_PER_INCH)
    text = "\n".join(textwrap.fill(line, columns) for line in lines)
    figure.suptitle(title, fontweight="bold")
    figure.text(0, -0.02, text, va="top", fontsize=7, color="#555555")


if __name__ == "__main__":
    main()
