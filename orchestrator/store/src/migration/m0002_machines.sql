-- The machine of each node of a cluster, by node name; empty if the platform chooses.
ALTER TABLE cluster ADD COLUMN machines TEXT NOT NULL DEFAULT '{}';
