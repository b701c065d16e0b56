-- Each apply counts the active leases that the account holds itself.
CREATE INDEX lease_active_own ON lease (applied_by, holder) WHERE state = 'active';
