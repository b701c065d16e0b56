-- Ids are UUIDv7 as 16 bytes, timestamps are milliseconds since 1970, enum values are those of chainpool-api.

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE leadership (
    scope TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE host (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    platform TEXT NOT NULL,
    address TEXT NOT NULL,
    engine_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    schedulable BOOLEAN NOT NULL,
    autofill BOOLEAN NOT NULL,
    capacity BIGINT NOT NULL,
    settings TEXT NOT NULL,
    sealed BLOB,
    fill_state TEXT NOT NULL,
    maintenance_until BIGINT,
    info TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE cluster (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host_id BLOB NOT NULL,
    network_type TEXT NOT NULL,
    preset TEXT NOT NULL,
    version TEXT NOT NULL,
    consensus TEXT NOT NULL,
    size BIGINT NOT NULL,
    parameters TEXT NOT NULL,
    labels TEXT NOT NULL,
    state TEXT NOT NULL,
    generation BIGINT NOT NULL,
    chain_id TEXT NOT NULL,
    health TEXT NOT NULL,
    health_reason TEXT NOT NULL,
    health_since BIGINT NOT NULL,
    checked_at BIGINT NOT NULL,
    height BIGINT,
    proof TEXT,
    leased BOOLEAN NOT NULL,
    schedulable BOOLEAN NOT NULL,
    operation_id BLOB,
    subnet TEXT,
    memory_bytes BIGINT NOT NULL,
    fill_key TEXT,
    stopped_nodes TEXT NOT NULL,
    maintenance_until BIGINT,
    power_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ready_at BIGINT,
    gone_at BIGINT
);
CREATE UNIQUE INDEX cluster_name ON cluster (name) WHERE gone_at IS NULL;
CREATE UNIQUE INDEX cluster_subnet ON cluster (host_id, subnet) WHERE gone_at IS NULL AND subnet IS NOT NULL;
CREATE INDEX cluster_host ON cluster (host_id) WHERE gone_at IS NULL;
-- The index for apply: free, healthy, no operation in progress, on an active and schedulable host, oldest first.
CREATE INDEX cluster_free ON cluster (ready_at)
    WHERE state = 'ready' AND health = 'healthy' AND NOT leased AND schedulable AND operation_id IS NULL AND gone_at IS NULL;

CREATE TABLE revision (
    cluster_id BLOB NOT NULL,
    generation BIGINT NOT NULL,
    spec TEXT NOT NULL,
    sealed BLOB NOT NULL,
    images TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, generation)
);

CREATE TABLE data_key (
    cluster_id BLOB NOT NULL,
    generation BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (cluster_id, generation)
);

CREATE TABLE port (
    host_id BLOB NOT NULL,
    port BIGINT NOT NULL,
    cluster_id BLOB NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (host_id, port)
);
CREATE INDEX port_cluster ON port (cluster_id);

CREATE TABLE operation (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    host_id BLOB NOT NULL,
    cluster_id BLOB,
    generation BIGINT NOT NULL,
    parent_id BLOB,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    arguments TEXT NOT NULL,
    result TEXT,
    error TEXT,
    epoch BIGINT NOT NULL,
    deadline_at BIGINT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT
);
CREATE UNIQUE INDEX operation_live_cluster ON operation (cluster_id) WHERE cluster_id IS NOT NULL AND state IN ('queued', 'running');
CREATE UNIQUE INDEX operation_live_host ON operation (host_id) WHERE cluster_id IS NULL AND state IN ('queued', 'running');
CREATE INDEX operation_live ON operation (id) WHERE state IN ('queued', 'running');
CREATE INDEX operation_parent ON operation (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX operation_cluster ON operation (cluster_id, id);

CREATE TABLE step (
    operation_id BLOB NOT NULL,
    seq BIGINT NOT NULL,
    phase BIGINT NOT NULL,
    title TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    memo TEXT,
    note TEXT,
    started_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (operation_id, seq)
);

CREATE TABLE lease (
    id BLOB NOT NULL PRIMARY KEY,
    cluster_id BLOB NOT NULL,
    holder TEXT NOT NULL,
    filter TEXT NOT NULL,
    single BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    ended_at BIGINT,
    operation_id BLOB
);
CREATE UNIQUE INDEX lease_single ON lease (holder, filter) WHERE state = 'active' AND single;
CREATE UNIQUE INDEX lease_cluster ON lease (cluster_id) WHERE state = 'active';
CREATE INDEX lease_expiry ON lease (expires_at) WHERE state = 'active' AND expires_at IS NOT NULL;
CREATE INDEX lease_holder ON lease (holder, id);

CREATE TABLE health_change (
    id BLOB NOT NULL PRIMARY KEY,
    cluster_id BLOB NOT NULL,
    generation BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT,
    at BIGINT NOT NULL
);
CREATE INDEX health_change_cluster ON health_change (cluster_id, id);
CREATE INDEX health_change_at ON health_change (at);

CREATE TABLE account (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    password TEXT,
    link BLOB,
    link_expires_at BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE token (
    id BLOB NOT NULL PRIMARY KEY,
    account_id BLOB NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    session BOOLEAN NOT NULL,
    lease_any BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);

CREATE TABLE idempotency (
    account_id BLOB NOT NULL,
    route TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    answer TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, route, name)
);

CREATE TABLE audit (
    id BLOB NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    author TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
