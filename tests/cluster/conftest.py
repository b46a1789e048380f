"""A real SLURM of two nodes on this machine; node n1 has two GPUs (device files that stand in for them), n2 none.

Needs root and the packages of packages-cluster.txt. The configuration has to lie in /etc/slurm, where jobs look for it;
a machine that has its own one is left alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.project import ROOT, Project, copy_of

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "scontrol")
SEARCH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
CONFIGURATION = """\
# made by bopflow's tests/cluster; safe to delete
ClusterName=bopflow
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=16818 CPUs=2 RealMemory=12000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=16819 CPUs=2 RealMemory=12000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
GPUS = "NodeName=n1 Name=gpu File=/dev/fakegpu[0-1]\n"


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """The project as a fresh clone has it."""
    return copy_of(ROOT, tmp_path / "project", tmp_path / "numba")


class Slurm:
    """The running cluster."""

    def jobs(self) -> dict[str, dict[str, str]]:
        """What `scontrol` knows of each job, by the rule in its comment (the last one where a rule has several)."""
        text = subprocess.run(["scontrol", "-o", "show", "job"], capture_output=True, text=True, check=True).stdout
        records = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
        return {re.sub(r"^rule_(\w+?)(_wildcards.*)?$", r"\1", record.get("Comment", "")): record for record in records}

    def nodes_used(self) -> set[str]:
        """Nodes that jobs have run on."""
        return {record["NodeList"] for record in self.jobs().values()}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    skip_unless_possible()
    with Path("/run/lock/bopflow-slurm.lock").open("a") as lock:  # a machine has one /etc/slurm: take turns
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from running(tmp_path_factory)


def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Start the cluster, hand it over, stop it."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    written = [Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf")]
    started: list[subprocess.Popen[bytes]] = []
    try:
        written[0].write_text(CONFIGURATION.format(host=socket.gethostname(), folder=folder))
        written[1].write_text(GPUS)
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            started.append(
                subprocess.Popen(["runuser", "-u", "munge", "--", "munged", "--foreground"], env=environment())
            )
            time.sleep(1)
        started.append(subprocess.Popen(["slurmctld", "-D"], env=environment(), stderr=subprocess.DEVNULL))
        for node in ("n1", "n2"):
            started.append(subprocess.Popen(["slurmd", "-D", "-N", node], env=environment(), stderr=subprocess.DEVNULL))
        wait_until_idle(folder)
        yield Slurm()
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=30)
        for path in written:
            path.unlink(missing_ok=True)


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": SEARCH}


def skip_unless_possible() -> None:
    """Skip where a cluster cannot be started, with the line that would make it possible."""
    packages = "slurm-wlm munge"
    if missing := [program for program in PROGRAMS if shutil.which(program, path=SEARCH) is None]:
        pytest.skip(f"{', '.join(missing)} not found; as root run: apt-get install --no-install-recommends {packages}")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of its own needs root: its configuration has to lie in /etc/slurm")
    configuration = Path("/etc/slurm/slurm.conf")
    if configuration.exists() and "bopflow" not in configuration.read_text():
        pytest.skip(f"{configuration} belongs to another cluster; these tests leave it alone")
    for number in (0, 1):
        device = Path(f"/dev/fakegpu{number}")
        try:
            if not device.exists():
                os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError as error:
            pytest.skip(f"{device} cannot be made ({error.strerror}): GPUs cannot be stood in for")


def wait_until_idle(folder: Path) -> None:
    """Wait until both nodes take jobs."""
    for _ in range(60):
        answer = subprocess.run(["sinfo", "-h", "-o", "%D %t"], capture_output=True, text=True, check=False).stdout
        if answer.split() == ["2", "idle"]:
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    pytest.fail(f"SLURM does not start: {answer}\n{logs}")
