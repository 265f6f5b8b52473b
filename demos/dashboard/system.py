"""What psutil tells about the machine, once per call. Blocking: call it from a thread."""

from __future__ import annotations

import math
import os
import platform
import socket
import time
from dataclasses import dataclass
from typing import Any

import psutil
import tornado

__all__ = ["COLUMNS", "Probe", "Reading"]

#: The numbers that are kept as history, in the order in which they are sent.
COLUMNS = ("cpu", "memory", "swap", "load", "received", "sent", "read", "written")

_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine at one moment."""

    time: float
    values: tuple[float, ...]  # one for each of COLUMNS
    cores: tuple[float, ...]  # percent
    record: dict[str, Any]  # what is shown as text


class Probe:
    """Takes readings. Rates are over the time since the reading before; the first one has none.

    One thread, always the same: psutil keeps the load of the processor for each thread that asks.
    """

    def __init__(self) -> None:
        self._time = 0.0
        self._counters: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return what does not change while this program runs."""
        return {
            "host": socket.gethostname(),
            "system": f"{platform.system()} {platform.release()}",
            "software": f"Python {platform.python_version()}, Tornado {tornado.version}",
            "cores": psutil.cpu_count() or 1,
            "booted": psutil.boot_time(),
            "columns": COLUMNS,
        }

    def rest(self) -> None:
        """Begin anew: the next reading's rates are over the time since now, however long the pause was."""
        psutil.cpu_percent(percpu=True)
        self._time, self._counters = time.monotonic(), _counters()

    def read(self) -> Reading:
        """Take a reading."""
        began = time.perf_counter()
        now, counters = time.monotonic(), _counters()
        elapsed = max(now - self._time, 1e-3)
        # Counters start over when an interface or a disk goes away; that is no negative rate.
        rates = [max(0, new - old) / elapsed for new, old in zip(counters, self._counters, strict=True)]
        self._time, self._counters = now, counters

        cores = tuple(psutil.cpu_percent(percpu=True))
        memory, swap, disk = psutil.virtual_memory(), psutil.swap_memory(), psutil.disk_usage("/")
        load = psutil.getloadavg()
        processes = _processes()
        record = {
            "cores": cores,
            "load": load,
            "memory": {"used": memory.total - memory.available, "total": memory.total},
            "swap": {"used": swap.used, "total": swap.total},
            "disk": {"used": disk.used, "total": disk.used + disk.free},
            "processes": processes[:_PROCESSES],
            "process_count": len(processes),
            "reading_ms": round((time.perf_counter() - began) * 1000, 1),
        }
        cpu = sum(cores) / max(len(cores), 1)
        swapped = swap.percent if swap.total else math.nan
        return Reading(time.time(), (cpu, memory.percent, swapped, load[0], *rates), cores, record)


def _counters() -> tuple[int, ...]:
    """Return bytes received, sent, read and written since boot; zeros for what a system does not count."""
    # What a machine says to itself is not on its network; this page's own stream would be most of it.
    links = [link for name, link in psutil.net_io_counters(pernic=True).items() if name not in ("lo", "lo0")]
    received, sent = sum(link.bytes_recv for link in links), sum(link.bytes_sent for link in links)
    disk = psutil.disk_io_counters()
    read, written = (disk.read_bytes, disk.write_bytes) if disk else (0, 0)
    return received, sent, read, written


def _processes() -> list[dict[str, Any]]:
    """Return all processes, the busiest first."""
    found = []
    # What may not be looked at comes as None; a process that ends meanwhile is left out.
    for process in psutil.process_iter(["pid", "name", "username", "cpu_percent", "memory_info"]):
        info = process.info
        found.append(
            {
                "pid": info["pid"],
                "name": _text(info["name"]),
                "user": _text(info["username"]),
                "cpu": info["cpu_percent"] or 0.0,
                "memory": info["memory_info"].rss if info["memory_info"] else 0,
                "self": info["pid"] == os.getpid(),
            }
        )
    found.sort(key=lambda process: (process["cpu"], process["memory"]), reverse=True)
    return found


def _text(name: str | None) -> str:
    # A process may carry any bytes as its name, and psutil hands over those that are not UTF-8 as lone
    # surrogates, which no serializer can write.
    return (name or "").encode("utf-8", "replace").decode()
