{{- /* The labels of every object. The Deployment's selector takes the first alone: it can never be changed. */ -}}
{{- define "bellhop.labels" -}}
app.kubernetes.io/name: bellhop
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: load-balancer
app.kubernetes.io/part-of: bellhop
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
