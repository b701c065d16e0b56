-- The number of changes of a row on which a decision may depend; a save compares it. (Clusters already have a column
-- version: that of their software.)
ALTER TABLE account ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE cluster ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE host ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE operation ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
