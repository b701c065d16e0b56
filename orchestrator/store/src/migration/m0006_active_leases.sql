-- How many active leases an account holds itself is counted at each of its applies.
CREATE INDEX lease_active_own ON lease (applied_by, holder) WHERE state = 'active';
