-- +goose Up

-- Many failed orders tried again at a limited rate (seed 000, "Support service for dispute resolution"). The row is also the
-- outbox of its workflow: seen_at is null while the workflow has not seen the latest change.
CREATE TABLE replays (
    replay_id       text PRIMARY KEY,
    project_id      integer NOT NULL REFERENCES projects,
    status          text NOT NULL CHECK (status IN ('running', 'paused', 'canceling', 'completed', 'canceled')),
    filter          jsonb NOT NULL,
    rate_per_second double precision NOT NULL CHECK (rate_per_second BETWEEN 0.1 AND 100),
    reason          text NOT NULL,
    actor           text NOT NULL,
    total           bigint NOT NULL CHECK (total > 0),
    coins           bigint NOT NULL CHECK (coins > 0),
    report          jsonb,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL, -- when somebody last changed its status
    started_at      timestamptz,
    finished_at     timestamptz,
    seen_at         timestamptz,
    swept_at        timestamptz,          -- when the sweep last told the workflow, or started it
    CONSTRAINT replays_finished CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'canceled'))),
    CONSTRAINT replays_finished_with_report CHECK ((finished_at IS NULL) = (report IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX replays_of_project ON replays (project_id, replay_id);
CREATE INDEX replays_open ON replays (replay_id) WHERE status IN ('running', 'paused', 'canceling');

-- The orders of a replay, frozen when it is made. `attempt` is the attempt of the order that this replay began, so that
-- its transfers can be told from those of earlier and later attempts.
CREATE TABLE replay_items (
    replay_id   text NOT NULL REFERENCES replays,
    order_id    text NOT NULL REFERENCES orders,
    position    bigint NOT NULL CHECK (position > 0),
    coins       bigint NOT NULL CHECK (coins > 0),
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replayed', 'completed', 'canceled', 'refused', 'skipped')),
    attempt     integer CHECK (attempt > 1),
    reason_code text,
    PRIMARY KEY (replay_id, order_id),
    UNIQUE (replay_id, position),
    CONSTRAINT replay_items_attempt CHECK ((attempt IS NOT NULL) = (state IN ('replayed', 'completed', 'canceled'))),
    CONSTRAINT replay_items_reason CHECK (reason_code IS NOT NULL OR state NOT IN ('refused', 'skipped'))
) WITH (fillfactor = 80);
-- An attempt of an order was begun by one replay.
CREATE UNIQUE INDEX replay_items_attempt_once ON replay_items (order_id, attempt) WHERE attempt IS NOT NULL;
CREATE INDEX replay_items_waiting ON replay_items (replay_id, position) WHERE state = 'waiting';
CREATE INDEX replay_items_replayed ON replay_items (replay_id) WHERE state = 'replayed';

-- +goose Down
DROP TABLE replay_items, replays;
