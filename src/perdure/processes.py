"""Which process is which, how many cores it may use, and how a child ends with its parent."""

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """One process for all time: pids are used again, a pid with its start time is not.

    start_ticks  field 22 of /proc/PID/stat, clock ticks between boot and the start of the process
    boot_id      /proc/sys/kernel/random/boot_id: ticks count from there
    """

    pid: int
    start_ticks: int
    boot_id: str


def identify(pid: int) -> ProcessId | None:
    """The process that `pid` names now, or None when there is none (a zombie counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return ProcessId(pid=pid, start_ticks=int(fields[19]), boot_id=boot_id)


def is_alive(process: ProcessId) -> bool:
    """Whether exactly that process still runs."""
    return identify(process.pid) == process


def end(process: ProcessId) -> bool:
    """Kill exactly that process; returns whether it was still there. Never ends a stranger that got its pid.

    A process that leads a group (a sandbox does) takes its group with it.
    """
    if not is_alive(process):
        return False
    try:
        leads_group = os.getpgid(process.pid) == process.pid
        if leads_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to SIGKILL this process when its parent ends; call it first thing in a child.

    `parent_pid` is the pid that started us: if it is gone already, we end now.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def usable_cores() -> int:
    """Cores that this process may really use: its affinity mask, cut by the cgroup's CPU quota."""
    allowed = len(os.sched_getaffinity(0))
    quota = _cgroup_quota_cores()
    return max(1, min(allowed, allowed if quota is None else int(quota)))


def _cgroup_quota_cores() -> float | None:
    """CPU quota of this cgroup in cores, v2 then v1, or None where there is none."""
    v2 = Path("/sys/fs/cgroup/cpu.max")
    if v2.is_file():
        quota, _, period = v2.read_text(encoding="ascii").partition(" ")
        return None if quota == "max" else max(1.0, int(quota) / int(period))
    v1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    if v1.is_file():
        quota_us = int(v1.read_text(encoding="ascii"))
        period_us = int((v1.parent / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return None if quota_us <= 0 else max(1.0, quota_us / period_us)
    return None
