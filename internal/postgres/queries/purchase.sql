-- The four commit points of a purchase. Each is one statement or one short transaction and changes
-- nothing when repeated. Locks are always taken in the order: order, user, stock.

-- name: ClaimIdempotencyKey :one
-- Inserts the key, or waits for the one who did and returns theirs.
INSERT INTO idempotency_keys (project_id, key, request_hash, resource_id, created_at)
VALUES (@project_id, @key, @request_hash, @resource_id, @now)
ON CONFLICT (project_id, key) DO UPDATE SET key = EXCLUDED.key
RETURNING resource_id, request_hash;

-- name: FindReservation :one
SELECT status, attempt, suspected, delivery, confirm_by FROM orders WHERE order_id = @order_id;

-- name: LockBuyer :one
SELECT u.user_id, u.status, u.suspicious, (u.vip OR COALESCE(u.vip_until > @now::timestamptz, false))::boolean AS vip, u.available, u.attributes
FROM users u WHERE u.user_id = @user_id FOR NO KEY UPDATE;

-- name: FindOffer :one
SELECT p.*, s.initial, s.available, s.sales_day, s.sold_in_day, s.sales_week, s.sold_in_week
FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.sku = @sku;

-- name: CountBought :one
-- What the buyer has bought: when last, and how many pieces of this product if its limits ask for that. Asked
-- after the user's row is locked, so that two purchases at once can't both be the last one allowed.
SELECT COALESCE((SELECT o.created_at FROM orders o WHERE o.user_id = @user_id AND o.status <> 'canceled' ORDER BY o.order_id DESC LIMIT 1),
        '0001-01-01 00:00:00+00')::timestamptz AS last_purchase_at,
    COALESCE(sum(b.quantity), 0)::bigint AS ever,
    COALESCE(sum(b.quantity) FILTER (WHERE b.created_at >= date_trunc('day', @now::timestamptz, p.time_zone)), 0)::bigint AS day,
    COALESCE(sum(b.quantity) FILTER (WHERE b.created_at >= date_trunc('week', @now::timestamptz, p.time_zone)), 0)::bigint AS week,
    COALESCE(sum(b.quantity) FILTER (WHERE b.created_at >= date_trunc('month', @now::timestamptz, p.time_zone)), 0)::bigint AS month
FROM products p
JOIN orders b ON b.user_id = @user_id AND b.project_id = p.project_id AND b.sku = p.sku
    AND b.status <> 'canceled' AND NOT (b.status = 'refunded' AND p.limits @> '{"give_back_on_refund": true}')
WHERE p.project_id = @project_id AND p.sku = @sku
  AND p.limits ?| ARRAY['per_user', 'per_user_per_day', 'per_user_per_week', 'per_user_per_month'];

-- name: ReadBuyer :one
-- LockBuyer without the lock, for those who only look.
SELECT u.user_id, u.status, u.suspicious, (u.vip OR COALESCE(u.vip_until > @now::timestamptz, false))::boolean AS vip, u.available, u.attributes,
    COALESCE((SELECT o.created_at FROM orders o WHERE o.user_id = @user_id AND o.status <> 'canceled' ORDER BY o.order_id DESC LIMIT 1),
        '0001-01-01 00:00:00+00')::timestamptz AS last_purchase_at
FROM users u WHERE u.user_id = @user_id;

-- name: CountAllBought :many
-- CountBought for every product of a page whose limits ask for it.
SELECT p.sku, COALESCE(sum(b.quantity), 0)::bigint AS ever,
    COALESCE(sum(b.quantity) FILTER (WHERE b.created_at >= date_trunc('day', @now::timestamptz, p.time_zone)), 0)::bigint AS day,
    COALESCE(sum(b.quantity) FILTER (WHERE b.created_at >= date_trunc('week', @now::timestamptz, p.time_zone)), 0)::bigint AS week,
    COALESCE(sum(b.quantity) FILTER (WHERE b.created_at >= date_trunc('month', @now::timestamptz, p.time_zone)), 0)::bigint AS month
FROM products p
JOIN orders b ON b.user_id = @user_id AND b.project_id = p.project_id AND b.sku = p.sku
    AND b.status <> 'canceled' AND NOT (b.status = 'refunded' AND p.limits @> '{"give_back_on_refund": true}')
WHERE p.project_id = @project_id AND p.sku = ANY (@skus::text[])
  AND p.limits ?| ARRAY['per_user', 'per_user_per_day', 'per_user_per_week', 'per_user_per_month']
GROUP BY p.sku;

-- name: TracePurchase :one
SELECT EXISTS (SELECT FROM denied_addresses d WHERE d.project_id = @project_id AND d.address >>= sqlc.narg('address')::inet)::boolean AS address_denied,
    EXISTS (SELECT FROM user_devices u WHERE u.project_id = @project_id AND u.device_id = @device_id AND u.user_id = @user_id)::boolean AS device_known,
    (SELECT count(*) FROM (SELECT FROM user_devices u WHERE u.project_id = @project_id AND u.device_id = @device_id AND u.user_id <> @user_id LIMIT 1000) AS others) AS device_users;

-- name: RememberDevice :exec
INSERT INTO user_devices (project_id, device_id, user_id, first_seen) VALUES (@project_id, @device_id, @user_id, @now) ON CONFLICT DO NOTHING;

-- name: WriteReserve :exec
-- The CHECKs of users and stock refuse what a race let through; a cap or a floor that a race broke is made to
-- break the same CHECK.
WITH buyer AS (
    UPDATE users u SET available = u.available - @price_coins, held = u.held + @price_coins
    WHERE u.user_id = @user_id RETURNING u.user_id
), pieces AS (
    UPDATE stock s SET
        available = CASE
            WHEN s.available - @quantity < @floor::bigint
              OR CASE WHEN s.sales_day = sqlc.narg('sales_day')::date THEN s.sold_in_day ELSE 0 END + @quantity > sqlc.narg('day_cap')::bigint
              OR CASE WHEN s.sales_week = sqlc.narg('sales_week')::date THEN s.sold_in_week ELSE 0 END + @quantity > sqlc.narg('week_cap')::bigint
            THEN -1 ELSE s.available - @quantity END,
        reserved = s.reserved + @quantity,
        sold_in_day = CASE WHEN s.sales_day = sqlc.narg('sales_day') THEN s.sold_in_day + @quantity WHEN sqlc.narg('sales_day') IS NULL THEN s.sold_in_day ELSE @quantity END,
        sales_day = COALESCE(sqlc.narg('sales_day'), s.sales_day),
        sold_in_week = CASE WHEN s.sales_week = sqlc.narg('sales_week') THEN s.sold_in_week + @quantity WHEN sqlc.narg('sales_week') IS NULL THEN s.sold_in_week ELSE @quantity END,
        sales_week = COALESCE(sqlc.narg('sales_week'), s.sales_week)
    FROM buyer WHERE s.project_id = @project_id AND s.sku = @sku
), bought AS (
    INSERT INTO orders (order_id, project_id, user_id, sku, quantity, price_coins, status, delivery, client, risk, confirm_by, sales_day, sales_week, created_at, updated_at)
    VALUES (@order_id, @project_id, @user_id, @sku, @quantity, @price_coins, @status, @delivery, @client, @risk, sqlc.narg('confirm_by'),
            sqlc.narg('sales_day'), sqlc.narg('sales_week'), @now, @now)
), moved AS (
    INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
    VALUES (@project_id, @user_id, 'available', 'held', @price_coins, 'reserve', @reference, @now)
)
INSERT INTO order_timeline (project_id, order_id, attempt, event, detail, at)
VALUES (@project_id, @order_id, 1, 'reserved', @risk, @now);

-- name: CaptureOrder :one
WITH done AS (
    UPDATE orders o SET status = 'completed', transaction_id = @transaction_id::text, credited_amount = sqlc.narg('credited_amount'),
        new_balance = sqlc.narg('new_balance'), delivery_calls = o.delivery_calls + @calls, suspected = false,
        updated_at = @now, finished_at = @now
    WHERE o.order_id = @order_id AND o.attempt = @attempt AND o.status = 'processing'
    RETURNING o.order_id, o.project_id, o.user_id, o.sku, o.quantity, o.price_coins, o.attempt, o.delivery
), entitled AS (
    -- What lasts for a time goes on from the end of what the buyer has; the lock on that row keeps two orders apart.
    INSERT INTO entitlements AS e (project_id, user_id, kind, sku, order_id, expires_at, sweep_at)
    SELECT d.project_id, d.user_id, d.delivery -> 'perk' ->> 'kind', CASE WHEN d.delivery -> 'perk' ->> 'kind' = 'vip_status' THEN '' ELSE d.sku END,
        d.order_id, sqlc.arg('now')::timestamptz + interval '1 second' * (d.delivery -> 'perk' ->> 'seconds')::bigint, @now::timestamptz
    FROM done d WHERE d.delivery ? 'perk'
    ON CONFLICT (project_id, user_id, kind, sku) DO UPDATE SET
        expires_at = LEAST(GREATEST(e.expires_at, sqlc.arg('now')::timestamptz) + (EXCLUDED.expires_at - @now::timestamptz), '9000-01-01 00:00:00+00'),
        order_id = CASE WHEN e.expires_at > @now::timestamptz AND e.told_at IS NULL THEN e.order_id ELSE EXCLUDED.order_id END,
        sweep_at = CASE WHEN e.expires_at > @now::timestamptz AND e.told_at IS NULL THEN e.sweep_at ELSE EXCLUDED.sweep_at END,
        told_at = NULL
    RETURNING e.kind, e.expires_at
), perk AS (
    INSERT INTO perks (order_id, project_id, user_id, sku, kind, starts_at, expires_at)
    SELECT d.order_id, d.project_id, d.user_id, d.sku, e.kind,
        e.expires_at - interval '1 second' * (d.delivery -> 'perk' ->> 'seconds')::bigint, e.expires_at
    FROM done d CROSS JOIN entitled e
), buyer AS (
    UPDATE users u SET held = u.held - d.price_coins,
        vip_until = CASE WHEN e.kind = 'vip_status' THEN GREATEST(u.vip_until, e.expires_at) ELSE u.vip_until END
    FROM done d LEFT JOIN entitled e ON true WHERE u.user_id = d.user_id
    RETURNING d.project_id, d.sku, d.quantity
), pieces AS (
    UPDATE stock s SET reserved = s.reserved - b.quantity, sold = s.sold + b.quantity
    FROM buyer b WHERE s.project_id = b.project_id AND s.sku = b.sku
), moved AS (
    INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
    SELECT project_id, user_id, 'held', 'revenue', price_coins, 'capture', @reference, @now FROM done
), told AS (
    INSERT INTO notifications (project_id, user_id, order_id, kind, detail, created_at)
    SELECT project_id, user_id, order_id, 'purchase_completed',
        jsonb_build_object('sku', sku, 'product_name', delivery ->> 'product_name', 'quantity', quantity, 'price_coins', price_coins, 'amount', delivery ->> 'amount', 'currency', delivery ->> 'currency'),
        @now FROM done
), noted AS (
    INSERT INTO order_timeline (project_id, order_id, attempt, event, detail, at)
    SELECT project_id, order_id, attempt, 'completed', @detail, @now FROM done
)
SELECT EXISTS (SELECT FROM done) AS changed, o.status, o.attempt FROM orders o WHERE o.order_id = @order_id;

-- name: ReleaseOrder :one
-- Gives coins and pieces back, if the order still stands where the caller left it.
WITH done AS (
    UPDATE orders o SET status = 'canceled', reason_code = @reason_code::text, reason_message = @reason_message::text, reason_detail = @reason_detail,
        
        suspected = o.suspected OR @maybe_credited::boolean OR o.unsettled_calls > 0, delivery_calls = o.delivery_calls + @calls, updated_at = @now, finished_at = @now
    WHERE o.order_id = @order_id AND o.attempt = @attempt AND o.status = @expected_status
    RETURNING o.order_id, o.project_id, o.user_id, o.sku, o.quantity, o.price_coins, o.attempt, o.delivery, o.sales_day, o.sales_week
), buyer AS (
    UPDATE users u SET held = u.held - d.price_coins, available = u.available + d.price_coins
    FROM done d WHERE u.user_id = d.user_id
    RETURNING d.project_id, d.sku, d.quantity, d.sales_day, d.sales_week
), pieces AS (
    UPDATE stock s SET reserved = s.reserved - b.quantity, available = s.available + b.quantity,
        sold_in_day = s.sold_in_day - CASE WHEN s.sales_day = b.sales_day THEN b.quantity ELSE 0 END,
        sold_in_week = s.sold_in_week - CASE WHEN s.sales_week = b.sales_week THEN b.quantity ELSE 0 END
    FROM buyer b WHERE s.project_id = b.project_id AND s.sku = b.sku
), moved AS (
    INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
    SELECT project_id, user_id, 'held', 'available', price_coins, 'release', @reference, @now FROM done
), told AS (
    INSERT INTO notifications (project_id, user_id, order_id, kind, detail, created_at)
    SELECT project_id, user_id, order_id, 'purchase_canceled',
        jsonb_build_object('sku', sku, 'product_name', delivery ->> 'product_name', 'quantity', quantity, 'price_coins', price_coins, 'reason', @reason_code::text),
        @now FROM done
), noted AS (
    INSERT INTO order_timeline (project_id, order_id, attempt, event, detail, at)
    SELECT project_id, order_id, attempt, 'canceled', @detail, @now FROM done
)
SELECT EXISTS (SELECT FROM done) AS changed, o.status, o.attempt FROM orders o WHERE o.order_id = @order_id;

-- name: BeginCall :exec
-- Before a retry is sent: if its process dies, nobody will know what became of it.
UPDATE orders o SET unsettled_calls = o.unsettled_calls + 1
WHERE o.order_id = @order_id AND o.attempt = @attempt AND o.status = 'processing';

-- name: NoteDelivery :exec
-- A call that brought no final answer. It counts only while the order is open.
WITH open_order AS (
    UPDATE orders o SET delivery_calls = o.delivery_calls + @calls, unsettled_calls = o.unsettled_calls - @settled,
        suspected = o.suspected OR @maybe_credited::boolean, updated_at = @now
    WHERE o.order_id = @order_id AND o.attempt = @attempt AND o.status = 'processing'
    RETURNING o.project_id, o.order_id, o.attempt
)
INSERT INTO order_timeline (project_id, order_id, attempt, event, detail, at)
SELECT project_id, order_id, attempt, @event, @detail, @now FROM open_order;

-- name: ReopenOrder :one
-- A replay: only one caller can turn a canceled order back; one that its buyer did not confirm stays canceled. It no longer counts for the caps on sales: its release gave
-- its place back already, and another release must not give it back again.
UPDATE orders SET status = 'processing', attempt = attempt + 1, finished_at = NULL, updated_at = @now, swept_at = NULL,
    sales_day = NULL, sales_week = NULL
WHERE order_id = @order_id AND project_id = @project_id AND status = 'canceled' AND reason_code <> 'not_confirmed'
RETURNING user_id, sku, quantity, price_coins, attempt;

-- name: StockAvailable :one
SELECT available FROM stock WHERE project_id = @project_id AND sku = @sku;

-- name: ReserveAgain :exec
WITH buyer AS (
    UPDATE users u SET available = u.available - @price_coins, held = u.held + @price_coins
    WHERE u.user_id = @user_id RETURNING u.user_id
), pieces AS (
    UPDATE stock s SET available = s.available - @quantity, reserved = s.reserved + @quantity
    FROM buyer WHERE s.project_id = @project_id AND s.sku = @sku
), moved AS (
    INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
    VALUES (@project_id, @user_id, 'available', 'held', @price_coins, 'reserve', @reference, @now)
)
INSERT INTO order_timeline (project_id, order_id, attempt, event, at)
VALUES (@project_id, @order_id, @attempt, @event, @now);

-- name: MarkStarted :exec
-- Tells all processes which open orders are under way. Orders that are over by now, nearly all, are not written.
UPDATE orders AS o SET started_attempt = o.attempt, swept_at = @now::timestamptz
FROM (SELECT unnest(@order_ids::text[]) AS order_id, unnest(@attempts::int[]) AS attempt) AS started
WHERE o.order_id = started.order_id AND o.attempt = started.attempt
  AND o.status IN ('processing', 'awaiting_confirmation') AND o.started_attempt IS DISTINCT FROM o.attempt;

-- name: LeaseUnstarted :many
-- What the sweep starts: open orders that nobody is known to have started, each once a lease; and those whose
-- start is so long ago that their workflow may be gone.
UPDATE orders AS leased SET swept_at = @now::timestamptz
WHERE leased.order_id IN (
    SELECT o.order_id FROM orders o
    WHERE o.status IN ('processing', 'awaiting_confirmation') AND o.updated_at < @older_than
      AND CASE WHEN o.started_attempt = o.attempt THEN o.swept_at < @trust_before::timestamptz
               ELSE o.swept_at IS NULL OR o.swept_at < @lease_before::timestamptz END
    ORDER BY o.order_id LIMIT @max_orders FOR UPDATE SKIP LOCKED)
RETURNING leased.order_id, leased.project_id, leased.user_id, leased.sku, leased.quantity, leased.attempt, (leased.confirmed_at IS NOT NULL)::boolean AS confirmed;

-- name: CountOpen :one
-- The backlog: open orders, and those among them that should have been started by now.
WITH open_order AS (
    SELECT o.updated_at < @older_than AND o.started_attempt IS DISTINCT FROM o.attempt AS is_unstarted
    FROM orders o WHERE o.status IN ('processing', 'awaiting_confirmation') LIMIT @max_orders)
SELECT count(*) AS open_orders, count(*) FILTER (WHERE is_unstarted) AS unstarted FROM open_order;

-- name: ConfirmOrder :one
-- The second verification: only in time, only once.
WITH confirmed AS (
    UPDATE orders o SET status = 'processing', confirmed_at = @now::timestamptz, updated_at = @now,
        started_attempt = NULL, swept_at = NULL -- until its workflow knows of it
    WHERE o.order_id = @order_id AND o.project_id = @project_id AND o.status = 'awaiting_confirmation' AND o.confirm_by > @now::timestamptz
    RETURNING o.project_id, o.order_id, o.attempt
)
INSERT INTO order_timeline (project_id, order_id, attempt, event, at)
SELECT project_id, order_id, attempt, 'confirmed', @now FROM confirmed RETURNING order_id;

-- name: FindBuyersOffer :one
-- FindOffer, and which of the tasks that the product requires the buyer has completed; nothing is looked for when it
-- requires none.
SELECT p.*, s.initial, s.available, s.sales_day, s.sold_in_day, s.sales_week, s.sold_in_week,
    (CASE WHEN p.requires ? 'completed_tasks' THEN ARRAY(
        SELECT DISTINCT r.task_id FROM jsonb_array_elements_text(p.requires -> 'completed_tasks') AS r(task_id)
        JOIN task_windows w ON w.project_id = p.project_id AND w.user_id = @user_id AND w.state = 'completed'
            AND w.task_id = CASE WHEN r.task_id ~ '^[1-9][0-9]{0,17}$' THEN r.task_id::bigint END) END)::text[] AS completed_tasks
FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.sku = @sku;

-- name: CompletedTasks :many
-- Of the tasks that products of a page require, those that the user has completed.
SELECT DISTINCT r.task_id::text AS task_id
FROM products p CROSS JOIN LATERAL jsonb_array_elements_text(p.requires -> 'completed_tasks') AS r(task_id)
JOIN task_windows w ON w.project_id = p.project_id AND w.user_id = @user_id AND w.state = 'completed'
    AND w.task_id = CASE WHEN r.task_id ~ '^[1-9][0-9]{0,17}$' THEN r.task_id::bigint END
WHERE p.project_id = @project_id AND p.sku = ANY (@skus::text[]) AND p.requires ? 'completed_tasks';
