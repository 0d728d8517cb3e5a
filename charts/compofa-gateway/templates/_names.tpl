{{- define "compofa-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Shorter than a name may be: `-headless` and the like are put behind it. */}}
{{- define "compofa-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "compofa-gateway.name" . -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $both | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "compofa-gateway.instanceLabels" -}}
app.kubernetes.io/name: {{ include "compofa-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
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

{{/* Name, namespace and labels of what belongs to the gateway: `(list . "-suffix")`. */}}
{{- define "compofa-gateway.metadata" -}}
{{- $root := first . -}}
name: {{ include "compofa-gateway.fullname" $root }}{{ last . }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "compofa-gateway.labels" $root | nindent 2 }}
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

{{/* Which of this release's series Prometheus is asked for: the labels that a ServiceMonitor sets. */}}
{{- define "compofa-gateway.seriesSelector" -}}
{{- $service := include "compofa-gateway.fullname" . -}}
{{- .Values.autoscaling.keda.selector | default (printf "namespace=%q,service=%q" .Release.Namespace $service) -}}
{{- end -}}

{{- define "compofa-gateway.kubeVersion" -}}
{{- .Values.kubeVersionOverride | default .Capabilities.KubeVersion.Version -}}
{{- end -}}
