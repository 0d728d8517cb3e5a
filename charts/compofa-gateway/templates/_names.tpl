{{- define "compofa-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
52 characters at most where a name may have 63: `-headless`, or `keda-hpa-`, is put to it. What is
cut ends in a hash of the whole, for two long names may begin alike.
*/}}
{{- define "compofa-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "compofa-gateway.name" . -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- if gt (len $both) 52 -}}
{{- printf "%s-%s" ($both | trunc 43 | trimSuffix "-") ($both | sha256sum | trunc 8) -}}
{{- else -}}
{{- $both -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Quoted, for a name such as 1e3 would be read as a number. */}}
{{- define "compofa-gateway.instanceLabels" -}}
app.kubernetes.io/name: {{ include "compofa-gateway.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The gateway's pods, and neither those that train nor the store's. */}}
{{- define "compofa-gateway.selectorLabels" -}}
{{ include "compofa-gateway.instanceLabels" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "compofa-gateway.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "compofa-gateway.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "compofa-gateway.labels" -}}
{{ include "compofa-gateway.commonLabels" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/*
The chart's labels and the user's, each key once: `(list $ours $theirs)`. Ours stand, for
selectors go by them.
*/}}
{{- define "compofa-gateway.withLabels" -}}
{{- merge (first . | fromYaml) (last . | default dict) | toYaml -}}
{{- end -}}

{{/* Name, namespace and labels of what belongs to the gateway: `(list . "-suffix" $moreLabels)`. */}}
{{- define "compofa-gateway.metadata" -}}
{{- $root := first . -}}
{{- $more := ternary (last .) dict (gt (len .) 2) -}}
name: {{ include "compofa-gateway.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "compofa-gateway.withLabels" (list (include "compofa-gateway.labels" $root) $more) | nindent 2 }}
{{- end -}}

{{- define "compofa-gateway.serviceAccountName" -}}
{{- $default := ternary (include "compofa-gateway.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end -}}

{{- define "compofa-gateway.image" -}}
{{- $expected := "image.repository: expected an image in which the compofa package is installed" -}}
{{- $digest := .Values.image.digest -}}
{{- required $expected .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with $digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The Service by which pods are scraped. One that is reached from outside does not show metrics. */}}
{{- define "compofa-gateway.metricsService" -}}
{{- include "compofa-gateway.fullname" . -}}
{{- if ne .Values.service.type "ClusterIP" }}-metrics{{ end -}}
{{- end -}}

{{/* Which series are this release's, by the labels that a ServiceMonitor sets. */}}
{{- define "compofa-gateway.seriesSelector" -}}
{{- printf "namespace=%q,service=%q" .Release.Namespace (include "compofa-gateway.metricsService" .) -}}
{{- end -}}

{{- define "compofa-gateway.kubeVersion" -}}
{{- .Values.kubeVersionOverride | default .Capabilities.KubeVersion.Version -}}
{{- end -}}
