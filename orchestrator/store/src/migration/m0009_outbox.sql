-- What changed, in the order of the commits, written in the transaction of the change. AUTOINCREMENT: a sequence is used
-- once, even after older rows were deleted.
CREATE TABLE event (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    noun TEXT NOT NULL,
    id BLOB NOT NULL
);
-- The process that works on each host: it alone runs the host's operations and assesses and repairs its clusters.
CREATE TABLE host_leader (
    host_id BLOB NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL
);
