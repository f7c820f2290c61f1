-- The embedded state, version 4. One row of `position` says how far all the other tables are; `position_copy` holds it again,
-- on a page of its own: without it nothing else could be used. `sum` is the CRC of a row (embedded/checksum.rs).

CREATE TABLE position (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    ordinal         INTEGER NOT NULL,
    received_at_ms  INTEGER NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    event_segment   INTEGER NOT NULL,
    event_offset    INTEGER NOT NULL,
    next_due_ms     INTEGER,
    -- Open alerts, and the sums of their rows added up: one that is lost, or an older one of itself, is missed at the start.
    open_alerts     INTEGER NOT NULL,
    open_sum        INTEGER NOT NULL,
    sum             INTEGER NOT NULL
) STRICT;
CREATE TABLE position_copy (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    ordinal         INTEGER NOT NULL,
    received_at_ms  INTEGER NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    event_segment   INTEGER NOT NULL,
    event_offset    INTEGER NOT NULL,
    next_due_ms     INTEGER,
    open_alerts     INTEGER NOT NULL,
    open_sum        INTEGER NOT NULL,
    sum             INTEGER NOT NULL
) STRICT;

CREATE TABLE alerts (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    status          INTEGER NOT NULL,
    severity        INTEGER NOT NULL,
    alert_name      TEXT NOT NULL,
    fingerprint     BLOB NOT NULL,
    create_time     INTEGER NOT NULL,
    begin_time      INTEGER NOT NULL,
    latest_time     INTEGER NOT NULL,
    end_time        INTEGER,
    event_count     INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    rule_generation INTEGER NOT NULL,
    sum             INTEGER NOT NULL,
    state           BLOB NOT NULL,
    document        BLOB NOT NULL
) STRICT;
-- Serves lists, counts and the start. Nothing in it changes while an alert only absorbs events.
CREATE INDEX alerts_by_status ON alerts (tenant, status, severity, seq, begin_time, end_time);
-- Serves retention; written once for each alert, when it ends.
CREATE INDEX alerts_by_end ON alerts (end_time) WHERE end_time IS NOT NULL;

CREATE TABLE logs (
    seq             INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    create_time     INTEGER NOT NULL,
    op_type         TEXT NOT NULL,
    sum             INTEGER NOT NULL,
    document        BLOB NOT NULL,
    PRIMARY KEY (seq, position, number)
) STRICT, WITHOUT ROWID;
-- The order in which they are shipped.
CREATE INDEX logs_by_commit ON logs (position, number);

-- `refs` holds 9 bytes an event: segment u32, offset u32, role u8 (embedded/event_list.rs).
CREATE TABLE alert_events (
    seq             INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    sum             INTEGER NOT NULL,
    refs            BLOB NOT NULL,
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    ordinal         INTEGER NOT NULL,
    item_index      INTEGER NOT NULL,
    received_at_ms  INTEGER NOT NULL,
    tenant          TEXT NOT NULL,
    source          TEXT NOT NULL,
    code            TEXT NOT NULL,
    detail          TEXT NOT NULL,
    sum             INTEGER NOT NULL,
    -- How it came, JSON; empty for what cannot be tried again.
    arrival         TEXT NOT NULL,
    item            BLOB NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_source ON dead_letters (source, id);
-- Serves those that are tried again.
CREATE INDEX dead_letters_by_place ON dead_letters (ordinal, item_index);

-- Dead letters of a source: how many are kept, how many had to go for newer ones, bytes of the items of those kept.
CREATE TABLE dead_letter_counts (
    source          TEXT PRIMARY KEY,
    kept            INTEGER NOT NULL,
    dropped         INTEGER NOT NULL,
    bytes           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Alerts that a service (1 Elasticsearch, 2 Redis) does not have at their newest revision; since which commit.
CREATE TABLE outbox (
    service         INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    since           INTEGER NOT NULL,
    since_ms        INTEGER NOT NULL,
    PRIMARY KEY (service, seq)
) STRICT, WITHOUT ROWID;
-- The order in which they are shipped. Nothing in it changes while an alert that waits changes.
CREATE INDEX outbox_by_age ON outbox (service, since, seq);

-- How far services are, in pairs of numbers (embedded/outbox.rs).
CREATE TABLE shipping (
    name            TEXT PRIMARY KEY,
    a               INTEGER NOT NULL,
    b               INTEGER NOT NULL,
    sum             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    scope           TEXT NOT NULL,
    name            TEXT NOT NULL,
    counter         TEXT NOT NULL,
    value           INTEGER NOT NULL,
    sum             INTEGER NOT NULL,
    PRIMARY KEY (scope, name, counter)
) STRICT, WITHOUT ROWID;

CREATE TABLE rule_sets (
    generation      INTEGER PRIMARY KEY,
    ordinal         INTEGER NOT NULL,
    received_at_ms  INTEGER NOT NULL,
    sum             INTEGER NOT NULL,
    content         TEXT NOT NULL
) STRICT;

-- Versions of rules that can be activated. `content` is that of the record, JSON.
CREATE TABLE rule_versions (
    ordinal         INTEGER PRIMARY KEY,
    received_at_ms  INTEGER NOT NULL,
    name            TEXT NOT NULL,
    digest          TEXT NOT NULL,
    sum             INTEGER NOT NULL,
    content         TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX rule_versions_by_digest ON rule_versions (name, digest);
CREATE INDEX rule_versions_by_age ON rule_versions (name, ordinal);

-- Who changed the rules, in a chain: `hash` is over `before`, the hash of the entry before, and the entry (embedded/audit.rs).
CREATE TABLE audit (
    ordinal         INTEGER PRIMARY KEY,
    at_ms           INTEGER NOT NULL,
    object          TEXT NOT NULL,
    before          BLOB NOT NULL,
    hash            BLOB NOT NULL,
    sum             INTEGER NOT NULL,
    content         TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_object ON audit (object, ordinal);

-- Event files that are full: when the last of their rows was received, for retention by age.
CREATE TABLE event_files (
    number          INTEGER PRIMARY KEY,
    received_at_s   INTEGER NOT NULL
) STRICT;
