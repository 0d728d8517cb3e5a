{{/* What `compofa serve` would end on at its start: options that exclude or need one another. */}}
{{- define "compofa-gateway.optionsCheck" -}}
{{- $v := .Values -}}
{{- $g := $v.gateway -}}
{{- if and $g.ui (has 8080 (list (int $v.ports.grpc) (int $v.ports.metrics) (int $v.ports.health))) -}}
  {{- fail "ports 8080: expected another with gateway.ui, whose port it is" -}}
{{- end -}}
{{- if and $g.maxConnectionAgeGraceS (not $g.maxConnectionAgeS) -}}
  {{- fail (printf "gateway.maxConnectionAgeGraceS %v: expected maxConnectionAgeS too" $g.maxConnectionAgeGraceS) -}}
{{- end -}}
{{- if and $g.learnTrustClientNames (not $g.learnLatency) -}}
  {{- fail "gateway.learnTrustClientNames: expected learnLatency too" -}}
{{- end -}}
{{- if and (hasPrefix "cuda" ($g.device | default "")) (has $g.engine (list "onnxruntime" "openvino")) -}}
  {{- fail (printf "gateway.device %q: expected cpu with the engine %s" $g.device $g.engine) -}}
{{- end -}}
{{- if and (eq ($g.precision | default "") "bf16") (or (eq ($g.engine | default "") "onnxruntime") (and (eq ($g.engine | default "") "torch") (eq ($g.device | default "") "cpu"))) -}}
  {{- fail (printf "gateway.precision \"bf16\": expected f32 with the engine %s%s" $g.engine (ternary " on the device cpu" "" (eq $g.engine "torch"))) -}}
{{- end -}}
{{- if and (eq ($g.engine | default "") "onnxruntime") (gt (int $g.threads) 1) -}}
  {{- fail (printf "gateway.threads %d: expected 1 with the engine onnxruntime" (int $g.threads)) -}}
{{- end -}}
{{- with $v.tracing.endpoint -}}
  {{- $port := splitList ":" . | last | int -}}
  {{- if or (lt $port 1) (gt $port 65535) -}}
    {{- fail (printf "tracing.endpoint %q: expected a port from 1 to 65535" .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* What one adds to the container must not be there already. */}}
{{- define "compofa-gateway.extrasCheck" -}}
{{- range $extra, $of := dict "extraEnv" (list "env" "name") "extraVolumes" (list "volumes" "name") "extraVolumeMounts" (list "volumeMounts" "mountPath") -}}
  {{- $key := last $of -}}
  {{- $taken := list -}}
  {{- range include (printf "compofa-gateway.%s" (first $of)) $ | fromYamlArray -}}
    {{- $taken = append $taken (get . $key) -}}
  {{- end -}}
  {{- range get $.Values.gateway $extra -}}
    {{- if has (get . $key) $taken -}}
      {{- fail (printf "gateway.%s %q: expected another %s, for this one is taken" $extra (get . $key) $key) -}}
    {{- end -}}
    {{- $taken = append $taken (get . $key) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
