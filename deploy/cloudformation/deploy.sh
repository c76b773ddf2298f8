#!/bin/sh
# deploy.sh ID IMAGE ARTIFACTS [Parameter=Value …]: make or change the stack pinpip-ID.
#
# IMAGE is the Dockerfile's, pushed to a registry; ARTIFACTS is a bucket in the same region for
# templates and the API's document. The other parameters are those of main.yaml.
set -eu
id=$1 image=$2 artifacts=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
region=${AWS_REGION:-$(aws configure get region)}
account=$(aws sts get-caller-identity --query Account --output text)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/render.sh" "$region" "$account" "$id" <"$here/../../gateway/openapi.yaml" >"$work/openapi.yaml"
key=pinpip-$id/openapi-$(sha256sum "$work/openapi.yaml" | cut -c 1-16).yaml
aws s3 cp --only-show-errors "$work/openapi.yaml" "s3://$artifacts/$key"

aws cloudformation package --template-file "$here/main.yaml" --s3-bucket "$artifacts" \
    --s3-prefix "pinpip-$id" --output-template-file "$work/main.yaml" >/dev/null
aws cloudformation deploy --stack-name "pinpip-$id" --template-file "$work/main.yaml" \
    --no-fail-on-empty-changeset --capabilities CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND \
    --parameter-overrides "Id=$id" "Image=$image" "DocumentBucket=$artifacts" "DocumentKey=$key" "$@"

output() {
    aws cloudformation describe-stacks --stack-name "pinpip-$id" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}
url=$(output Url)
aws apigateway create-deployment --rest-api-id "$(output Api)" --stage-name "${url##*/}" >/dev/null
echo "$url"
