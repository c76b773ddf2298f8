"""docs/scheduling.md: every snippet is checked here or run, with the files that it speaks of."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.config import Config
from pinpip import configfile
from tests.support.commands import parsed
from tests.support.places import ROOT
from tests.support.templates import loops, template

PAGE = (ROOT / "docs/scheduling.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CRON_LINE = re.compile(r"^(?:(?:\*|[\d,-]+)(?:/\d+)? ){5}(\w+) (\S.*)$")
DAG = (ROOT / "deploy/airflow/pinpip_batch.py").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """Return the page's only block of that language that contains a text."""
    [found] = [text for own, text in BLOCKS if own == language and containing in text]
    return str(found)


def assert_takes_until_the_end(arguments: list[str]) -> dict[str, Any]:
    """Assert that this command line is a run with a limit; return what it says."""
    given = parsed(arguments)
    assert given["command"] == "consume"
    assert given["until_end"]
    assert given["timeout"] >= 60
    return given


def test_the_page_has_no_other_snippet_than_those_that_are_tested() -> None:
    known = [
        ("sh", "pinpip consume --until-end\n"),
        ("", "Consumed until the end"),
        ("sh", "systemctl enable --now pinpip-batch.timer"),
        ("ini", "OnCalendar="),
        ("cron", "MAILTO="),
        ("yaml", "kind: Kustomization"),
        ("sh", "kubectl apply -k overlay"),
        ("sh", "deploy/cloudformation/deploy.sh"),
        ("sh", "cp deploy/airflow/pinpip_batch.py"),
        ("sh", "PINPIP_CONFIG="),
    ]
    for language, text in known:
        assert block(language, text)
    assert len(BLOCKS) == len(known)


def test_the_first_command_is_one_of_pinpips() -> None:
    program, *arguments = shlex.split(block("sh", "pinpip consume --until-end\n"))
    assert program == "pinpip"
    assert parsed(arguments)["until_end"]


def test_the_line_for_cron_is_cronss_and_pinpips() -> None:
    *settings, line = block("cron", "MAILTO=").strip().splitlines()
    assert all(re.fullmatch(r"[A-Z]+=\S+", setting) for setting in settings)
    found = CRON_LINE.match(line)
    assert found is not None
    assert "%" not in line  # cron reads it as a new line
    guard, run = found[2].split(" /opt/pinpip/bin/pinpip ")
    assert re.fullmatch(r"flock --nonblock \S+", guard)
    assert_takes_until_the_end(shlex.split(run))


# --- systemd


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the units as the page says, with `true` as the program."""
    units = tmp_path / "units"
    units.mkdir()
    lines = block("sh", "pinpip-batch.timer").replace("/etc/systemd/system", str(units))
    script = "\n".join(line for line in lines.splitlines() if not line.startswith("systemctl"))
    subprocess.run(["/bin/sh", "-e", "-c", script], cwd=ROOT, check=True)
    unit = units / "pinpip-batch.service"
    text = unit.read_text(encoding="utf-8")
    arguments = re.findall(r"^ExecStart=/opt/pinpip/bin/pinpip (.*)$", text, re.MULTILINE)
    assert_takes_until_the_end(shlex.split(arguments[0].replace("%d", "/run")))
    unit.write_text(text.replace("/opt/pinpip/bin/pinpip", shutil.which("true") or ""), "utf-8")
    return units


def test_systemd_takes_the_timer_and_the_drop_in_of_the_page(installed: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    dropped = block("ini", "OnCalendar=")
    (installed / "pinpip-batch.timer.d").mkdir()
    (installed / "pinpip-batch.timer.d/override.conf").write_text(dropped, encoding="utf-8")
    command = [analyze, "verify", "--man=no", "pinpip-batch.timer", "pinpip-batch.service"]
    paths = {"SYSTEMD_UNIT_PATH": f"{installed}:"}
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    timer = (installed / "pinpip-batch.timer").read_text(encoding="utf-8")
    for when in re.findall(r"^OnCalendar=(.+)$", timer + dropped, re.MULTILINE):
        subprocess.run([analyze, "calendar", when], check=True, capture_output=True)


def test_the_run_is_no_daemon_for_systemd(installed: Path) -> None:
    folder = installed / "pinpip-batch.service.d"
    names = sorted(path.name for path in folder.iterdir())
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
    last = dict(re.findall(r"^(Type|Restart)=(.*)$", text, re.MULTILINE))  # the later one counts
    assert last == {"Type": "oneshot", "Restart": "no"}


# --- Kubernetes


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what the page's overlay applies."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    folder = tmp_path_factory.mktemp("overlay")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / "overlay").mkdir()
    text = block("yaml", "kind: Kustomization")
    (folder / "overlay/kustomization.yaml").write_text(text, encoding="utf-8")
    command = [kubectl, "kustomize", str(folder / "overlay")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_the_overlay_has_a_job_in_the_place_of_the_consumers(
    manifests: list[dict[str, Any]],
) -> None:
    kinds = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert [name for kind, name in kinds if kind in {"Deployment", "ScaledObject"}] == ["gateway"]
    [job] = [m["spec"] for m in manifests if m["kind"] == "CronJob"]
    assert f"--from=cronjob/{dict(kinds)['CronJob']}" in block("sh", "kubectl apply -k overlay")
    assert job["schedule"] == "0 */6 * * *"
    assert job["concurrencyPolicy"] == "Forbid"
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "your/pinpip:1"
    assert_takes_until_the_end(container["args"])
    assert pod["terminationGracePeriodSeconds"] > 10
    assert container["securityContext"]["readOnlyRootFilesystem"]
    made = {name for kind, name in kinds if kind == "ConfigMap"}
    used = {source["configMapRef"]["name"] for source in container["envFrom"][:1]}
    used |= {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
    assert used == made


def test_the_manifests_fit_the_schemas_of_kubernetes(manifests: list[dict[str, Any]]) -> None:
    if find_spec("kubernetes_validate") is None:
        pytest.skip("needs kubernetes-validate")
    validator = import_module("kubernetes_validate")
    for manifest in manifests:
        validator.validate(manifest, "1.34", strict=True)


# --- ECS


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Load the configuration in the image."""
    environment = {"PINPIP_ID": "demo", "KAFKA_SERVERS": "b:9098", "PINPIP_LAKE": "s3://b/lake"}
    return configfile.load(ROOT / "deploy/config/config.yaml", environment)


def resources(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the loop's values and each resource of this kind of consumers.yaml."""
    for variable, values, body in loops("consumers.yaml"):
        yield from (
            (value, json.loads(json.dumps(resource).replace(f"${{{variable}}}", value)))
            for value in values
            for resource in body.values()
            if resource["Type"] == kind
        )


def test_each_shipped_pipeline_is_scheduled_with_a_limit(shipped: Config) -> None:
    run = []
    for _, schedule in resources("AWS::Scheduler::Schedule"):
        text = schedule["Properties"]["Target"]["Input"]["Fn::Sub"]
        [override] = json.loads(text.replace("${BatchSeconds}", "3600"))["containerOverrides"]
        given = assert_takes_until_the_end(override["command"])
        run += given["pipelines"]
    assert sorted(run) == sorted(shipped.pipelines)


def test_the_stack_has_services_or_schedules_and_by_default_services() -> None:
    assert template("main.yaml")["Parameters"]["BatchSchedule"]["Default"] == ""
    conditions = template("consumers.yaml")["Conditions"]
    assert conditions["IsDaemon"] == {"Fn::Equals": [{"Ref": "BatchSchedule"}, ""]}
    assert conditions["IsBatch"] == {"Fn::Not": [conditions["IsDaemon"]]}
    for kind, condition in (
        ("AWS::ECS::Service", "IsDaemon"),
        ("AWS::ApplicationAutoScaling::ScalableTarget", "IsDaemon"),
        ("AWS::ApplicationAutoScaling::ScalingPolicy", "IsDaemon"),
        ("AWS::Scheduler::Schedule", "IsBatch"),
    ):
        found = [resource["Condition"] for _, resource in resources(kind)]
        assert found
        assert set(found) == {condition}
    main = template("main.yaml")
    assert main["Resources"]["Alarms"]["Condition"] == "IsDaemon"
    assert main["Conditions"]["IsDaemon"] == conditions["IsDaemon"]


def test_the_scheduler_may_run_the_tasks_with_their_roles_and_nothing_else() -> None:
    role = template("consumers.yaml")["Resources"]["SchedulerRole"]
    assert role["Condition"] == "IsBatch"
    [trust] = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    [policy] = role["Properties"]["Policies"]
    run, hand_on = policy["PolicyDocument"]["Statement"]
    assert (run["Action"], hand_on["Action"]) == ("ecs:RunTask", "iam:PassRole")
    assert run["Resource"]["Fn::Sub"].endswith(":task-definition/pinpip-${Id}-*:*")
    families = [
        task["Properties"]["Family"]["Fn::Sub"] for _, task in resources("AWS::ECS::TaskDefinition")
    ]
    assert all(family.startswith("pinpip-${Id}-") for family in families)
    handed = {role["Ref"] for role in hand_on["Resource"]}
    used = {
        task["Properties"][key]["Ref"]
        for _, task in resources("AWS::ECS::TaskDefinition")
        for key in ("ExecutionRoleArn", "TaskRoleArn")
    }
    assert handed == used


def test_the_parameters_of_the_page_are_the_stacks() -> None:
    command = shlex.split(block("sh", "deploy/cloudformation/deploy.sh"))
    given = dict(word.split("=", 1) for word in command if re.match(r"[A-Z]\w+=", word))
    parameters = template("main.yaml")["Parameters"]
    assert set(given) == {"BatchSchedule", "BatchSeconds", "RetentionHours"}
    assert re.fullmatch(parameters["BatchSchedule"]["AllowedPattern"], given["BatchSchedule"])
    for name in ("BatchSeconds", "RetentionHours"):
        own = parameters[name]
        assert own["MinValue"] <= int(given[name]) <= own["MaxValue"]


# --- Airflow: `make airflow` runs the DAG


def test_the_dag_reads_the_variables_that_the_page_sets() -> None:
    page = dict(re.findall(r"^(\w+)=(.+)$", block("sh", "PINPIP_CONFIG="), re.MULTILINE))
    assert page == dict(re.findall(r'environ\.get\("(\w+)", "([^"]+)"\)', DAG))


def test_the_tasks_of_the_dag_are_commands_of_pinpip() -> None:
    calls = re.findall(r'pinpip\("(\w+)", "(\w+)"((?:, "--[\w-]+")*)', DAG)
    assert [(task, command) for task, command, _ in calls] == [
        ("consume", "consume"),
        ("verify", "verify"),
        ("report", "report"),
    ]
    limit = {"consume": ["--timeout", "3600"], "verify": ["--grace", "60"], "report": []}
    for _, command, flags in calls:
        own = [flag for flag in re.findall(r"--[\w-]+", flags) if flag not in limit[command]]
        assert parsed([command, *own, *limit[command], "--json"])["command"] == command


def test_the_page_installs_the_dag_and_the_locked_packages(tmp_path: Path) -> None:
    lines = block("sh", "cp deploy/airflow/pinpip_batch.py").splitlines()
    assert (ROOT / lines[1].split()[-1]).is_file()
    (tmp_path / "dags").mkdir()
    environment = {"AIRFLOW_HOME": str(tmp_path), "PATH": "/bin:/usr/bin"}
    subprocess.run(["/bin/sh", "-e", "-c", lines[-1]], cwd=ROOT, env=environment, check=True)
    assert (tmp_path / "dags/pinpip_batch.py").read_text(encoding="utf-8") == DAG
