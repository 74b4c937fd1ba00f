"""``docs/jobset.yaml``: against the schema of Kubernetes, and what its pods run."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE, wait_until
from pods import command, container, environment, manifest
from same_training import SMOOTH, metrics
from two_hosts import NODES, skip_without, two_hosts

import bodvcl
from bodvcl.engine.metrics import METRICS

ADDRESS = "bodvcl-node-0-0.bodvcl"
"""JobSet, replicated job, numbers of the job and of the pod; and the service, called as the JobSet."""


def refused(wanted: dict[str, Any]) -> set[str]:
    """Paths of what the schema does not know; it raises where a value has the wrong form."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    known = models.JobsetV1alpha2JobSet.from_dict(wanted).to_dict()
    return set(paths(wanted)) - set(paths(known))


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The path of every leaf, with its value."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if not inner:
        yield f"{path} = {value}"
    for name, part in inner or ():
        yield from paths(part, f"{path}.{name}")


def test_the_schema_knows_all_of_it():
    assert refused(manifest()) == set()


@pytest.mark.parametrize(
    "place",
    [
        ("failurePolicy", "maxRestarts"),
        ("network", "enableDNSHostnames"),
        ("replicatedJobs", 0, "template", "spec", "podFailurePolicy"),
        ("replicatedJobs", 0, "template", "spec", "template", "spec", "terminationGracePeriodSeconds"),
        ("replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0, "volumeMounts"),
    ],
)
def test_a_misspelt_field_is_found(place):
    wrong = copy.deepcopy(manifest())
    *way, name = ("spec", *place)
    inner = wrong
    for step in way:
        inner = inner[step]
    inner[f"{name}s"] = inner.pop(name)
    assert any(f"{name}s" in path for path in refused(wrong))


def test_numbers_and_names_agree():
    spec = manifest()["spec"]
    (nodes,) = spec["replicatedJobs"]
    job, pod = nodes["template"]["spec"], nodes["template"]["spec"]["template"]["spec"]
    own = environment(0, {}, {"spec.nodeName": "a"})
    assert job["completions"] == job["parallelism"] == int(own["NODES"])
    assert container()["resources"]["limits"]["nvidia.com/gpu"] == own["GPUS"]
    assert (
        own["MASTER_ADDR"]
        == f"{manifest()['metadata']['name']}-{nodes['name']}-0-0.{manifest()['metadata']['name']}"
    )
    assert {mount["name"] for mount in container()["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    (codes,) = [rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes["values"] == [128 + signal.SIGTERM]
    assert codes["containerName"] == container()["name"]


def stand_ins(folder: Path, **programs: str) -> str:
    """A PATH on which these programs come first."""
    for name, does in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{does}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def start(variables: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command(variables), env=variables, stdout=subprocess.PIPE, text=True, **options)


SAYS = 'echo "$RANK of $WORLD_SIZE, $LOCAL_RANK of $LOCAL_WORLD_SIZE: $*"'


def test_each_pod_starts_a_process_for_each_gpu(tmp_path):
    path = stand_ins(tmp_path, bodvcl='echo "$@"', python=SAYS)
    given = {"PATH": path, "GPUS": "2", "RUN": "/runs/a"}
    for index in (0, 1):
        variables = environment(index, given, {"spec.nodeName": "a"})
        pod = start(variables)
        said = pod.communicate(timeout=PATIENCE)[0].splitlines()
        assert pod.returncode == 0
        assert said[0] == "doctor --run-dir /runs/a --gpus 2"
        options = f"-m bodvcl.train {' '.join(command(variables)[4:])}"
        assert sorted(said[1:]) == [f"{2 * index + i} of 4, {i} of 2: {options}" for i in (0, 1)]
        assert "--run-dir=/runs/a" in options


def test_a_pod_ends_with_the_code_of_the_process_that_failed_and_not_on_a_bad_node(tmp_path):
    path = stand_ins(tmp_path, bodvcl="true", python='[ "$LOCAL_RANK" = 1 ] && exit 2; exec sleep 1800')
    pod = start(environment(0, {"PATH": path, "GPUS": "2"}, {"spec.nodeName": "a"}), start_new_session=True)
    try:
        assert pod.wait(PATIENCE) == 2
    finally:
        os.killpg(pod.pid, signal.SIGKILL)  # Kubernetes ends what is left of a container
        pod.communicate()
    path = stand_ins(tmp_path, bodvcl="exit 1", python=SAYS)
    pod = start(environment(0, {"PATH": path}, {"spec.nodeName": "gpu-7"}))
    assert pod.communicate(timeout=PATIENCE)[0] == "node gpu-7 is not fit\n"
    assert pod.returncode == 1


def test_a_pod_that_is_told_to_stop_waits_for_its_processes(tmp_path):
    saves = f'trap "sleep 0.2; echo saved >> {tmp_path}/saved; exit 143" TERM; echo up; '
    saves += "while :; do sleep 0.05; done"
    path = stand_ins(tmp_path, bodvcl="true", python=saves)
    pod = start(environment(0, {"PATH": path, "GPUS": "2"}, {"spec.nodeName": "a"}))
    assert pod.stdout is not None
    assert [pod.stdout.readline() for _ in range(2)] == ["up\n", "up\n"]
    pod.terminate()
    assert pod.wait(PATIENCE) == 143
    pod.stdout.close()
    assert (tmp_path / "saved").read_text().split() == ["saved", "saved"]


@pytest.mark.slow
def test_two_pods_train_together_and_stop_when_one_is_evicted(tiny, tmp_path):
    skip_without()
    programs, hosts_folder, run = (tmp_path / name for name in ("programs", "hosts", "run"))
    programs.mkdir()
    hosts_folder.mkdir()
    given = {
        "PATH": stand_ins(programs, bodvcl="true", python=f'exec {sys.executable} "$@"'),
        "PYTHONPATH": str(Path(bodvcl.__file__).parents[1]),
        "RUN": str(run),
        "GPUS": "1",
    }
    with two_hosts(hosts_folder, {"node1": [ADDRESS]}) as hosts:
        pods = []
        for index, node in enumerate(NODES):
            variables = environment(index, given, {"spec.nodeName": node})
            words = command(variables, [*tiny, *SMOOTH, "--epochs", "2000"])
            script = [
                "bash",
                "-c",
                'echo $$ > "$1"; shift; exec "$@"',
                "pod",
                f"{tmp_path}/{node}.pid",
                *words,
            ]
            pods.append(hosts.start(node, script, variables, tmp_path / f"{node}.txt"))
        wait_until(
            lambda: (run / METRICS).exists() and metrics(run), lambda: any(p.poll() is not None for p in pods)
        )
        evicted = (tmp_path / "node2.pid").read_text().strip()
        subprocess.run(hosts.command("node2", ["kill", "-TERM", evicted]), check=True)
        assert [pod.wait(PATIENCE) for pod in pods] == [143, 143]
    assert "2 processes" in (tmp_path / "node1.txt").read_text()
    assert f"stopped at step {metrics(run)[-1]['step']}" in (tmp_path / "node1.txt").read_text()
