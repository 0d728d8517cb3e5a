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

{{/* The one given, or the one drawn at the first install, or a new one. */}}
{{- define "compofa-gateway.valkey.password" -}}
{{- $name := printf "%s-valkey" (include "compofa-gateway.fullname" .) -}}
{{- $kept := dig "data" "password" "" (lookup "v1" "Secret" .Release.Namespace $name | default dict) -}}
{{- .Values.valkey.password | default ($kept | b64dec) | default (randAlphaNum 32) -}}
{{- end -}}
