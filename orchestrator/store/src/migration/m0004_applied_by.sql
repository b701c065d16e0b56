-- The account that applied for a lease: a token for named holders reaches only leases of its own account. Existing leases
-- belong to the author in the audit log, or to their holder if the audit log no longer names an author.
ALTER TABLE lease ADD COLUMN applied_by TEXT NOT NULL DEFAULT '';
-- With a primary key, because there may be many leases and many audit rows.
CREATE TEMP TABLE applied (lease TEXT NOT NULL PRIMARY KEY, author TEXT NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO applied SELECT substr(detail, 7, 36), author FROM audit WHERE verb = 'lease_apply';
UPDATE lease SET applied_by = COALESCE((
    SELECT author FROM applied WHERE applied.lease = lower(
        substr(hex(lease.id), 1, 8) || '-' || substr(hex(lease.id), 9, 4) || '-' || substr(hex(lease.id), 13, 4) || '-'
        || substr(hex(lease.id), 17, 4) || '-' || substr(hex(lease.id), 21))), holder);
DROP TABLE applied;
DROP INDEX lease_single;
CREATE UNIQUE INDEX lease_single ON lease (applied_by, holder, filter) WHERE state = 'active' AND single;
CREATE INDEX lease_applied_by ON lease (applied_by, id);
