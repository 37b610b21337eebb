"""The launch scripts, with the clouds' programs replaced by ones that write down how they were called."""

import os
import subprocess
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "experiments" / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.sh"))
TPU = {"NAME": "slice", "ZONE": "zone"}
GKE = {"CLUSTER": "cluster", "PROJECT": "project", "ZONE": "zone"}
ARGUMENTS = ["--config=configs/smoke.py", "--workdir=/runs/a b"]


class Cloud:
    """A directory that is first on PATH, for programs that stand in for those of a cloud."""

    def __init__(self, path: Path):
        self.path, self.calls = path, path / "calls"
        self.calls.touch()

    def program(self, name: str, body: str = ""):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f'#!/bin/bash\nprintf "%s|" {name.rpartition("/")[2]} "$@" >> {self.calls}\necho >> {self.calls}\n{body}\n'
        )
        file.chmod(0o755)

    def run(self, script: str, *args: str, **environment: str) -> subprocess.CompletedProcess:
        known = {"PATH": f"{self.path}:{os.environ['PATH']}", "HOME": str(self.path)}
        return subprocess.run(
            [LAUNCH / script, *args], env=known | environment, cwd=LAUNCH.parents[1], capture_output=True, text=True
        )

    def called(self) -> list[list[str]]:
        return [line.split("|")[:-1] for line in self.calls.read_text().splitlines()]


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_accepts_it_and_it_says_how_it_is_used(cloud: Cloud, script: str):
    assert len(SCRIPTS) == 3
    assert subprocess.run(["bash", "-n", LAUNCH / script]).returncode == 0
    asked, wrong = cloud.run(script, "--help"), cloud.run(script, "nonsense")
    assert asked.returncode == 0 and asked.stdout.startswith("Usage: ") and not asked.stderr
    assert wrong.returncode == 2 and wrong.stderr == asked.stdout
    assert not cloud.called()


@pytest.mark.parametrize(
    ("script", "command", "missing"),
    [("tpu_pod.sh", "create", "NAME"), ("gke_xpk.sh", "create", "CLUSTER"), ("slurm.sh", "--x=1", "SLURM_JOB_ID")],
)
def test_what_is_not_set_is_named(cloud: Cloud, script: str, command: str, missing: str):
    done = cloud.run(script, command)
    assert done.returncode == 1 and f"{missing}: is not set" in done.stderr


def test_a_slice_is_waited_for(cloud: Cloud):
    cloud.program("sleep")
    states = cloud.path / "states"
    states.write_text("WAITING_FOR_RESOURCES\nACTIVE\n")
    cloud.program("gcloud", f"[[ $* == *describe* ]] && head -n 1 {states} && sed -i 1d {states}; true")
    done = cloud.run("tpu_pod.sh", "create", **TPU)
    assert done.returncode == 0, done.stderr
    created, *rest = cloud.called()
    assert created[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "slice"]
    assert "--accelerator-type=v5litepod-16" in created and "--spot" in created
    assert [call[0] for call in rest] == ["gcloud", "sleep", "gcloud"]
    states.write_text("SUSPENDED\n")
    assert cloud.run("tpu_pod.sh", "create", CAPACITY="", **TPU).returncode == 1
    assert "--spot" not in cloud.called()[-2]


def test_a_file_server_is_mounted_on_all_hosts_where_one_is_given(cloud: Cloud):
    cloud.program("gcloud")
    assert cloud.run("tpu_pod.sh", "install", **TPU).returncode == 0
    assert "uv pip install" in cloud.calls.read_text() and "mount" not in cloud.calls.read_text()
    assert cloud.run("tpu_pod.sh", "install", SHARE="10.0.0.2:/runs", **TPU).returncode == 0
    assert "mount -t nfs 10.0.0.2:/runs /runs" in cloud.calls.read_text()


def test_a_cluster_has_a_place_that_all_hosts_see(cloud: Cloud):
    cloud.program("xpk")
    done = cloud.run("gke_xpk.sh", "create", **GKE)
    assert done.returncode == 0, done.stderr
    cluster, storage = cloud.called()
    assert cluster[1:3] == ["cluster", "create"] and storage[1:4] == ["storage", "create", "runs"]
    assert {"--mount-point=/runs", "--access_mode=ReadWriteMany", "--cluster=cluster"} <= set(storage)


def test_a_host_of_a_slice_runs_again_as_long_as_it_is_asked_to(cloud: Cloud):
    cloud.program("sleep")
    # The only host is this one.
    cloud.program("gcloud", 'cd "$HOME"; for last; do :; done; exec bash -c "${last#--command=}"')
    count = cloud.path / "count"
    count.write_text("0")
    times = f"n=$(($(cat {count}) + 1)); echo $n > {count}; [ $n -lt 3 ] && exit 75; exit 4"
    cloud.program("mass_jax/.venv/bin/python", times)
    done = cloud.run("tpu_pod.sh", "run", *ARGUMENTS, **TPU)
    assert done.returncode == 0, done.stderr
    log = wait_for(cloud.path / "mass_jax" / "run.log", "ended")
    assert log == "ended with status 4\n"
    assert [call for call in cloud.called() if call[0] == "python"] == [
        ["python", "-m", "experiments.demo", "--distributed", *ARGUMENTS]
    ] * 3


def test_stop_reaches_the_program_and_nothing_starts_it_again(cloud: Cloud):
    cloud.program("gcloud", 'cd "$HOME"; for last; do :; done; exec bash -c "${last#--command=}"')
    cloud.program(
        "mass_jax/.venv/bin/python",
        "trap 'echo saved; exit 75' TERM; echo begun; for i in {1..300}; do sleep 0.1; done",
    )
    log = cloud.path / "mass_jax" / "run.log"
    cloud.run("tpu_pod.sh", "run", *ARGUMENTS, **TPU)
    wait_for(log, "begun")
    assert cloud.run("tpu_pod.sh", "stop", **TPU).returncode == 0
    wait_for(log, "saved")
    time.sleep(0.5)
    assert log.read_text().count("begun") == 1


def test_a_workload_of_a_cluster_is_restarted_on_75_and_gets_the_arguments_whole(cloud: Cloud):
    cloud.program("xpk")
    done = cloud.run("gke_xpk.sh", "run", *ARGUMENTS, **GKE)
    assert done.returncode == 0, done.stderr
    (call,) = cloud.called()
    assert call[:3] == ["xpk", "workload", "create"] and "--cluster=cluster" in call
    (codes,) = (arg.partition("=")[2].split(",") for arg in call if arg.startswith("--restart-on-exit-codes="))
    assert "75" in codes
    (command,) = (arg.partition("=")[2] for arg in call if arg.startswith("--command="))
    cloud.program("pip")
    cloud.program("python")
    subprocess.run(["bash", "-c", command], env={"PATH": f"{cloud.path}:{os.environ['PATH']}"}, check=True)
    assert cloud.called()[-1] == ["python", "-m", "experiments.demo", "--distributed", *ARGUMENTS]


@pytest.mark.parametrize(("status", "again"), [(0, False), (1, False), (75, True)])
def test_a_job_is_queued_again_on_75_only(cloud: Cloud, status: int, again: bool):
    cloud.program("srun", f"exit {status}")
    cloud.program("scontrol")
    assert cloud.run("slurm.sh", *ARGUMENTS, SLURM_JOB_ID="7").returncode == status
    ran, *rest = cloud.called()
    assert ran[0] == "srun" and ran[-4:] == ["experiments.demo", "--distributed", *ARGUMENTS]
    assert rest == ([["scontrol", "requeue", "7"]] if again else [])


def test_a_job_that_is_cancelled_is_not_queued_again(cloud: Cloud):
    cloud.program("srun", "kill -TERM $PPID; exit 75")
    cloud.program("scontrol")
    assert cloud.run("slurm.sh", *ARGUMENTS, SLURM_JOB_ID="7").returncode == 75
    assert [call[0] for call in cloud.called()] == ["srun"]


def wait_for(file: Path, text: str, seconds: float = 300) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if file.exists() and text in file.read_text():
            return file.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{file.name} does not say {text!r}")
