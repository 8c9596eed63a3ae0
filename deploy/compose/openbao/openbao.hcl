# One node; a deployment has three, and unseals them by a key service of its own.
storage "raft" {
  path    = "/var/lib/openbao"
  node_id = "keys"
}
listener "tcp" {
  address            = "0.0.0.0:8200"
  tls_cert_file      = "/etc/openbao/server.pem"
  tls_key_file       = "/etc/openbao/server.key"
  tls_client_ca_file = "/etc/openbao/ca.pem"
}
api_addr     = "https://keys:8200"
cluster_addr = "https://keys:8201"
ui           = false
