-- The settings of a host are one document. No query filters by the columns that it replaces.
UPDATE host SET settings = json_set(
    settings,
    '$.schedulable', json(iif(schedulable, 'true', 'false')),
    '$.autofill', json(iif(autofill, 'true', 'false')),
    '$.capacity', capacity);
ALTER TABLE host DROP COLUMN schedulable;
ALTER TABLE host DROP COLUMN autofill;
ALTER TABLE host DROP COLUMN capacity;
