-- Orders of carts and items (seeds 002, 004). Locks are taken in the order: cart, order, user, the user's usages, sales of
-- items, game keys, inventory; of several rows of a table by their key; the audit comes last.

-- name: NextCheckoutOrder :one
-- The id that the next order gets, and what its token is derived from.
SELECT nextval(pg_get_serial_sequence('checkout_orders', 'order_id'))::bigint AS order_id, p.token_secret
FROM projects p WHERE p.project_id = @project_id;

-- name: FindCheckoutBuyer :one
SELECT u.status FROM users u WHERE u.user_id = @user_id;

-- name: TakeUsage :execrows
-- Counts pieces, or one use of a promotion, for a user, unless the limit does not allow it. Pieces are what most allows.
INSERT INTO item_usages AS u (project_id, user_id, sku, promotion, period_start, used)
SELECT @project_id, @user_id, @sku, @promotion, @period_start, @quantity::bigint WHERE @quantity::bigint <= @most::bigint
ON CONFLICT (project_id, user_id, sku, promotion, period_start) DO UPDATE SET used = u.used + EXCLUDED.used
    WHERE u.used + EXCLUDED.used <= @most::bigint;

-- name: GiveUsageBack :exec
UPDATE item_usages u SET used = u.used - @quantity::bigint
WHERE u.project_id = @project_id AND u.user_id = @user_id AND u.sku = @sku AND u.promotion = @promotion AND u.period_start = @period_start;

-- name: TakeSale :execrows
-- Reserves pieces of an item that has a limit for all users, unless there are not so many left; at once sold when nothing is to be paid.
INSERT INTO item_sales AS s (project_id, sku, total, reserved, sold)
SELECT @project_id, @sku, @total::bigint, CASE WHEN @sold::boolean THEN 0 ELSE @quantity::bigint END, CASE WHEN @sold::boolean THEN @quantity::bigint ELSE 0 END
WHERE @quantity::bigint <= @total::bigint
ON CONFLICT (project_id, sku) DO UPDATE SET total = EXCLUDED.total, reserved = s.reserved + EXCLUDED.reserved, sold = s.sold + EXCLUDED.sold
    WHERE s.reserved + s.sold + EXCLUDED.reserved + EXCLUDED.sold <= EXCLUDED.total;

-- name: SellReserved :exec
UPDATE item_sales s SET reserved = s.reserved - @quantity::bigint, sold = s.sold + @quantity::bigint
WHERE s.project_id = @project_id AND s.sku = @sku;

-- name: GiveSaleBack :exec
UPDATE item_sales s SET reserved = s.reserved - CASE WHEN @sold::boolean THEN 0 ELSE @quantity::bigint END,
    sold = s.sold - CASE WHEN @sold::boolean THEN @quantity::bigint ELSE 0 END
WHERE s.project_id = @project_id AND s.sku = @sku;

-- name: ReserveGameKeys :execrows
UPDATE game_keys AS k SET state = 'reserved', order_id = @order_id::bigint, user_id = @user_id::text, updated_at = @now
WHERE k.key_id IN (
    SELECT f.key_id FROM game_keys f WHERE f.project_id = @project_id AND f.sku = @sku AND f.state = 'free'
    ORDER BY f.key_id LIMIT @quantity FOR UPDATE SKIP LOCKED);

-- name: FreeGameKeys :exec
UPDATE game_keys AS k SET state = 'free', order_id = NULL, user_id = NULL, updated_at = @now
WHERE k.order_id = @order_id::bigint AND k.state = 'reserved';

-- name: InsertCheckoutOrder :exec
INSERT INTO checkout_orders (order_id, project_id, user_id, status, mode, currency_type, price, virtual_price, lines, token_hash, cart_id, country,
    custom_parameters, external_id, return_url, holds, moved, expires_at, paid, sweep_at, told, created_at, updated_at, paid_at, finished_at,
    open_deliveries, given_at)
VALUES (@order_id, @project_id, @user_id, @status, @mode, @currency_type, @price, @virtual_price, @lines, @token_hash, sqlc.narg('cart_id'), sqlc.narg('country'),
    @custom_parameters, sqlc.narg('external_id'), sqlc.narg('return_url'), @holds, @moved, sqlc.narg('expires_at'), sqlc.narg('paid'), @sweep_at, @told, @now, @now, sqlc.narg('paid_at'), sqlc.narg('finished_at'),
    @open_deliveries, sqlc.narg('given_at'));

-- name: MoveCoinsForCheckout :execrows
-- Coins that pay for an order at once: held and captured in one step, as a purchase does in two.
WITH buyer AS (
    UPDATE users u SET available = u.available - @amount::bigint
    WHERE u.user_id = @user_id AND u.available >= @amount::bigint RETURNING u.user_id
)
INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
SELECT @project_id, buyer.user_id, m.debit, m.credit, @amount::bigint, m.kind, @reference, @now
FROM buyer CROSS JOIN (VALUES ('available', 'held', 'reserve'), ('held', 'revenue', 'capture')) AS m (debit, credit, kind);

-- name: ReturnCoinsOfCheckout :exec
WITH buyer AS (
    UPDATE users u SET available = u.available + @amount::bigint WHERE u.user_id = @user_id RETURNING u.user_id
)
INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
SELECT @project_id, buyer.user_id, 'revenue', 'available', @amount::bigint, 'refund', @reference, @now FROM buyer;

-- name: GetCheckoutOrder :one
SELECT * FROM checkout_orders o WHERE o.order_id = @order_id AND o.project_id = @project_id;

-- name: LockCheckoutOrder :one
SELECT * FROM checkout_orders o WHERE o.order_id = @order_id FOR NO KEY UPDATE;

-- name: ListCheckoutPayments :many
SELECT * FROM checkout_payments p WHERE p.order_id = @order_id ORDER BY p.payment_id;

-- name: ListCheckoutRefunds :many
SELECT * FROM checkout_refunds r WHERE r.order_id = @order_id ORDER BY r.created_at, r.refund_id;

-- name: FindCheckoutPayment :one
SELECT * FROM checkout_payments p WHERE p.provider = @provider AND p.provider_id = @provider_id;

-- name: GetCheckoutPayment :one
SELECT sqlc.embed(p), o.project_id FROM checkout_payments p JOIN checkout_orders o ON o.order_id = p.order_id
WHERE p.payment_id = @payment_id AND o.project_id = @project_id;

-- name: InsertCheckoutPayment :one
INSERT INTO checkout_payments (order_id, provider, provider_id, amount, currency, sandbox, outcome, reason, created_at)
VALUES (@order_id, @provider, @provider_id, @amount, @currency, @sandbox, @outcome, @reason, @now) RETURNING payment_id;

-- name: DecideCheckoutPayment :exec
UPDATE checkout_payments p SET outcome = @outcome, reason = @reason, decided_by = @actor::text, decided_at = @now::timestamptz
WHERE p.payment_id = @payment_id AND p.outcome = 'held';

-- name: MoveCheckoutOrder :one
-- The row is locked and the rules allow the move. What the workflow does not know of is a change.
UPDATE checkout_orders o SET status = @status, reason = COALESCE(sqlc.narg('reason'), NULLIF(o.reason, 'delivery_suspected')), holds = @holds, paid = COALESCE(sqlc.narg('paid'), o.paid),
    refunded = @refunded, paid_at = COALESCE(o.paid_at, sqlc.narg('paid_at')), open_deliveries = @open_deliveries,
    finished_at = CASE WHEN o.status = @status THEN o.finished_at WHEN @status IN ('done', 'canceled', 'expired') THEN @now::timestamptz END,
    changes = o.changes + CASE WHEN @tell::boolean THEN 1 ELSE 0 END, sweep_at = @now::timestamptz, updated_at = @now::timestamptz
WHERE o.order_id = @order_id RETURNING o.changes;

-- name: InsertCheckoutRefund :exec
INSERT INTO checkout_refunds (refund_id, order_id, lines, amount, whole, reason, actor, created_at)
VALUES (@refund_id, @order_id, @lines, @amount, @whole, @reason, @actor, @now);

-- name: FinalCheckoutOrders :many
SELECT o.order_id FROM checkout_orders o WHERE o.order_id = ANY (@order_ids::bigint[]) AND o.finished_at IS NOT NULL;

-- name: LeaseCheckoutOrders :many
-- What the sweep tells: orders whose workflow does not know of the latest change, and those that are not finished and should be. One that waits for an
-- admin's word about a delivery is not, until it has changed.
UPDATE checkout_orders AS leased SET sweep_at = @lease_until::timestamptz
WHERE leased.order_id IN (
    SELECT o.order_id FROM checkout_orders o
    WHERE (o.told < o.changes OR (o.finished_at IS NULL AND o.reason IS DISTINCT FROM 'delivery_suspected')) AND o.sweep_at <= @now::timestamptz
    ORDER BY o.sweep_at LIMIT @max_orders FOR NO KEY UPDATE SKIP LOCKED)
RETURNING leased.order_id, leased.project_id, leased.user_id, leased.status, leased.expires_at, leased.changes;

-- name: MarkCheckoutOrdersTold :exec
-- The sweep looks again when the order should have expired, or be delivered.
WITH seen AS (
    SELECT told.order_id, max(told.changes) AS changes
    FROM (SELECT unnest(@order_ids::bigint[]) AS order_id, unnest(@changes::int[]) AS changes) AS told GROUP BY told.order_id
), locked AS MATERIALIZED (
    SELECT l.order_id, seen.changes FROM checkout_orders l JOIN seen ON seen.order_id = l.order_id ORDER BY l.order_id FOR NO KEY UPDATE OF l
)
UPDATE checkout_orders AS o SET told = GREATEST(o.told, LEAST(locked.changes, o.changes)),
    sweep_at = CASE
        WHEN locked.changes < o.changes THEN o.sweep_at
        WHEN o.status = 'new' THEN GREATEST(o.expires_at, sqlc.arg('now')::timestamptz) + interval '2 minutes'
        ELSE GREATEST(o.sweep_at, sqlc.arg('now')::timestamptz + LEAST(GREATEST(sqlc.arg('now')::timestamptz - o.updated_at, interval '1 minute'), interval '1 hour')) END
FROM locked WHERE o.order_id = locked.order_id;

-- name: SearchCheckoutOrders :many
-- Newest first. What is left out at the beginning is read from the index alone.
SELECT o.* FROM (
    SELECT f.order_id FROM checkout_orders f
    WHERE f.project_id = @project_id AND f.created_at >= COALESCE(sqlc.narg('created_from')::timestamptz, '-infinity') AND f.created_at < COALESCE(sqlc.narg('created_until')::timestamptz, 'infinity')
    ORDER BY f.created_at DESC, f.order_id DESC LIMIT @max_orders OFFSET @skip) page
JOIN checkout_orders o ON o.order_id = page.order_id ORDER BY o.created_at DESC, o.order_id DESC;

-- name: CountCheckoutOrders :one
SELECT count(*) FROM checkout_orders o
WHERE o.project_id = @project_id AND o.created_at >= COALESCE(sqlc.narg('created_from')::timestamptz, '-infinity') AND o.created_at < COALESCE(sqlc.narg('created_until')::timestamptz, 'infinity');

-- name: ListCheckoutOrders :many
-- Newest first; the id is the cursor.
SELECT * FROM checkout_orders o
WHERE o.project_id = @project_id AND (@before::bigint = 0 OR o.order_id < @before)
  AND (sqlc.narg('user_id')::text IS NULL OR o.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('status')::text IS NULL OR o.status = sqlc.narg('status'))
  AND (sqlc.narg('delivery')::text IS NULL OR o.order_id IN (SELECT d.order_id FROM checkout_deliveries d WHERE d.project_id = o.project_id AND d.status IN ('pending', 'suspected') AND d.status = sqlc.narg('delivery')))
ORDER BY o.order_id DESC LIMIT @max_orders;

-- name: ListOpenCheckoutOrders :many
-- ListCheckoutOrders of those that are new or paid. They are few, and have an index of their own, which only a condition without a parameter finds.
SELECT * FROM checkout_orders o
WHERE o.finished_at IS NULL AND o.project_id = @project_id AND (@before::bigint = 0 OR o.order_id < @before)
  AND (sqlc.narg('user_id')::text IS NULL OR o.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('status')::text IS NULL OR o.status = sqlc.narg('status'))
  AND (sqlc.narg('delivery')::text IS NULL OR o.order_id IN (SELECT d.order_id FROM checkout_deliveries d WHERE d.project_id = o.project_id AND d.status IN ('pending', 'suspected') AND d.status = sqlc.narg('delivery')))
ORDER BY o.order_id DESC LIMIT @max_orders;

-- name: ListProjectPayments :many
-- Newest first.
SELECT p.* FROM checkout_payments p JOIN checkout_orders o ON o.order_id = p.order_id
WHERE o.project_id = @project_id AND (@before::bigint = 0 OR p.payment_id < @before)
  AND (sqlc.narg('outcome')::text IS NULL OR p.outcome = sqlc.narg('outcome'))
ORDER BY p.payment_id DESC LIMIT @max_payments;

-- name: ListPaymentsNotAccepted :many
-- ListProjectPayments of those that are held or returned, which have an index of their own.
SELECT p.* FROM checkout_payments p JOIN checkout_orders o ON o.order_id = p.order_id
WHERE p.outcome <> 'accepted' AND o.project_id = @project_id AND (@before::bigint = 0 OR p.payment_id < @before)
  AND (sqlc.narg('outcome')::text IS NULL OR p.outcome = sqlc.narg('outcome'))
ORDER BY p.payment_id DESC LIMIT @max_payments;

-- name: FindCatalogItems :many
SELECT i.item_id, i.version, i.updated_at, i.definition FROM catalog_items i WHERE i.project_id = @project_id AND i.sku = ANY (@skus::text[]);

-- name: FindCheckoutOfToken :one
SELECT * FROM checkout_orders o WHERE o.token_hash = @token_hash;

-- name: FindCheckoutMode :one
SELECT o.mode FROM checkout_orders o WHERE o.order_id = @order_id;
