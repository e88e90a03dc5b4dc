-- name: PreviewReplay :many
-- What a replay would try again: the first orders, each with how many there are in all and what they cost.
SELECT sqlc.embed(o), count(*) OVER () AS total, (sum(o.price_coins) OVER ())::bigint AS coins
FROM orders o
WHERE o.project_id = @project_id::integer AND o.status = 'canceled' AND o.reason_code = ANY (@reasons::text[])
  AND (sqlc.narg('sku')::text IS NULL OR o.sku = sqlc.narg('sku'))
  AND (sqlc.narg('user_id')::text IS NULL OR o.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('suspected')::boolean IS NULL OR o.suspected = sqlc.narg('suspected'))
  AND (sqlc.narg('created_from')::timestamptz IS NULL OR o.created_at >= sqlc.narg('created_from'))
  AND (sqlc.narg('created_until')::timestamptz IS NULL OR o.created_at < sqlc.narg('created_until'))
ORDER BY o.order_id LIMIT @max_orders;

-- name: FreezeReplay :one
-- The same orders as PreviewReplay, oldest first, and the replay they belong to; no row when there are none.
WITH frozen AS (
    INSERT INTO replay_items (replay_id, order_id, position, coins)
    SELECT @replay_id::text, o.order_id, row_number() OVER (ORDER BY o.order_id), o.price_coins
    FROM orders o
    WHERE o.project_id = @project_id::integer AND o.status = 'canceled' AND o.reason_code = ANY (@reasons::text[])
      AND (sqlc.narg('sku')::text IS NULL OR o.sku = sqlc.narg('sku'))
      AND (sqlc.narg('user_id')::text IS NULL OR o.user_id = sqlc.narg('user_id'))
      AND (sqlc.narg('suspected')::boolean IS NULL OR o.suspected = sqlc.narg('suspected'))
      AND (sqlc.narg('created_from')::timestamptz IS NULL OR o.created_at >= sqlc.narg('created_from'))
      AND (sqlc.narg('created_until')::timestamptz IS NULL OR o.created_at < sqlc.narg('created_until'))
    ORDER BY o.order_id LIMIT @max_orders
    RETURNING coins)
INSERT INTO replays (replay_id, project_id, status, filter, rate_per_second, reason, actor, total, coins, created_at, updated_at)
SELECT @replay_id::text, @project_id::integer, 'running', @filter::jsonb, @rate_per_second::double precision, @reason::text, @actor::text, count(*), sum(frozen.coins)::bigint, @now::timestamptz, @now::timestamptz
FROM frozen HAVING count(*) > 0
RETURNING total;

-- name: GetReplay :one
SELECT * FROM replays WHERE replay_id = @replay_id AND project_id = @project_id;

-- name: ListReplays :many
-- Newest first; the id grows with time and is the cursor.
SELECT * FROM replays
WHERE project_id = @project_id AND (sqlc.narg('before')::text IS NULL OR replay_id < sqlc.narg('before'))
ORDER BY replay_id DESC LIMIT @max_replays;

-- name: CountReplayItems :many
SELECT state, COALESCE(reason_code, '')::text AS reason_code, count(*) AS orders, sum(coins)::bigint AS coins
FROM replay_items WHERE replay_id = @replay_id GROUP BY 1, 2 ORDER BY 1, 2;

-- name: LockReplay :one
SELECT status FROM replays WHERE replay_id = @replay_id AND project_id = @project_id FOR UPDATE;

-- name: SetReplayStatus :exec
UPDATE replays SET status = @status, updated_at = @now, seen_at = NULL, swept_at = NULL WHERE replay_id = @replay_id;

-- name: SkipWaitingItems :exec
UPDATE replay_items SET state = 'skipped', reason_code = @reason_code::text WHERE replay_id = @replay_id AND state = 'waiting';

-- name: SeeReplay :one
-- The workflow reads the latest change, and shows that it is alive.
UPDATE replays SET seen_at = @now::timestamptz, started_at = COALESCE(started_at, @now::timestamptz) WHERE replay_id = @replay_id
RETURNING status;

-- name: SettleReplayItems :one
-- How replayed orders ended, as the ledger has it: captured or released under the attempt that this replay began. What
-- happens to an order after that is not this replay's.
WITH ended AS (
    SELECT i.order_id, CASE WHEN t.kind = 'capture' THEN 'completed' ELSE 'canceled' END AS state,
           CASE WHEN t.kind = 'release' AND o.status = 'canceled' AND o.attempt = i.attempt THEN o.reason_code END AS reason_code
    FROM replay_items i
    JOIN ledger_transfers t ON t.reference = i.order_id || '#' || i.attempt::text AND t.kind IN ('capture', 'release')
    JOIN orders o ON o.order_id = i.order_id
    WHERE i.replay_id = @replay_id AND i.state = 'replayed' LIMIT @max_items),
settled AS (
    UPDATE replay_items s SET state = e.state, reason_code = e.reason_code FROM ended e
    WHERE s.replay_id = @replay_id AND s.order_id = e.order_id AND s.state = 'replayed' RETURNING s.order_id)
SELECT count(*) FROM settled;

-- name: ReplayStanding :one
SELECT (SELECT count(*) FROM replay_items w WHERE w.replay_id = @replay_id AND w.state = 'waiting') AS waiting,
       (SELECT count(*) FROM replay_items f WHERE f.replay_id = @replay_id AND f.state = 'replayed') AS in_flight,
       COALESCE((SELECT min(n.position) FROM replay_items n WHERE n.replay_id = @replay_id AND n.state = 'waiting'), 0)::bigint AS next;

-- name: WaitingItems :many
SELECT order_id FROM replay_items
WHERE replay_id = @replay_id AND state = 'waiting' AND position >= @first AND position < @past ORDER BY position;

-- name: TakeReplayItem :one
-- Locks an item that waits, and its replay as running: a pause or a cancel comes before the item or after it.
SELECT r.project_id, r.actor, r.reason FROM replays r JOIN replay_items i USING (replay_id)
WHERE r.replay_id = @replay_id AND r.status = 'running' AND i.order_id = @order_id AND i.state = 'waiting'
FOR SHARE OF r FOR UPDATE OF i;

-- name: SetReplayItem :exec
UPDATE replay_items SET state = @state, attempt = sqlc.narg('attempt'), reason_code = sqlc.narg('reason_code')
WHERE replay_id = @replay_id AND order_id = @order_id;

-- name: FinishReplay :exec
UPDATE replays SET status = @status, report = @report, updated_at = @now, finished_at = @now WHERE replay_id = @replay_id;

-- name: LeaseUnseenReplays :many
-- What the sweep tells, or starts: replays whose latest change was not seen, and those whose workflow is silent.
UPDATE replays AS leased SET swept_at = @now::timestamptz
WHERE leased.replay_id IN (
    SELECT r.replay_id FROM replays r
    WHERE r.status IN ('running', 'paused', 'canceling')
      AND ((r.seen_at IS NULL AND r.updated_at < @older_than) OR (r.status <> 'paused' AND r.seen_at < @silent_since::timestamptz))
      AND (r.swept_at IS NULL OR r.swept_at < @lease_before::timestamptz)
    ORDER BY r.replay_id LIMIT @max_replays FOR UPDATE SKIP LOCKED)
RETURNING leased.replay_id, leased.project_id, leased.total, leased.rate_per_second, leased.filter;

-- name: VerifyReplaysAgreeWithLedger :many
-- Each attempt that a replay began reserved once, and ended as its item says.
SELECT format('replay %s, order %s attempt %s (%s): %s reserves, %s captures, %s releases of %s coins', i.replay_id, i.order_id, i.attempt, i.state,
              count(*) FILTER (WHERE t.kind = 'reserve'), count(*) FILTER (WHERE t.kind = 'capture'), count(*) FILTER (WHERE t.kind = 'release'), i.coins)::text AS broken
FROM replay_items i LEFT JOIN ledger_transfers t ON t.reference = i.order_id || '#' || i.attempt::text AND t.amount = i.coins
WHERE i.attempt IS NOT NULL
GROUP BY i.replay_id, i.order_id, i.attempt, i.state, i.coins
HAVING count(*) FILTER (WHERE t.kind = 'reserve') <> 1
    OR (i.state = 'completed' AND count(*) FILTER (WHERE t.kind = 'capture') <> 1)
    OR (i.state = 'canceled' AND count(*) FILTER (WHERE t.kind = 'release') <> 1)
LIMIT 20;

-- name: VerifyReplaysReportTheirItems :many
-- A report is the sum of the items, and the items are all that was frozen.
WITH items AS (
    SELECT i.replay_id, count(*) AS orders, sum(i.coins) AS coins,
           count(*) FILTER (WHERE i.state = 'completed') AS completed, COALESCE(sum(i.coins) FILTER (WHERE i.state = 'completed'), 0) AS completed_coins,
           count(*) FILTER (WHERE i.state IN ('waiting', 'replayed')) AS open
    FROM replay_items i GROUP BY i.replay_id)
SELECT format('replay %s (%s): %s orders of %s coins, items %s of %s, report %s', r.replay_id, r.status, r.total, r.coins, i.orders, i.coins, r.report)::text AS broken
FROM replays r LEFT JOIN items i USING (replay_id)
WHERE r.total IS DISTINCT FROM i.orders OR r.coins IS DISTINCT FROM i.coins
   OR (r.finished_at IS NOT NULL AND (i.open > 0 OR (r.report #>> '{completed,orders}')::bigint IS DISTINCT FROM i.completed
       OR (r.report #>> '{completed,coins}')::bigint IS DISTINCT FROM i.completed_coins::bigint))
LIMIT 20;
