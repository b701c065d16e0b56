-- Lists by health, state and host read only the matching rows, newest first.
CREATE INDEX cluster_health ON cluster (health, id) WHERE deleted_at IS NULL;
CREATE INDEX cluster_state ON cluster (state, id) WHERE deleted_at IS NULL;
CREATE INDEX operation_host ON operation (host_id, id);
