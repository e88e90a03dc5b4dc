-- name: OweReturn :exec
-- Money that was really paid goes back: the payment itself, or what a refund gives back of the one that paid the order.
INSERT INTO checkout_returns (payment_id, refund_id, amount, created_at)
SELECT p.payment_id, sqlc.narg('refund_id')::text, @amount, @now FROM checkout_payments p
WHERE p.order_id = @order_id AND NOT p.sandbox AND p.provider <> 'wallet'
  AND CASE WHEN sqlc.narg('refund_id')::text IS NULL THEN p.payment_id = @payment_id AND p.outcome = 'returned' ELSE p.outcome = 'accepted' END;

-- name: GiveReturn :one
-- Once.
UPDATE checkout_returns r SET reference = @reference::text, given_by = @given_by::text, given_at = @now::timestamptz
FROM checkout_payments p JOIN checkout_orders o ON o.order_id = p.order_id
WHERE r.return_id = @return_id AND p.payment_id = r.payment_id AND r.reference IS NULL
  AND (sqlc.narg('project_id')::integer IS NULL OR o.project_id = sqlc.narg('project_id'))
  AND (sqlc.narg('provider')::text IS NULL OR p.provider = sqlc.narg('provider'))
RETURNING sqlc.embed(r), p.order_id, p.provider, p.provider_id, p.currency, o.project_id;

-- name: GetReturn :one
SELECT sqlc.embed(r), p.order_id, p.provider, p.provider_id, p.currency, o.project_id
FROM checkout_returns r JOIN checkout_payments p ON p.payment_id = r.payment_id JOIN checkout_orders o ON o.order_id = p.order_id
WHERE r.return_id = @return_id AND (sqlc.narg('project_id')::integer IS NULL OR o.project_id = sqlc.narg('project_id'))
  AND (sqlc.narg('provider')::text IS NULL OR p.provider = sqlc.narg('provider'));

-- name: ListReturns :many
-- Newest first; the id is the cursor.
SELECT sqlc.embed(r), p.order_id, p.provider, p.provider_id, p.currency, o.project_id
FROM checkout_returns r JOIN checkout_payments p ON p.payment_id = r.payment_id JOIN checkout_orders o ON o.order_id = p.order_id
WHERE o.project_id = @project_id AND (@before::bigint = 0 OR r.return_id < @before)
  AND (sqlc.narg('given')::boolean IS NULL OR (r.given_at IS NOT NULL) = sqlc.narg('given'))
ORDER BY r.return_id DESC LIMIT @max_returns;

-- name: ListOwedReturns :many
-- ListReturns of those that are not given back yet, which have an index of their own.
SELECT sqlc.embed(r), p.order_id, p.provider, p.provider_id, p.currency, o.project_id
FROM checkout_returns r JOIN checkout_payments p ON p.payment_id = r.payment_id JOIN checkout_orders o ON o.order_id = p.order_id
WHERE r.given_at IS NULL AND o.project_id = @project_id AND (@before::bigint = 0 OR r.return_id < @before)
ORDER BY r.return_id DESC LIMIT @max_returns;
