{{/* What the schema cannot say: values that exclude or need one another. One line each. */}}
{{- define "compofa-gateway.checks" -}}
{{- $v := .Values -}}
{{- $ports := list (int $v.ports.grpc) (int $v.ports.metrics) (int $v.ports.health) -}}
{{- if ne (len (uniq $ports)) 3 -}}
  {{- fail (printf "ports %s: expected three different ones for grpc, metrics and health" (join ", " $ports)) -}}
{{- end -}}
{{- if and $v.valkey.enabled $v.store.existingSecret -}}
  {{- fail (printf "store.existingSecret %q: expected none with valkey.enabled" $v.store.existingSecret) -}}
{{- end -}}
{{- if and $v.tls.clientCaKey (not $v.tls.existingSecret) -}}
  {{- fail (printf "tls.clientCaKey %q: expected a Secret in tls.existingSecret too" $v.tls.clientCaKey) -}}
{{- end -}}
{{- if and $v.auth.withoutTls $v.tls.existingSecret -}}
  {{- fail (printf "auth.withoutTls: expected false with tls.existingSecret %q" $v.tls.existingSecret) -}}
{{- end -}}
{{- if and $v.auth.existingSecret (not $v.tls.existingSecret) (not $v.auth.withoutTls) -}}
  {{- fail (printf "auth.existingSecret %q: expected tls.existingSecret too, or auth.withoutTls" $v.auth.existingSecret) -}}
{{- end -}}
{{- if and (not $v.tracing.endpoint) (or $v.tracing.existingSecret (not (kindIs "invalid" $v.tracing.sample))) -}}
  {{- fail "tracing.endpoint: expected a receiver of traces with sample or existingSecret" -}}
{{- end -}}
{{- if and (regexMatch "^0+%?$" (toString $v.rollout.maxSurge)) (regexMatch "^0+%?$" (toString $v.rollout.maxUnavailable)) -}}
  {{- fail (printf "rollout.maxUnavailable %v: expected maxSurge above 0 with it, or no pod can ever be replaced" $v.rollout.maxUnavailable) -}}
{{- end -}}
{{- include "compofa-gateway.nameCheck" . -}}
{{- include "compofa-gateway.optionsCheck" . -}}
{{- include "compofa-gateway.extrasCheck" . -}}
{{- include "compofa-gateway.artifactCheck" . -}}
{{- include "compofa-gateway.autoscalingCheck" . -}}
{{- include "compofa-gateway.trainingCheck" . -}}
{{- end -}}

{{/* Services are called by it, whose names are narrower than a release's. */}}
{{- define "compofa-gateway.nameCheck" -}}
{{- $name := include "compofa-gateway.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
  {{- fail (printf "the release's full name %q: expected lower-case letters, digits and '-', a letter first; fullnameOverride sets another" $name) -}}
{{- end -}}
{{- end -}}

{{- define "compofa-gateway.artifactCheck" -}}
{{- $a := .Values.artifact -}}
{{- $given := compact (list $a.existingClaim $a.image.reference $a.init.image) -}}
{{- $path := $a.path -}}
{{- if gt (len $given) 1 -}}
  {{- fail (printf "artifact: expected one of existingClaim, image.reference and init.image, not %s" (join " and " $given)) -}}
{{- else if $given -}}
  {{- if or (hasPrefix "/" $path) (has ".." (splitList "/" $path)) -}}
    {{- fail (printf "artifact.path %q: expected a folder in what is mounted, such as nets/mine" $path) -}}
  {{- end -}}
{{- else if not $path -}}
  {{- fail "artifact: expected existingClaim, image.reference, init.image, or path, a folder in the gateway's image" -}}
{{- else if not (hasPrefix "/" $path) -}}
  {{- fail (printf "artifact.path %q: expected an absolute path in the image where nothing is mounted" $path) -}}
{{- end -}}
{{- if and $a.image.reference (semverCompare "<1.31-0" (include "compofa-gateway.kubeVersion" .)) -}}
  {{- fail (printf "artifact.image.reference %q: expected Kubernetes 1.31 or later, not %s; artifact.init works there" $a.image.reference (include "compofa-gateway.kubeVersion" .)) -}}
{{- end -}}
{{- end -}}

{{- define "compofa-gateway.autoscalingCheck" -}}
{{- $a := .Values.autoscaling -}}
{{- if gt (int $a.minReplicas) (int $a.maxReplicas) -}}
  {{- fail (printf "autoscaling.minReplicas %d: expected at most maxReplicas, %d" (int $a.minReplicas) (int $a.maxReplicas)) -}}
{{- end -}}
{{- if eq $a.kind "hpa" -}}
  {{- if not (or $a.hpa.cpuUtilization $a.hpa.queueDepth $a.hpa.accuracyGivenUp $a.hpa.metrics) -}}
    {{- fail "autoscaling.hpa: expected a target to scale by, such as cpuUtilization" -}}
  {{- end -}}
  {{- if and $a.hpa.cpuUtilization (not (dig "requests" "cpu" "" .Values.resources)) -}}
    {{- fail "autoscaling.hpa.cpuUtilization: expected resources.requests.cpu, which it is a share of" -}}
  {{- end -}}
{{- else if eq $a.kind "keda" -}}
  {{- $_ := required "autoscaling.keda.prometheusUrl: expected the URL of a Prometheus that scrapes the gateways" $a.keda.prometheusUrl -}}
  {{- if not (or $a.keda.queueDepth $a.keda.accuracyGivenUp) -}}
    {{- fail "autoscaling.keda: expected a target to scale by, such as queueDepth" -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "compofa-gateway.trainingCheck" -}}
{{- $t := .Values.training -}}
{{- if $t.enabled -}}
  {{- $_ := required "training: expected artifact.existingClaim, a claim that it may write to" .Values.artifact.existingClaim -}}
  {{- if and (eq $t.kind "Job") (gt (int $t.nodes) 1) -}}
    {{- fail (printf "training.nodes %d: expected 1 with the kind Job; JobSet and PyTorchJob take more" (int $t.nodes)) -}}
  {{- end -}}
  {{- if or (hasPrefix "/" $t.out) (has ".." (splitList "/" $t.out)) -}}
    {{- fail (printf "training.out %q: expected a folder in the claim, such as runs/mine" $t.out) -}}
  {{- end -}}
  {{- if and $t.dataPath (not $t.dataClaim) -}}
    {{- fail (printf "training.dataPath %q: expected a claim in dataClaim too" $t.dataPath) -}}
  {{- end -}}
  {{- if or (hasPrefix "/" $t.dataPath) (has ".." (splitList "/" $t.dataPath)) -}}
    {{- fail (printf "training.dataPath %q: expected a folder in the claim" $t.dataPath) -}}
  {{- end -}}
  {{- if not (or $t.dataClaim $t.egress (not .Values.networkPolicy.enabled) (include "compofa-gateway.training.hasItsData" .)) -}}
    {{- fail "training.dataClaim: expected a claim with the data, or training.egress to fetch them, or networkPolicy.enabled false" -}}
  {{- end -}}
{{- end -}}
{{- end -}}
