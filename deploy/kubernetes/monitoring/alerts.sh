#!/bin/sh
# alerts.sh [NAMESPACE]: deploy/prometheus/alerts.yaml as a PrometheusRule of the Prometheus operator.
#   deploy/kubernetes/monitoring/alerts.sh | kubectl apply -f -
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cat <<END
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pinpip
  namespace: ${1:-pinpip}
  labels: {app.kubernetes.io/name: pinpip}
spec:
END
sed 's/^/  /' "$here/../../prometheus/alerts.yaml"
