-- +goose Up

-- What is looked for in tables of millions of rows.
CREATE INDEX game_keys_of_user ON game_keys (project_id, user_id, sku) WHERE state = 'given';
CREATE INDEX checkout_orders_created ON checkout_orders (project_id, created_at, order_id);
CREATE INDEX checkout_orders_open ON checkout_orders (project_id, order_id) WHERE finished_at IS NULL;
CREATE INDEX checkout_payments_not_accepted ON checkout_payments (payment_id) WHERE outcome <> 'accepted';

-- +goose Down
DROP INDEX game_keys_of_user, checkout_orders_created, checkout_orders_open, checkout_payments_not_accepted;
