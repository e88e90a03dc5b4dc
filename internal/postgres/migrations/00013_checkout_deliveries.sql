-- +goose Up

-- What the main product gives of an order that is paid: one row for each item of a line, of a bundle's for each of its items. Frozen as the lines
-- are. The order is done when none is open, that is pending or suspected, any more.
CREATE TABLE checkout_deliveries (
    order_id        bigint NOT NULL REFERENCES checkout_orders,
    number          integer NOT NULL CHECK (number > 0), -- within the order; the main product knows it as co_<order>_<number>
    project_id      integer NOT NULL,
    line_id         text NOT NULL,
    sku             text NOT NULL,
    quantity        bigint NOT NULL CHECK (quantity > 0), -- pieces of the SKU
    amount          numeric NOT NULL CHECK (amount > 0), -- for all pieces, as in ask
    currency        text NOT NULL,
    ask             jsonb NOT NULL, -- store.Delivery
    instead         boolean NOT NULL, -- nothing is put into the inventory for it
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'refused', 'suspected', 'refunded')),
    round           integer NOT NULL DEFAULT 1 CHECK (round > 0), -- one more each time an admin has it delivered again
    round_at        timestamptz NOT NULL,
    calls           integer NOT NULL DEFAULT 0,
    unsettled       integer NOT NULL DEFAULT 0 CHECK (unsettled BETWEEN 0 AND calls), -- of the calls: they may have had an effect
    begun           boolean NOT NULL DEFAULT false, -- a call of this round
    transaction_id  text, -- the main product's
    credited_amount numeric,
    new_balance     numeric,
    reason_code     text, -- why it is not delivered
    reason_message  text,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (order_id, number),
    UNIQUE (order_id, line_id, sku),
    CONSTRAINT checkout_deliveries_credit CHECK (status = 'delivered' OR (transaction_id IS NULL AND credited_amount IS NULL AND new_balance IS NULL)),
    CONSTRAINT checkout_deliveries_reason CHECK ((reason_code IS NULL) = (reason_message IS NULL) AND (status NOT IN ('refused', 'suspected') OR reason_code IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX checkout_deliveries_transaction_once ON checkout_deliveries (project_id, transaction_id) WHERE transaction_id IS NOT NULL;
CREATE INDEX checkout_deliveries_open ON checkout_deliveries (project_id, order_id) WHERE status IN ('pending', 'suspected');

-- An order can't be done while a delivery is open, whatever version of a worker settles it. given_at is when its goods went into the inventory, of
-- an order that waits for the main product then.
ALTER TABLE checkout_orders
    ADD COLUMN open_deliveries integer NOT NULL DEFAULT 0 CHECK (open_deliveries >= 0),
    ADD COLUMN given_at timestamptz,
    ADD CONSTRAINT checkout_orders_done_is_delivered CHECK (status NOT IN ('done', 'canceled') OR open_deliveries = 0);

-- +goose Down
ALTER TABLE checkout_orders DROP COLUMN open_deliveries, DROP COLUMN given_at;
DROP TABLE checkout_deliveries;
