{{/* The namespace is part of every agent's identity: admission policies and the agents' leases name it. */}}
{{- define "causeway.namespace" -}}causeway-system{{- end -}}

{{- define "causeway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "causeway.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A manifest of config/, as it is. */}}
{{- define "causeway.files" -}}
{{- $files := .Files -}}
{{- range $path, $_ := .Files.Glob .Pattern }}
{{- if ne (base $path) "kustomization.yaml" }}
---
{{ $files.Get $path }}
{{- end }}
{{- end }}
{{- end -}}
