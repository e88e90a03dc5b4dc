-- +goose Up

-- Stock administration (seed 000, "Administrative Stock Management"). No replenishment by itself: {}.
ALTER TABLE products ADD COLUMN replenishment jsonb NOT NULL DEFAULT '{}';

-- One request that sets or adds stock, with the answer that a repeat of it gets.
CREATE TABLE stock_edits (
    edit_id    text PRIMARY KEY,
    project_id integer NOT NULL,
    actor      text NOT NULL,
    mode       text NOT NULL CHECK (mode IN ('all_or_nothing', 'per_item')),
    reason     text NOT NULL CHECK (reason <> ''),
    results    jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TRIGGER stock_edits_append_only BEFORE UPDATE OR DELETE ON stock_edits
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Every change of stock that is no purchase. Their sum is the stock's `restocked`, as `quickpass verify` checks.
CREATE TABLE stock_changes (
    change_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id       integer NOT NULL,
    sku              text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('manual', 'replenishment')),
    edit_id          text REFERENCES stock_edits,
    actor            text NOT NULL,
    reason           text NOT NULL CHECK (reason <> ''),
    available_before bigint NOT NULL CHECK (available_before >= 0),
    available_after  bigint NOT NULL CHECK (available_after >= 0),
    at               timestamptz NOT NULL,
    CHECK (available_before <> available_after),
    CHECK ((kind = 'manual') = (edit_id IS NOT NULL))
);
CREATE INDEX stock_changes_of_product ON stock_changes (project_id, sku, change_id);
CREATE INDEX stock_changes_of_day ON stock_changes (project_id, sku, at) WHERE kind = 'replenishment';
CREATE TRIGGER stock_changes_append_only BEFORE UPDATE OR DELETE ON stock_changes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What admins must look at, open until it is resolved. One open alert for each kind and subject.
CREATE TABLE admin_alerts (
    alert_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  integer NOT NULL,
    kind        text NOT NULL CHECK (kind ~ '^[a-z][a-z_]{0,63}$'),
    subject     text NOT NULL, -- the SKU for alerts about stock
    detail      jsonb NOT NULL,
    opened_at   timestamptz NOT NULL,
    resolved_at timestamptz,
    CHECK (resolved_at >= opened_at)
);
CREATE UNIQUE INDEX admin_alerts_open ON admin_alerts (project_id, kind, subject) WHERE resolved_at IS NULL;
CREATE INDEX admin_alerts_of_project ON admin_alerts (project_id, alert_id);

-- The sales of one product over time, for its forecast. Partial, so that a purchase pays for one entry, at its capture.
CREATE INDEX orders_sold ON orders (project_id, sku, finished_at) INCLUDE (quantity) WHERE status IN ('completed', 'refunded');

-- +goose Down
DROP INDEX orders_sold;
DROP TABLE admin_alerts, stock_changes, stock_edits;
ALTER TABLE products DROP COLUMN replenishment;
