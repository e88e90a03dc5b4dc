-- +goose Up

-- A project owns products, orders and settings. The main product of seed 000 is project 1.
CREATE TABLE projects (
    project_id integer PRIMARY KEY CHECK (project_id > 0),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO projects (project_id, name) VALUES (1, 'default');

-- Keys are stored hashed (SHA-256 of a random key needs no salt); the key itself is shown once.
CREATE TABLE api_keys (
    key_id     text PRIMARY KEY,
    project_id integer NOT NULL REFERENCES projects,
    role       text NOT NULL CHECK (role IN ('storefront', 'main_product', 'distributor', 'admin', 'support')),
    key_hash   bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- A user has one wallet of coins, whatever the project: `available` and `held` are the running
-- balances of the two ledger accounts of that name. fillfactor leaves room for HOT updates.
CREATE TABLE users (
    user_id        text PRIMARY KEY CHECK (char_length(user_id) BETWEEN 1 AND 64),
    project_id     integer NOT NULL REFERENCES projects,
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'blocked')),
    blocked_reason text,
    vip            boolean NOT NULL DEFAULT false,
    attributes     jsonb NOT NULL DEFAULT '{}',
    available      bigint NOT NULL DEFAULT 0 CONSTRAINT users_available_not_negative CHECK (available >= 0),
    held           bigint NOT NULL DEFAULT 0 CONSTRAINT users_held_not_negative CHECK (held >= 0),
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Double entry, append-only. Debit gives, credit receives. `available` and `held` are the user's
-- accounts; `revenue` and `issuance` are the system's, which keep no running balance (no hot row).
CREATE TABLE ledger_transfers (
    transfer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  integer NOT NULL,
    user_id     text NOT NULL REFERENCES users,
    debit       text NOT NULL CHECK (debit IN ('available', 'held', 'revenue', 'issuance')),
    credit      text NOT NULL CHECK (credit IN ('available', 'held', 'revenue', 'issuance')),
    amount      bigint NOT NULL CHECK (amount > 0),
    kind        text NOT NULL CHECK (kind IN ('reserve', 'capture', 'release', 'adjustment')),
    reference   text NOT NULL,
    created_at  timestamptz NOT NULL,
    CHECK (debit <> credit)
);
CREATE UNIQUE INDEX ledger_transfers_once ON ledger_transfers (reference, kind);

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER ledger_transfers_append_only BEFORE UPDATE OR DELETE ON ledger_transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE products (
    project_id         integer NOT NULL REFERENCES projects,
    sku                text NOT NULL CHECK (char_length(sku) BETWEEN 1 AND 64),
    version            bigint NOT NULL DEFAULT 1,
    name               text NOT NULL,
    description        text NOT NULL,
    kind               text NOT NULL,
    price_coins        bigint NOT NULL CHECK (price_coins > 0),
    status             text NOT NULL CHECK (status IN ('draft', 'published')),
    minimum_stock      bigint NOT NULL CHECK (minimum_stock >= 0),
    hide_at_zero       boolean NOT NULL,
    integration        jsonb NOT NULL,
    delivery           jsonb NOT NULL,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (project_id, sku)
);

-- Stock is apart from the product: it changes with every sale, the product hardly ever.
CREATE TABLE stock (
    project_id integer NOT NULL,
    sku        text NOT NULL,
    initial    bigint NOT NULL CHECK (initial >= 0),
    restocked  bigint NOT NULL DEFAULT 0,
    available  bigint NOT NULL CONSTRAINT stock_available_not_negative CHECK (available >= 0),
    reserved   bigint NOT NULL DEFAULT 0 CONSTRAINT stock_reserved_not_negative CHECK (reserved >= 0),
    sold       bigint NOT NULL DEFAULT 0 CONSTRAINT stock_sold_not_negative CHECK (sold >= 0),
    PRIMARY KEY (project_id, sku),
    FOREIGN KEY (project_id, sku) REFERENCES products,
    CONSTRAINT stock_adds_up CHECK (initial + restocked = available + reserved + sold)
) WITH (fillfactor = 20);

-- An order in `processing` is also the outbox row of its workflow, and its hold on coins and stock.
-- No foreign key to projects or products: each would lock one hot row once a purchase. Products
-- are never deleted, the reserve transaction reads the row, and `quickpass verify` looks for orphans.
CREATE TABLE orders (
    order_id         text PRIMARY KEY,
    project_id       integer NOT NULL,
    user_id          text NOT NULL REFERENCES users,
    sku              text NOT NULL,
    quantity         bigint NOT NULL CHECK (quantity > 0),
    price_coins      bigint NOT NULL CHECK (price_coins > 0), -- of the whole order
    status           text NOT NULL CHECK (status IN ('processing', 'awaiting_confirmation', 'completed', 'canceled', 'refunded')),
    attempt          integer NOT NULL DEFAULT 1 CHECK (attempt > 0), -- one more for each replay
    delivery         jsonb NOT NULL,                                 -- what to deliver, frozen at purchase
    client           jsonb,                                          -- the buyer's address and device
    reason_code      text,
    reason_message   text,
    reason_detail    jsonb,
    suspected        boolean NOT NULL DEFAULT false, -- canceled, yet the main product may have credited
    delivery_calls   integer NOT NULL DEFAULT 0,
    unsettled_calls  integer NOT NULL DEFAULT 0, -- retries that were begun and of which it is not known that they did nothing
    transaction_id   text,
    credited_amount  numeric,
    new_balance      numeric,
    started_attempt  integer,     -- the attempt whose workflow is known to be started; set for orders that take longer
    swept_at         timestamptz, -- when that was noted, or when the sweep last handed the order out
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    finished_at      timestamptz,
    CONSTRAINT orders_finished CHECK ((finished_at IS NULL) = (status IN ('processing', 'awaiting_confirmation'))),
    CONSTRAINT orders_completed_with_transaction CHECK (status <> 'completed' OR transaction_id IS NOT NULL),
    CONSTRAINT orders_canceled_with_reason CHECK (status <> 'canceled' OR reason_code IS NOT NULL)
) WITH (fillfactor = 70);
-- One crediting by the main product completes one order, whatever a confused connection delivers.
CREATE UNIQUE INDEX orders_transaction_once ON orders (project_id, transaction_id) WHERE transaction_id IS NOT NULL;
CREATE INDEX orders_of_user ON orders (user_id, order_id);
CREATE INDEX orders_open ON orders (order_id) WHERE status = 'processing';
CREATE INDEX orders_canceled ON orders (project_id, order_id) WHERE status = 'canceled';

-- What happened to an order, in order; kept beyond Temporal's retention.
CREATE TABLE order_timeline (
    entry_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL,
    order_id   text NOT NULL,
    attempt    integer NOT NULL,
    event      text NOT NULL,
    detail     jsonb,
    at         timestamptz NOT NULL
);
CREATE INDEX order_timeline_of_order ON order_timeline (order_id, entry_id);
CREATE TRIGGER order_timeline_append_only BEFORE UPDATE OR DELETE ON order_timeline
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The answer to a POST, stored with its effect and kept as long as the effect.
CREATE TABLE idempotency_keys (
    project_id   integer NOT NULL,
    key          text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    resource_id  text NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (project_id, key)
);

-- The in-app feed: what the user has been told.
CREATE TABLE notifications (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id      integer NOT NULL,
    user_id         text NOT NULL,
    order_id        text,
    kind            text NOT NULL,
    detail          jsonb NOT NULL,
    created_at      timestamptz NOT NULL
);
CREATE INDEX notifications_of_user ON notifications (user_id, notification_id);

-- Every act of an admin, with who, why, before and after.
CREATE TABLE audit_log (
    audit_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL,
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    text NOT NULL,
    detail     jsonb NOT NULL,
    at         timestamptz NOT NULL
);
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE audit_log, notifications, idempotency_keys, order_timeline, orders, stock, products, ledger_transfers, users, api_keys, projects;
DROP FUNCTION refuse_change();
