-- How many active leases an account has is counted at each of its applies.
CREATE INDEX lease_active_applied_by ON lease (applied_by) WHERE state = 'active';
