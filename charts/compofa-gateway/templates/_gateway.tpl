{{/* What the container runs, mounts and is told: deployment.yaml puts it together. */}}

{{/* The artifact's folder as the container sees it. */}}
{{- define "compofa-gateway.artifact" -}}
{{- $a := .Values.artifact -}}
{{- if include "compofa-gateway.artifactVolume" . -}}
  {{- $trained := ternary (printf "%s/artifact" (include "compofa-gateway.training.out" .)) "" .Values.training.enabled -}}
  {{- list "/artifact" ($a.path | default $trained) | join "/" | clean -}}
{{- else -}}
  {{- $a.path -}}
{{- end -}}
{{- end -}}

{{/* Where what is mounted at /artifact comes from; nothing where the image has it. */}}
{{- define "compofa-gateway.artifactVolume" -}}
{{- $a := .Values.artifact -}}
{{- if $a.existingClaim -}}
persistentVolumeClaim:
  claimName: {{ $a.existingClaim }}
  readOnly: true
{{- else if $a.image.reference -}}
image:
  reference: {{ $a.image.reference | quote }}
  pullPolicy: {{ $a.image.pullPolicy }}
{{- else if $a.init.image -}}
emptyDir:
  sizeLimit: {{ $a.init.sizeLimit }}
{{- end -}}
{{- end -}}

{{/* The Secret with the store's URL, and the key that it has there; nothing without a store. */}}
{{- define "compofa-gateway.storeSecret" -}}
{{- if .Values.valkey.enabled -}}
name: {{ include "compofa-gateway.fullname" . }}-valkey
key: url
{{- else if .Values.store.existingSecret -}}
name: {{ .Values.store.existingSecret }}
key: {{ .Values.store.key }}
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
{{- range $option, $value := dict "max-batch" .maxBatch "max-pending" .maxPending "max-resident-mib" .maxResidentMib "workers" .workers "threads" .threads }}
{{- with $value }}
- --{{ $option }}={{ int . }}
{{- end }}
{{- end }}
{{- range $option, $value := dict "engine" .engine "precision" .precision "device" .device "log-level" .logLevel "max-connection-age-s" .maxConnectionAgeS "max-connection-age-grace-s" .maxConnectionAgeGraceS }}
{{- with $value }}
- --{{ $option }}={{ . }}
{{- end }}
{{- end }}
{{- if not .fetch }}
- --no-fetch
{{- end }}
{{- if not .logRequests }}
- --no-request-logs
{{- end }}
{{- if .debug }}
- --debug
{{- end }}
{{- if .ui }}
- --ui
{{- end }}
{{- if .learnLatency }}
- --learn-latency
{{- if .learnTrustClientNames }}
- --learn-trust-client-names
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tls }}
{{- if .existingSecret }}
- --tls-cert=/etc/compofa/tls/{{ .certKey }}
- --tls-key=/etc/compofa/tls/{{ .keyKey }}
{{- with .clientCaKey }}
- --tls-client-ca=/etc/compofa/tls/{{ . }}
{{- end }}
- --health-port={{ $.Values.ports.health | int }}
{{- end }}
{{- end }}
{{- with .Values.auth }}
{{- if .existingSecret }}
- --tokens=/etc/compofa/auth/{{ .key }}
{{- if .withoutTls }}
- --tokens-without-tls
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tracing }}
{{- if .endpoint }}
- {{ printf "--trace-endpoint=%s" .endpoint | quote }}
{{- if not (kindIs "invalid" .sample) }}
- --trace-sample={{ .sample }}
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.gateway.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The root is read-only, and whoever runs there need not be in /etc/passwd. */}}
{{- define "compofa-gateway.env" -}}
- name: HOME
  value: /var/lib/compofa
- name: USER
  value: compofa
- name: COMPOFA_STATE_DIR
  value: /var/lib/compofa
# What the engine has compiled and the exports that were built.
- name: XDG_CACHE_HOME
  value: /var/lib/compofa/cache
{{- with include "compofa-gateway.storeSecret" . }}
- name: COMPOFA_STORE
  valueFrom:
    secretKeyRef:
      {{- . | nindent 6 }}
{{- end }}
{{- with .Values.tracing }}
{{- if .endpoint }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ $.Release.Namespace }},k8s.pod.name=$(POD_NAME),service.instance.id=$(POD_NAME)
{{- if .existingSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "compofa-gateway.volumes" -}}
- name: state
  emptyDir:
    sizeLimit: {{ .Values.state.sizeLimit }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.state.sizeLimit }}
{{- with include "compofa-gateway.artifactVolume" . }}
- name: artifact
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.auth.existingSecret }}
- name: auth
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "compofa-gateway.volumeMounts" -}}
- name: state
  mountPath: /var/lib/compofa
- name: tmp
  mountPath: /tmp
{{- if include "compofa-gateway.artifactVolume" . }}
- name: artifact
  mountPath: /artifact
  readOnly: true
{{- end }}
# Whole folders: a file mounted by itself is never renewed.
{{- if .Values.tls.existingSecret }}
- name: tls
  mountPath: /etc/compofa/tls
  readOnly: true
{{- end }}
{{- if .Values.auth.existingSecret }}
- name: auth
  mountPath: /etc/compofa/auth
  readOnly: true
{{- end }}
{{- end -}}

{{/* A gRPC probe with its times: `(dict "root" . "probe" .Values.probes.x "service" "…")`. */}}
{{- define "compofa-gateway.probe" -}}
{{- $ports := .root.Values.ports -}}
grpc:
  # The kubelet speaks no TLS.
  port: {{ ternary $ports.health $ports.grpc (not (empty .root.Values.tls.existingSecret)) | int }}
  {{- with .service }}
  service: {{ . }}
  {{- end }}
{{ toYaml .probe }}
{{- end -}}

{{/* What has to be there before the gateway starts. */}}
{{- define "compofa-gateway.initContainers" -}}
{{- $init := .Values.artifact.init -}}
{{- if $init.image }}
- name: artifact
  image: {{ $init.image | quote }}
  {{- range $field := list "command" "args" "env" "envFrom" "resources" }}
  {{- with get $init $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with $.Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: artifact
      mountPath: /artifact
    - name: tmp
      mountPath: /tmp
{{- else if .Values.training.enabled }}
# A run puts its artifact there whole, by a rename.
- name: until-trained
  image: {{ include "compofa-gateway.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c, 'until [ -f "$0" ]; do sleep 5; done']
  args: [{{ printf "%s/artifact.json" (include "compofa-gateway.artifact" .) | quote }}]
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {cpu: 100m, memory: 32Mi}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: artifact
      mountPath: /artifact
      readOnly: true
{{- end }}
{{- end -}}
