-- Columns with the terms of the documentation.
ALTER TABLE cluster RENAME COLUMN power_at TO last_started_at;
ALTER TABLE cluster RENAME COLUMN gone_at TO deleted_at;
ALTER TABLE cluster RENAME COLUMN made_with TO created_with;
