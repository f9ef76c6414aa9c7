# What Keyturn needs in OpenBao or Vault for one environment. Replace ENVIRONMENT, and `secret` by the mount; a prefix
# stands before ENVIRONMENT. Give each environment a role of its own with its own policy: staging must not see production.
#
# Nothing here lists paths, deletes history, undeletes, or reads another environment.

# read the value that is current and the one that is pending, and write the next version
path "secret/data/ENVIRONMENT/*" {
  capabilities = ["create", "read", "update"]
}

# read version numbers, and write the rotation's id and fingerprints beside them
path "secret/metadata/ENVIRONMENT/*" {
  capabilities = ["read", "update"]
}

# end a pending value, and a previous one that is dead
path "secret/destroy/ENVIRONMENT/*" {
  capabilities = ["update"]
}
