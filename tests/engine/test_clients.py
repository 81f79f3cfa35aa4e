"""Clusters of any kind: by a client, with encryption, as jobs of Slurm."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import dask
import pytest

from geochange.engine.cluster import ClusterOptions, open_crew
from geochange.errors import BadOption
from tests.clusters import address_of, is_told, running, scheduler, wait_until, worker

pytestmark = pytest.mark.xdist_group("clusters")

distributed = pytest.importorskip("distributed")

SLOW = 120.0  # seconds: processes of Python start one after the other where tests share few cores


def number_of(_):
    time.sleep(0.1)  # so that both get work
    return os.environ.get("LOCAL_RANK")


def double(number):
    return 2 * number


def test_a_client_works_and_stays_open():
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=False
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for _ in range(2):
            with open_crew(ClusterOptions(client=client)) as crew:
                assert crew.size == 2
                assert list(crew.map_ordered(double, range(9))) == [2 * n for n in range(9)]
        assert client.status == "running"
        assert "LOCAL_RANK" not in os.environ
    with pytest.raises(BadOption, match="the client is closed"), open_crew(ClusterOptions(client=client)):
        pass


def test_what_is_no_client_is_refused():
    words = "client str must be a distributed.Client"
    with pytest.raises(BadOption, match=words), open_crew(ClusterOptions(client="tcp://127.0.0.1:1")):
        pass


def test_workers_of_this_machine_have_numbers_by_which_they_find_their_gpu():
    with open_crew(ClusterOptions(workers=2)) as crew:
        assert set(crew.map_ordered(number_of, range(40))) == {"0", "1"}


def own_address():
    """An address of this machine that others can reach; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


@contextmanager
def scheduler_at(folder, host, *options):
    told = folder / "scheduler.json"
    command = "distributed.cli.dask_scheduler", "--host", host, "--port", "0", "--no-dashboard"
    with running(*command, "--scheduler-file", str(told), *options):
        wait_until(lambda: is_told(told))
        yield str(told)


def test_a_scheduler_that_others_can_reach_is_told_of(tmp_path):
    notices = []
    with scheduler_at(tmp_path, own_address()) as told, worker(told):
        address = address_of(told)
        with open_crew(ClusterOptions(scheduler=address), notices.append) as crew:
            assert list(crew.map_ordered(double, [1])) == [2]
    assert [each for each in notices if "worker" not in each] == [
        f"{address} is not encrypted: who can reach it can run code here; where others can, use tls://"
    ]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9"])
def test_a_client_that_finds_no_scheduler_is_closed(address):
    """Dask would close it when it is collected: for ever, if that is while another client starts."""
    with (
        pytest.raises(BadOption, match="no Dask scheduler answers") as failed,
        open_crew(ClusterOptions(scheduler=address)),
    ):
        pass
    found, trace = [], failed.value.__cause__.__traceback__
    while trace is not None:
        found.append(trace.tb_frame.f_locals.get("client"))
        trace = trace.tb_next
    assert [each.status for each in found if each is not None] == ["closed"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_an_encrypted_cluster_is_reached_by_dask_s_own_configuration(tmp_path):
    key, certificate, notices = tmp_path / "key.pem", tmp_path / "certificate.pem", []
    new = "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=geochange"
    subprocess.run([*new, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = "--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key)
    own = {"distributed.comm.tls.ca-file": str(certificate)}
    own |= {"distributed.comm.tls.client.key": str(key), "distributed.comm.tls.client.cert": str(certificate)}
    with scheduler_at(tmp_path, f"tls://{own_address()}", *tls) as told, worker(told, *tls):
        options = ClusterOptions(scheduler=address_of(told))
        assert options.scheduler.startswith("tls://")
        with pytest.raises(BadOption, match="no Dask scheduler answers"), open_crew(options):
            pass
        with dask.config.set(own), open_crew(options, notices.append) as crew:
            assert list(crew.map_ordered(double, [1])) == [2]
    assert not [each for each in notices if "encrypted" in each]


SBATCH = """#!/bin/sh
if [ -e "$JOBS/full" ]; then echo "invalid partition specified: short" >&2; touch "$JOBS/refused"; exit 1; fi
cp "$1" "$JOBS/"
setsid bash "$JOBS/$(basename "$1")" > "$JOBS/log" 2>&1 &
echo "$!" >> "$JOBS/pids"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
for each in "$@"; do pkill -g "$each"; done
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of the jobs: commands of Slurm's names that run a job on this machine, at once."""
    pytest.importorskip("dask_jobqueue")
    jobs, commands = tmp_path / "jobs", tmp_path / "bin"
    for folder in (jobs, commands):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(jobs))
    site = {"cores": 2, "memory": "2GB", "queue": "short", "walltime": "01:00:00", "interface": "lo"}
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in site.items()}):
        yield jobs


def test_slurm_starts_the_workers_and_what_it_is_asked_for_is_in_the_script(slurm):
    with open_crew(ClusterOptions(queue="slurm", workers=2, wait_workers="5m")) as crew:
        assert list(crew.map_ordered(double, range(9))) == [2 * n for n in range(9)]
        wait_until(lambda: crew.workers.look(now=True) or crew.size == 2, SLOW)
    (script,) = [path.read_text() for path in slurm.glob("*.sh")]  # a job of two workers
    lines = script.splitlines()
    for asked in ("-p short", "-n 1", "--cpus-per-task=2", "--mem=2G", "-t 01:00:00"):
        assert f"#SBATCH {asked}" in lines, script
    assert "export MALLOC_ARENA_MAX=1" in lines
    (command,) = [line for line in lines if "dask_worker" in line]
    assert command.startswith(sys.executable)
    assert "--nthreads 1 " in command
    assert "--nworkers 2 " in command
    pids = [int(line) for line in (slurm / "pids").read_text().split()]
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_a_job_holds_as_many_workers_as_it_has_cores_and_stays(slurm):
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        open_crew(ClusterOptions(queue="slurm", workers=3, wait_workers="5m")) as crew,
    ):
        wait_until(lambda: crew.workers.look(now=True) or crew.size == 4, SLOW)
        for _ in range(5):  # as long as it takes to count again, several times
            assert list(crew.map_ordered(double, [1])) == [2]
            crew.workers.look(now=True)
            assert crew.size == 4
            time.sleep(0.1)
    assert len(list(slurm.glob("*.sh"))) == 2


def test_what_slurm_says_of_a_job_that_it_does_not_take_is_told(slurm):
    (slurm / "full").touch()
    words = r"^Slurm starts no workers: .*invalid partition specified: short"
    with pytest.raises(BadOption, match=words), open_crew(ClusterOptions(queue="slurm", workers=2)):
        pass
    wrong = dask.config.set({"jobqueue.slurm.interface": "none0"})
    with wrong, pytest.raises(BadOption, match="none0"), open_crew(ClusterOptions(queue="slurm", workers=2)):
        pass


@pytest.mark.parametrize("between_looks", ["200ms", "5s"])  # in 5 s workers come and are gone unseen
def test_a_job_that_ends_is_replaced_also_where_slurm_refuses_one_at_first(slurm, between_looks):
    notices = []
    options = ClusterOptions(queue="slurm", workers=2, wait_workers="5m")
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": between_looks}),
        open_crew(options, notices.append) as crew,
    ):
        wait_until(lambda: crew.workers.look(now=True) or crew.size == 2, SLOW)
        (slurm / "full").touch()
        for pid in (slurm / "pids").read_text().split():
            os.killpg(int(pid), signal.SIGKILL)
        wait_until((slurm / "refused").exists, SLOW)
        (slurm / "full").unlink()
        assert list(crew.map_ordered(double, range(9))) == [2 * n for n in range(9)]
    assert [each for each in notices if each.startswith("Slurm takes no job in place of one that ended; asking again:")]
    assert len(list(slurm.glob("*.sh"))) == 2


def test_a_job_that_is_not_replaced_does_not_keep_the_run_from_ending(slurm):
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "200ms"}),
        open_crew(ClusterOptions(queue="slurm", workers=2, wait_workers="5m")) as crew,
    ):
        wait_until(lambda: crew.workers.look(now=True) or crew.size == 2, SLOW)
        (slurm / "full").touch()
        for pid in (slurm / "pids").read_text().split():
            os.killpg(int(pid), signal.SIGKILL)
        wait_until((slurm / "refused").exists, SLOW)


def is_running(pid):
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return subprocess.run(["pgrep", "-g", str(pid)], check=False, capture_output=True).returncode == 0


def test_a_job_without_cores_or_memory_is_refused(slurm):
    words = "set DASK_JOBQUEUE__SLURM__CORES and DASK_JOBQUEUE__SLURM__MEMORY, or jobqueue.slurm in"
    with (
        dask.config.set({"jobqueue.slurm.cores": None, "jobqueue.slurm.memory": None}),
        pytest.raises(BadOption, match=words),
        open_crew(ClusterOptions(queue="slurm", workers=2)),
    ):
        pass


def test_where_there_is_no_slurm_it_is_told(slurm, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    options = ClusterOptions(queue="slurm", workers=2)
    with pytest.raises(BadOption, match="needs the command sbatch, which is not on the PATH"), open_crew(options):
        pass


def test_a_cluster_of_this_machine_alone_is_no_news(tmp_path):
    notices = []
    with (
        scheduler(tmp_path) as (_, told),
        worker(told),
        open_crew(ClusterOptions(scheduler=address_of(told)), notices.append) as crew,
    ):
        assert list(crew.map_ordered(double, [1])) == [2]
    assert not [each for each in notices if "encrypted" in each]
