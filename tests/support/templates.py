"""The CloudFormation templates, read, and made on a cloud of the test's own."""

import json
import subprocess
from typing import Any

from cfnlint.decode import cfn_yaml

from tests.support.aws import TestAws
from tests.support.places import ROOT

FOLDER = ROOT / "deploy/cloudformation"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
ACCOUNT = "123456789012"  # moto's


def template(name: str) -> dict[str, Any]:
    """Read the template with its functions in their long form: {"Ref": …}, {"Fn::Sub": …}."""
    tree: dict[str, Any] = _plain(cfn_yaml.load(str(FOLDER / name)))
    return tree


def loops(name: str) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Return the variable, the values and the body of each loop among a template's resources."""
    found = template(name)["Resources"].items()
    return [tuple(loop) for key, loop in found if key.startswith("Fn::ForEach")]


def _plain(node: Any) -> Any:
    """Without cfn-lint's own classes, which remember lines."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return str(node) if isinstance(node, str) else node


def create(aws: TestAws, stack: str, tree: dict[str, Any], **parameters: str) -> dict[str, str]:
    """Make the stack; its outputs."""
    client = aws.client("cloudformation")
    given = [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
    client.create_stack(
        StackName=stack,
        TemplateBody=json.dumps(tree),
        Parameters=given,
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    [made] = client.describe_stacks(StackName=stack)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    return {o["OutputKey"]: o["OutputValue"] for o in made.get("Outputs", [])}


def rendered_document(stack_id: str, account: str = ACCOUNT) -> bytes:
    """gateway/openapi.yaml as deploy.sh hands it to API Gateway."""
    command = [str(FOLDER / "render.sh"), "eu-west-1", account, stack_id]
    source = (ROOT / "gateway/openapi.yaml").read_bytes()
    return subprocess.run(command, input=source, capture_output=True, check=True).stdout
