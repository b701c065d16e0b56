-- Which machine each node of a cluster is on, by the node's name; empty where the platform chooses.
ALTER TABLE cluster ADD COLUMN machines TEXT NOT NULL DEFAULT '{}';
