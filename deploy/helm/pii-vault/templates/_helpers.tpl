{{- define "pii-vault.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end -}}
{{- define "pii-vault.selector" -}}
app.kubernetes.io/name: pii-vault
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- define "pii-vault.pod-security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "pii-vault.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: {drop: [ALL]}
{{- end -}}
{{- define "pii-vault.environment" -}}
- name: PII_VAULT_CONFIG
  value: /etc/pii-vault/vault.yaml
- name: VAULT_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.database }}, key: database_url}}
{{- if .Values.keysApart }}
- name: VAULT_KEYS_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.database }}, key: keys_url}}
{{- end }}
{{- end -}}
{{- define "pii-vault.mounts" -}}
- {name: config, mountPath: /etc/pii-vault/vault.yaml, subPath: vault.yaml, readOnly: true}
- {name: tls, mountPath: /etc/pii-vault/tls, readOnly: true}
- {name: signing, mountPath: /etc/pii-vault/signing, readOnly: true}
- {name: probe, mountPath: /etc/pii-vault/probe, readOnly: true}
- {name: ledger, mountPath: /var/lib/pii-vault/ledger}
- {name: checkpoints, mountPath: /var/lib/pii-vault/checkpoints}
- {name: temporary, mountPath: /tmp}
{{- end -}}
{{- define "pii-vault.volumes" -}}
- {name: config, configMap: {name: {{ .Release.Name }}-config}}
- {name: tls, secret: {secretName: {{ .Values.secrets.tls }}, defaultMode: 288}}
- {name: signing, secret: {secretName: {{ .Values.secrets.signing }}, defaultMode: 288}}
- {name: probe, secret: {secretName: {{ .Values.secrets.probe }}, defaultMode: 288}}
- {name: ledger, persistentVolumeClaim: {claimName: {{ .Values.volumes.ledgerClaim }}}}
- {name: checkpoints, persistentVolumeClaim: {claimName: {{ .Values.volumes.checkpointsClaim }}}}
- {name: temporary, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
{{- end -}}
