"""What was found, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.fanout.comparison import Comparison
from benchmarks.fanout.roster import FLOOR, OURS

__all__ = ["canvas", "draw", "scale"]

_GREY: Final = "0.55"


def canvas(panels: int) -> tuple[Any, Any] | None:
    """Return a figure and so many axes; say so and return None if there is nothing to draw with."""
    try:
        import matplotlib
    except ImportError:
        print("\nno picture: that takes matplotlib (pip install 'tornado-sse[bench]')")
        return None
    matplotlib.use("Agg")
    # The same figures make the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "tornado-sse", "font.size": 9, "axes.titlesize": 10})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, panels, figsize=(4.6 * panels, 4.2), layout="constrained")
    for axis in axes:
        axis.grid(True, which="major", color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def scale(axis: Any, *, upright: bool = True) -> None:
    """Make an axis logarithmic, with numbers as people write them; the upright one only if asked for."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for each, steps in ((axis.xaxis, (1,)), (axis.yaxis, (1, 2, 5)))[: 1 + upright]:
        each.axes.set(**{f"{each.axis_name}scale": "log"})
        each.set_major_locator(LogLocator(subs=steps))
        each.set_major_formatter(StrMethodFormatter("{x:,g}"))
        each.set_minor_formatter(NullFormatter())


def draw(comparison: Comparison, path: Path) -> None:
    """Write an SVG: CPU time for each delivery, and latency, over the number of subscribers."""
    if (drawing := canvas(2)) is None:
        return
    figure, (left, right) = drawing
    numbers = list(comparison.extent.subscribers)
    for name in comparison.names:
        style = _style(name)
        cpu = [comparison.median(name, number, lambda trial: trial.turns.cpu) for number in numbers]
        left.plot(numbers, cpu, label=name, **style)
        p99 = [comparison.median(name, number, lambda trial: trial.paced.reading.p99) for number in numbers]
        right.plot(numbers, p99, **style)
    scale(left)
    scale(right)
    left.set(title="Server's CPU per delivery", xlabel="subscribers", ylabel="µs")
    right.set(title="Latency, 99th percentile, ten events a second", xlabel="subscribers", ylabel="ms")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _style(name: str) -> dict[str, Any]:
    if name == FLOOR:
        return {"color": _GREY, "linestyle": "--", "marker": "."}
    if name == OURS:
        return {"color": "black", "linewidth": 2.5, "marker": "o"}
    return {"marker": ".", "linewidth": 1.2}
