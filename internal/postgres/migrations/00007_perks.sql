-- +goose Up

-- How long one piece lasts; 0 is for good (seed 000, "Multipliers", "VIP Status - premium features for a period").
ALTER TABLE products ADD COLUMN validity_seconds bigint NOT NULL DEFAULT 0 CHECK (validity_seconds >= 0);

-- What an order gave for a time, from starts_at inclusive to expires_at exclusive. Written with the order's
-- capture and never changed. No foreign key to orders, as on the hot path elsewhere; `quickpass verify` looks.
CREATE TABLE perks (
    order_id   text PRIMARY KEY,
    project_id integer NOT NULL,
    user_id    text NOT NULL REFERENCES users,
    sku        text NOT NULL,
    kind       text NOT NULL,
    starts_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > starts_at)
);
CREATE INDEX perks_of_user ON perks (user_id, order_id);
CREATE TRIGGER perks_append_only BEFORE UPDATE OR DELETE ON perks
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Until when a user has what, over all the orders that extended it: the row that a purchase extends. One VIP
-- status is as good as another, so `sku` is empty for that kind.
CREATE TABLE entitlements (
    project_id integer NOT NULL,
    user_id    text NOT NULL,
    kind       text NOT NULL,
    sku        text NOT NULL,
    order_id   text NOT NULL UNIQUE, -- the first of its unbroken stretch; names the workflow that tells of the end
    expires_at timestamptz NOT NULL,
    sweep_at   timestamptz NOT NULL, -- when the sweep looks whether that workflow runs
    told_at    timestamptz,          -- the user knows of the end; never what decides about it
    PRIMARY KEY (project_id, user_id, kind, sku)
) WITH (fillfactor = 80);
CREATE INDEX entitlements_to_sweep ON entitlements (sweep_at) WHERE told_at IS NULL;

-- What a bulk import did, for a repeat under the same idempotency key.
CREATE TABLE product_imports (
    import_id  text PRIMARY KEY,
    project_id integer NOT NULL,
    actor      text NOT NULL,
    report     jsonb NOT NULL,
    created_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE product_imports, entitlements, perks;
ALTER TABLE products DROP COLUMN validity_seconds;
