-- Which account applied for a lease: a token for other holders reaches those of its own account alone. Leases of before
-- belong to the author that the audit names, and to their holder where it names none any more.
ALTER TABLE lease ADD COLUMN applied_by TEXT NOT NULL DEFAULT '';
UPDATE lease SET applied_by = holder;
UPDATE lease SET applied_by = line.author
    FROM (SELECT substr(detail, 7, 36) AS lease, author FROM audit WHERE verb = 'lease_apply') AS line
    WHERE line.lease = lower(
        substr(hex(lease.id), 1, 8) || '-' || substr(hex(lease.id), 9, 4) || '-' || substr(hex(lease.id), 13, 4) || '-'
        || substr(hex(lease.id), 17, 4) || '-' || substr(hex(lease.id), 21));
DROP INDEX lease_single;
CREATE UNIQUE INDEX lease_single ON lease (applied_by, holder, filter) WHERE state = 'active' AND single;
CREATE INDEX lease_applied_by ON lease (applied_by, id);
