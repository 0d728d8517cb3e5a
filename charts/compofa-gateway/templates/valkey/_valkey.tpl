{{- define "compofa-gateway.valkey.selectorLabels" -}}
{{ include "compofa-gateway.instanceLabels" . }}
app.kubernetes.io/component: store
{{- end -}}

{{- define "compofa-gateway.valkey.metadata" -}}
name: {{ include "compofa-gateway.fullname" . }}-valkey
namespace: {{ .Release.Namespace }}
labels:
  {{- include "compofa-gateway.commonLabels" . | nindent 2 }}
  app.kubernetes.io/component: store
{{- end -}}

{{/*
Of pods that are told the password: a new one replaces them, else they would fail at some later
start. Of the value alone, for one that is drawn may differ between renderings; and too little of
its hash to find a short password by.
*/}}
{{- define "compofa-gateway.valkey.annotations" -}}
{{- if .Values.valkey.enabled -}}
checksum/secret: {{ .Values.valkey.password | sha256sum | trunc 8 | quote }}
{{- end -}}
{{- end -}}

{{/* The one given, or the one drawn at the first install, or a new one. */}}
{{- define "compofa-gateway.valkey.password" -}}
{{- $name := printf "%s-valkey" (include "compofa-gateway.fullname" .) -}}
{{- $kept := dig "data" "password" "" (lookup "v1" "Secret" .Release.Namespace $name | default dict) -}}
{{- .Values.valkey.password | default ($kept | b64dec) | default (randAlphaNum 32) -}}
{{- end -}}
