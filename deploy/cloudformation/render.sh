#!/bin/sh
# render.sh REGION ACCOUNT ID <gateway/openapi.yaml: the document as API Gateway wants it.
exec sed -e "s/us-east-1/$1/g" -e "s#123456789012:role/pinpip-api-kinesis#$2:role/pinpip-$3-api-kinesis#g"
