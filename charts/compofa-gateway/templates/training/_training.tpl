{{/* Another pod is another run: a Job's template never changes under its name. */}}
{{- define "compofa-gateway.training.name" -}}
{{- $t := .Values.training -}}
{{- $nodes := list $t.kind (int $t.nodes) -}}
{{- $pod := include "compofa-gateway.training.pod" (dict "root" . "run" "" "name" "" "restart" "" "rendezvous" $nodes) -}}
{{- $fullname := include "compofa-gateway.fullname" . | trunc 33 | trimSuffix "-" -}}
{{- printf "%s-train-%s" $fullname (printf "%s%s" $pod $t.recipeToml | sha256sum | trunc 8) -}}
{{- end -}}

{{- define "compofa-gateway.training.selectorLabels" -}}
{{ include "compofa-gateway.instanceLabels" . }}
app.kubernetes.io/component: training
{{- end -}}

{{- define "compofa-gateway.training.metadata" -}}
name: {{ include "compofa-gateway.training.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- $ours := printf "%s\napp.kubernetes.io/component: training" (include "compofa-gateway.commonLabels" .) }}
  {{- include "compofa-gateway.withLabels" (list $ours .Values.training.labels) | nindent 2 }}
{{- end -}}

{{/* The run's folder in the claim; the artifact is its folder `artifact`. */}}
{{- define "compofa-gateway.training.out" -}}
{{- $t := .Values.training -}}
{{- $t.out | default (printf "runs/%s" (ternary "own" $t.recipe (not (empty $t.recipeToml)))) | clean -}}
{{- end -}}

{{/*
Whether a run finds its data where it is: words come with a package, and an image of one's own may
hold what `--data` names.
*/}}
{{- define "compofa-gateway.training.hasItsData" -}}
{{- $t := .Values.training -}}
{{- $words := ternary (regexMatch `(?m)^\s*dataset\s*=\s*["']words["']` $t.recipeToml) (eq $t.recipe "words") (not (empty $t.recipeToml)) -}}
{{- $named := false -}}
{{- range $t.args -}}
  {{- $named = or $named (hasPrefix "--data" .) -}}
{{- end -}}
{{- if or $words $named -}}yes{{- end -}}
{{- end -}}

{{/* torchrun's own part: `(list . $rendezvous)`, whose options say who meets where. */}}
{{- define "compofa-gateway.training.command" -}}
{{- $root := first . -}}
{{- $t := $root.Values.training -}}
command: [torchrun]
args:
  {{- range last . }}
  - {{ . | quote }}
  {{- end }}
  - --nproc-per-node={{ $t.processesPerNode }}
  - --module
  - training
  - train
  - {{ ternary "/recipe/recipe.toml" $t.recipe (not (empty $t.recipeToml)) | quote }}
  - --out={{ printf "/nets/%s" (include "compofa-gateway.training.out" $root) }}
  {{- if $t.dataClaim }}
  - --data={{ list "/data" $t.dataPath | join "/" | clean }}
  {{- end }}
  {{- range $t.args }}
  - {{ . | quote }}
  {{- end }}
{{- end -}}

{{/*
The pod of one node of a run: `(dict "root" . "run" "…" "name" "train" "rendezvous" (list …)
"restart" "…")`. Nothing in it is of the chart's version: a new chart is not a new run.
*/}}
{{- define "compofa-gateway.training.pod" -}}
{{- $root := .root -}}
{{- $t := .root.Values.training -}}
metadata:
  labels:
    {{- include "compofa-gateway.withLabels" (list (include "compofa-gateway.training.selectorLabels" $root) $t.labels) | nindent 4 }}
spec:
  restartPolicy: {{ .restart }}
  serviceAccountName: {{ include "compofa-gateway.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $field := list "nodeSelector" "tolerations" }}
  {{- with get $t $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with $root.Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ $t.image | default (include "compofa-gateway.image" $root) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- include "compofa-gateway.training.command" (list $root .rendezvous) | nindent 6 }}
      env:
        - name: HOME
          value: /tmp
        - name: USER
          value: compofa
        - name: OMP_NUM_THREADS # torchrun says 1 where nothing does, and warns
          value: "1"
      {{- with $t.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: nets
          mountPath: /nets
        - name: tmp
          mountPath: /tmp
        - name: shared-memory
          mountPath: /dev/shm
        {{- if $t.dataClaim }}
        - name: data
          mountPath: /data
          readOnly: true
        {{- end }}
        {{- if $t.recipeToml }}
        - name: recipe
          mountPath: /recipe
          readOnly: true
        {{- end }}
  volumes:
    - name: nets
      persistentVolumeClaim:
        claimName: {{ $root.Values.artifact.existingClaim }}
    - name: tmp
      emptyDir:
        sizeLimit: 4Gi
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: {{ $t.sharedMemory }}
    {{- with $t.dataClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ . }}
        readOnly: true
    {{- end }}
    {{- if $t.recipeToml }}
    - name: recipe
      configMap:
        name: {{ .run }}
    {{- end }}
{{- end -}}
