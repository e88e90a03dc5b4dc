-- What the main product gives of an order. Rows are locked after their order, by their number. A call that begins locks its own row only.

-- name: InsertCheckoutDelivery :exec
INSERT INTO checkout_deliveries (order_id, number, project_id, line_id, sku, quantity, amount, currency, ask, instead, round_at, created_at, updated_at)
VALUES (@order_id, @number, @project_id, @line_id, @sku, @quantity, @amount, @currency, @ask, @instead, @now, @now, @now);

-- name: ListCheckoutDeliveries :many
SELECT * FROM checkout_deliveries d WHERE d.order_id = @order_id ORDER BY d.number;

-- name: LockCheckoutDeliveries :many
SELECT * FROM checkout_deliveries d WHERE d.order_id = @order_id ORDER BY d.number FOR NO KEY UPDATE;

-- name: BeginCheckoutDelivery :one
-- Counts a call before it is made. No row when the delivery does not wait for it any more.
UPDATE checkout_deliveries AS d SET calls = d.calls + 1, unsettled = d.unsettled + 1, begun = true, updated_at = @now
WHERE d.order_id = @order_id AND d.number = @number AND d.round = @round AND d.status = 'pending'
RETURNING *;

-- name: SettleCheckoutCall :exec
-- A call that certainly had no effect.
UPDATE checkout_deliveries AS d SET unsettled = d.unsettled - 1, updated_at = @now
WHERE d.order_id = @order_id AND d.number = @number AND d.round = @round AND d.unsettled > 0;

-- name: WriteCheckoutDelivery :exec
-- The row is locked, and the rules have decided.
UPDATE checkout_deliveries AS d SET status = @status, round_at = CASE WHEN d.round = @round THEN d.round_at ELSE @now END, round = @round, unsettled = @unsettled, begun = @begun,
    transaction_id = sqlc.narg('transaction_id'), credited_amount = sqlc.narg('credited_amount'), new_balance = sqlc.narg('new_balance'),
    reason_code = sqlc.narg('reason_code'), reason_message = sqlc.narg('reason_message'), updated_at = @now
WHERE d.order_id = @order_id AND d.number = @number;

-- name: SetOpenDeliveries :one
-- What is suspected only has no run that waits for it: the reason says so, and the sweep leaves the order alone until it changes.
UPDATE checkout_orders AS o SET open_deliveries = sqlc.arg('still_open')::integer, reason = CASE WHEN @suspected::boolean THEN 'delivery_suspected' ELSE NULLIF(o.reason, 'delivery_suspected') END,
    given_at = COALESCE(o.given_at, sqlc.narg('given_at')), changes = o.changes + CASE WHEN @tell::boolean THEN 1 ELSE 0 END,
    sweep_at = CASE WHEN @tell::boolean THEN sqlc.arg('now')::timestamptz ELSE GREATEST(o.sweep_at, sqlc.arg('now')::timestamptz + interval '1 minute') END, updated_at = @now::timestamptz
WHERE o.order_id = @order_id RETURNING o.changes;

-- name: OrderOfTransaction :one
-- Whether a purchase of the shop was completed with this transaction of the main product.
SELECT count(*) FROM orders o WHERE o.project_id = @project_id AND o.transaction_id = @transaction_id::text;
