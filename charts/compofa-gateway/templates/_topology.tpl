{{/* Replicas apart from each other, counted anew for each rollout. */}}
{{- define "compofa-gateway.topologySpread" -}}
{{- $keys := dict "zone" "topology.kubernetes.io/zone" "host" "kubernetes.io/hostname" -}}
{{- range $place := list "zone" "host" }}
{{- with get $.Values.topologySpread $place }}
- maxSkew: 1
  topologyKey: {{ get $keys $place }}
  whenUnsatisfiable: {{ . }}
  labelSelector:
    matchLabels:
      {{- include "compofa-gateway.selectorLabels" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end -}}
