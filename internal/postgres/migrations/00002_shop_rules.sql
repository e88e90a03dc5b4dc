-- +goose Up

-- Who may buy what, when and how often (seed 000, "Availability Management", "Sales Control").
ALTER TABLE products
    ADD COLUMN product_group text NOT NULL DEFAULT '',
    ADD COLUMN position      integer NOT NULL DEFAULT 0,     -- in the shop, within its group
    ADD COLUMN time_zone     text NOT NULL DEFAULT 'UTC',    -- of the schedule, and of "per day" in the limits
    ADD COLUMN limits        jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN schedule      jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN requires      jsonb NOT NULL DEFAULT '{}';

-- How many were sold in the running day and week of the product's zone; a date of another day counts as none.
ALTER TABLE stock
    ADD COLUMN sales_day     date,
    ADD COLUMN sold_in_day   bigint NOT NULL DEFAULT 0 CHECK (sold_in_day >= 0),
    ADD COLUMN sales_week    date,
    ADD COLUMN sold_in_week  bigint NOT NULL DEFAULT 0 CHECK (sold_in_week >= 0);

ALTER TABLE users
    ADD COLUMN vip_until     timestamptz, -- a bought VIP status; `vip` itself has no end
    ADD COLUMN suspicious    boolean NOT NULL DEFAULT false;

ALTER TABLE orders
    ADD COLUMN sales_day     date, -- the day and week whose caps the order counts for, if there are caps
    ADD COLUMN sales_week    date,
    ADD COLUMN risk          jsonb, -- score and reasons; null: nothing was found
    ADD COLUMN confirm_by    timestamptz,
    ADD COLUMN confirmed_at  timestamptz,
    ADD CONSTRAINT orders_await_until CHECK (status <> 'awaiting_confirmation' OR confirm_by IS NOT NULL);
DROP INDEX orders_open;
CREATE INDEX orders_open ON orders (order_id) WHERE status IN ('processing', 'awaiting_confirmation');

-- Fraud protection: addresses that may not buy, and who bought from which device.
CREATE TABLE denied_addresses (
    project_id integer NOT NULL,
    address    cidr NOT NULL,
    reason     text NOT NULL,
    actor      text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, address)
);
CREATE TABLE user_devices (
    project_id integer NOT NULL,
    device_id  text NOT NULL,
    user_id    text NOT NULL REFERENCES users,
    first_seen timestamptz NOT NULL,
    PRIMARY KEY (project_id, device_id, user_id)
);

-- +goose Down
DROP TABLE user_devices, denied_addresses;
DROP INDEX orders_open;
CREATE INDEX orders_open ON orders (order_id) WHERE status = 'processing';
ALTER TABLE orders DROP CONSTRAINT orders_await_until, DROP COLUMN sales_day, DROP COLUMN sales_week, DROP COLUMN risk, DROP COLUMN confirm_by, DROP COLUMN confirmed_at;
ALTER TABLE users DROP COLUMN vip_until, DROP COLUMN suspicious;
ALTER TABLE stock DROP COLUMN sales_day, DROP COLUMN sold_in_day, DROP COLUMN sales_week, DROP COLUMN sold_in_week;
ALTER TABLE products DROP COLUMN product_group, DROP COLUMN position, DROP COLUMN time_zone, DROP COLUMN limits, DROP COLUMN schedule, DROP COLUMN requires;
