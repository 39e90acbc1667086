"""The files in examples/, held against the parser and against themselves: no cluster is at hand to run them on."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pages import ROOT, options_of

EXAMPLES = ROOT / "examples"
GIVEN = {
    "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT": "3/16",
    "$((JOB_COMPLETION_INDEX + 1))/16": "3/16",
    "$PHOTOS": "/data/photos",
    "$MODEL": "/data/run",
    "$MASKS": "/data/masks",
    "$RUN": "/data/run",
    "$first": "node1",
}


def command(text: str) -> dict[str, Any]:
    """What the parser makes of the one `getam …` of a script, its variables put in."""
    for name, value in GIVEN.items():
        text = text.replace(name, value)
    (line,) = re.findall(r"^(?:exec )?(?:.* )?getam (.*)$", text.replace("\\\n", " ").strip(), re.MULTILINE)
    return options_of(shlex.split(line))


def script(name: str) -> str:
    lines = (EXAMPLES / "slurm" / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def asked(name: str) -> dict[str, str]:
    """What a SLURM script asks for."""
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", (EXAMPLES / "slurm" / name).read_text(), re.M))


def pod(name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The job of a file, its pods, and their container."""
    documents = yaml.safe_load_all((EXAMPLES / "kubernetes" / name).read_text())
    (job,) = (each["spec"] for each in documents if each["kind"] == "Job")
    its = job["template"]["spec"]
    (container,) = its["containers"]
    return job, its, container


def said(container: dict[str, Any]) -> str:
    command: list[str] = container["command"]
    return container["args"][0] if command[0] == "sh" else shlex.join(command)


@pytest.mark.parametrize("file", sorted((EXAMPLES / "slurm").iterdir()), ids=lambda file: file.name)
def test_a_script_for_slurm_is_bash_and_asks_before_it_acts(file: Path) -> None:
    subprocess.run(["bash", "-n", file], check=True)
    lines = file.read_text().splitlines()
    first = next(place for place, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])  # SLURM would not read it
    assert command(script(file.name))


def test_what_merges_is_what_labels_without_its_shard() -> None:
    """Another option would make it another call, which does all the work again."""
    kubernetes = [command(said(pod(f"{name}.yaml")[2])) for name in ("label", "merge")]
    for part, whole in ([command(script(f"{name}.sbatch")) for name in ("label", "merge")], kubernetes):
        assert part.pop("shard") == "3/16"
        assert whole.pop("shard", None) is None
        assert part == whole


def test_every_part_is_labelled_once() -> None:
    assert asked("label.sbatch")["array"] == "1-16"  # of which SLURM counts the tasks itself
    job, _, container = pod("label.yaml")
    assert job["completions"] == job["parallelism"] == 16
    assert job["completionMode"] == "Indexed"  # from 0
    assert '--shard "$((JOB_COMPLETION_INDEX + 1))/16"' in said(container)


def test_torchrun_starts_a_process_for_every_gpu() -> None:
    slurm = asked("train.sbatch")
    assert f"--nproc-per-node {slurm['gpus-per-node']} " in script("train.sbatch")
    assert slurm["ntasks-per-node"] == "1"
    assert slurm["signal"].startswith("TERM@")
    job, its, container = pod("train.yaml")
    gpus, nodes = container["resources"]["limits"]["nvidia.com/gpu"], job["completions"]
    assert f"torchrun --nnodes {nodes} --nproc-per-node {gpus} " in said(container)
    assert f"--rdzv-endpoint train-0.{its['subdomain']}:" in said(container)
    assert its["terminationGracePeriodSeconds"] >= 60


def test_pods_find_each_other_by_the_service() -> None:
    service, job = yaml.safe_load_all((EXAMPLES / "kubernetes" / "train.yaml").read_text())
    assert service["kind"] == "Service"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert service["spec"]["publishNotReadyAddresses"]


JOBS = [file for file in sorted((EXAMPLES / "kubernetes").iterdir()) if file.name != "ray.yaml"]


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.name)
def test_a_pod_is_given_the_volumes_it_mounts(file: Path) -> None:
    _, its, container = pod(file.name)
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in its["volumes"]}
    assert its["restartPolicy"] == "Never"
    assert command(said(container))


def test_ray_has_as_many_workers_as_its_machines_have_cores() -> None:
    """More would wait for ever; the first machine of the SLURM job runs the command too."""
    slurm = asked("ray.sbatch")
    found = command(script("ray.sbatch"))
    assert found["engine"] == "ray"
    _, most = found["workers"].split("..")
    assert int(most) <= int(slurm["nodes"]) * int(slurm["cpus-per-task"])
    job = yaml.safe_load((EXAMPLES / "kubernetes" / "ray.yaml").read_text())["spec"]
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    _, most = command(job["entrypoint"])["workers"].split("..")
    assert int(most) == group["maxReplicas"] * int(container["resources"]["limits"]["cpu"])
