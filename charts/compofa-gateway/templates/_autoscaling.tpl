{{/* Up by doubling, down by a pod at a time after a while of calm. */}}
{{- define "compofa-gateway.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleUpWindowS | int }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: 100, periodSeconds: 30}
    - {type: Pods, value: 2, periodSeconds: 30}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownWindowS | int }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}

{{/* Mean accuracy that the answers of the last while gave up. */}}
{{- define "compofa-gateway.accuracyGivenUp" -}}
{{- $sum := printf "sum(rate(compofa_accuracy_given_up_sum{%s}[%s]))" .series .window -}}
{{- $count := printf "sum(rate(compofa_accuracy_given_up_count{%s}[%s]))" .series .window -}}
{{- printf "(%s / (%s > 0)) or vector(0)" $sum $count -}}
{{- end -}}
