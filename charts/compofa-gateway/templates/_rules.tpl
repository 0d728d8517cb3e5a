{{/*
Makes `(list . $groups $selector)` miss this release's gateways: of any release, one that is scraped
would hide that all pods of another are gone. Where no replica is wanted, none is missed.
*/}}
{{- define "compofa-gateway.rulesOfRelease" -}}
{{- $v := (first .).Values -}}
{{- $none := and (eq $v.autoscaling.kind "none") (eq (int $v.replicaCount) 0) -}}
{{- $ours := printf "absent(compofa_build_info{%s})" (last .) -}}
{{- range $group := index . 1 -}}
  {{- $rules := list -}}
  {{- range $rule := $group.rules -}}
    {{- $kept := set $rule "expr" ($rule.expr | replace "absent(compofa_build_info)" $ours) -}}
    {{- if not (and $none (contains $ours $kept.expr)) -}}
      {{- $rules = append $rules $kept -}}
    {{- end -}}
  {{- end -}}
  {{- $_ := set $group "rules" $rules -}}
{{- end -}}
{{- end -}}
