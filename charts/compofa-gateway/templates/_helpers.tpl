{{- define "compofa-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "compofa-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "compofa-gateway.name" . -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $both | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "compofa-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "compofa-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "compofa-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "compofa-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "compofa-gateway.serviceAccountName" -}}
{{- $default := ternary (include "compofa-gateway.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end -}}

{{- define "compofa-gateway.image" -}}
{{- $expected := "image.repository: expected an image in which the compofa package is installed" -}}
{{- required $expected .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{/* The artifact's folder as the container sees it; refuses what cannot be one. */}}
{{- define "compofa-gateway.artifact" -}}
{{- $path := .Values.artifact.path -}}
{{- if .Values.artifact.existingClaim -}}
  {{- if or (hasPrefix "/" $path) (has ".." (splitList "/" $path)) -}}
    {{- fail (printf "artifact.path %q: expected a folder inside the claim, such as nets/mine" $path) -}}
  {{- end -}}
  {{- list "/artifact" $path | join "/" | clean -}}
{{- else if not $path -}}
  {{- fail "artifact: expected existingClaim, a claim that holds one, or path, a folder in the image" -}}
{{- else if not (hasPrefix "/" $path) -}}
  {{- fail (printf "artifact.path %q: expected an absolute path in the image where existingClaim is empty" $path) -}}
{{- else -}}
  {{- $path -}}
{{- end -}}
{{- end -}}

{{- define "compofa-gateway.args" -}}
- serve
- {{ include "compofa-gateway.artifact" . | quote }}
- --host=0.0.0.0
- --port={{ .Values.ports.grpc | int }}
- --metrics-port={{ .Values.ports.metrics | int }}
{{- with .Values.gateway }}
- --grace-s={{ .graceS }}
{{- with .fallbackDeviceClass }}
- {{ printf "--fallback-device-class=%s" . | quote }}
{{- end }}
{{- with .maxBatch }}
- --max-batch={{ int . }}
{{- end }}
{{- with .maxPending }}
- --max-pending={{ int . }}
{{- end }}
{{- with .maxResidentMib }}
- --max-resident-mib={{ int . }}
{{- end }}
{{- with .workers }}
- --workers={{ int . }}
{{- end }}
{{- with .threads }}
- --threads={{ int . }}
{{- end }}
{{- if not .fetch }}
- --no-fetch
{{- end }}
{{- if .learnLatency }}
- --learn-latency
{{- if .learnTrustClientNames }}
- --learn-trust-client-names
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
