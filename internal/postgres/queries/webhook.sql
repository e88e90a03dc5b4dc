-- Outgoing webhooks. Locks are taken in the order: the order that is told of, deliveries (those of one order in their sequence), the endpoint, alerts;
-- the audit comes last.

-- name: GetWebhookEndpoint :one
SELECT * FROM webhook_endpoints e WHERE e.project_id = @project_id;

-- name: LockWebhookEndpoint :one
SELECT * FROM webhook_endpoints e WHERE e.project_id = @project_id FOR UPDATE;

-- name: InsertWebhookEndpoint :execrows
INSERT INTO webhook_endpoints (project_id, url, secret, is_enabled, format, events, updated_at)
VALUES (@project_id, @url, @secret, @is_enabled, @format, @events, @now) ON CONFLICT (project_id) DO NOTHING;

-- name: UpdateWebhookEndpoint :exec
-- The row is locked.
UPDATE webhook_endpoints e SET url = @url, secret = @secret, previous_secret = sqlc.narg('previous_secret'), previous_until = sqlc.narg('previous_until'),
    is_enabled = @is_enabled, format = @format, events = @events, version = e.version + 1, updated_at = @now
WHERE e.project_id = @project_id;

-- name: FindAcceptedPayment :one
SELECT * FROM checkout_payments p WHERE p.order_id = @order_id AND p.outcome = 'accepted';

-- name: NextWebhookSequence :one
-- The order's row is locked, or nobody else sees it yet.
SELECT (COALESCE(max(d.sequence), 0) + 1)::int AS sequence FROM webhook_deliveries d WHERE d.order_id = @order_id;

-- name: InsertWebhookDelivery :exec
INSERT INTO webhook_deliveries (delivery_id, project_id, order_id, user_id, sequence, event, reference, body, next_attempt_at, sweep_at, created_at, updated_at)
VALUES (@delivery_id, @project_id, @order_id, @user_id, @sequence, @event, @reference, @body, @now, @now, @now, @now);

-- name: LockWebhookDelivery :one
SELECT * FROM webhook_deliveries d WHERE d.delivery_id = @delivery_id FOR NO KEY UPDATE;

-- name: FindEarlierWebhook :many
-- The first of the order that is pending before this one, if one is: when it is tried next.
SELECT b.next_attempt_at FROM webhook_deliveries b WHERE b.order_id = @order_id AND b.sequence < @sequence AND b.status = 'pending' ORDER BY b.sequence LIMIT 1;

-- name: CountSlowWebhooks :one
-- Tries of a project that are under way, and were begun so long ago that they end before this.
SELECT count(*) FROM webhook_deliveries d WHERE d.project_id = @project_id AND d.in_flight_until > @now::timestamptz AND d.in_flight_until <= @ends_by::timestamptz;

-- name: BeginWebhookAttempt :one
UPDATE webhook_deliveries d SET tries = d.tries + 1, attempts = d.attempts + 1, in_flight_until = @in_flight_until::timestamptz, updated_at = @now
WHERE d.delivery_id = @delivery_id RETURNING d.attempts;

-- name: InsertWebhookAttempt :exec
INSERT INTO webhook_attempts (delivery_id, attempt, started_at) VALUES (@delivery_id, @attempt, @now);

-- name: FinishWebhookAttempt :execrows
-- Once: the same report again changes nothing.
UPDATE webhook_attempts a SET finished_at = @now, duration_ms = @duration_ms, status_code = sqlc.narg('status_code'), answer = sqlc.narg('answer'), error = sqlc.narg('error')
WHERE a.delivery_id = @delivery_id AND a.attempt = @attempt AND a.finished_at IS NULL;

-- name: SettleWebhookDelivery :exec
-- The row is locked. One that is to be tried again is looked at by the sweep two minutes after that should have happened.
UPDATE webhook_deliveries d SET status = @status, reason = sqlc.narg('reason'), next_attempt_at = sqlc.arg('next_attempt_at')::timestamptz, in_flight_until = NULL, sweep_at = sqlc.arg('next_attempt_at')::timestamptz + interval '2 minutes',
    updated_at = @now::timestamptz, finished_at = CASE WHEN @status = 'pending' THEN NULL ELSE @now::timestamptz END
WHERE d.delivery_id = @delivery_id;

-- name: PostponeWebhookSweep :exec
UPDATE webhook_deliveries d SET sweep_at = sqlc.arg('until')::timestamptz + interval '2 minutes' WHERE d.delivery_id = @delivery_id;

-- name: WakeNextWebhookDelivery :exec
-- The next of the order may have waited for this one.
UPDATE webhook_deliveries d SET changes = d.changes + 1, sweep_at = @now, updated_at = @now
WHERE d.order_id = @order_id AND d.status = 'pending'
  AND d.sequence = (SELECT min(n.sequence) FROM webhook_deliveries n WHERE n.order_id = @order_id AND n.sequence > @sequence AND n.status = 'pending');

-- name: ReplayWebhookDelivery :execrows
-- One caller wins.
UPDATE webhook_deliveries d SET status = 'pending', reason = NULL, tries = 0, replays = d.replays + 1, next_attempt_at = @now::timestamptz, in_flight_until = NULL, changes = d.changes + 1,
    sweep_at = @now::timestamptz, updated_at = @now::timestamptz, finished_at = NULL
WHERE d.delivery_id = @delivery_id AND d.project_id = @project_id AND d.status <> 'pending';

-- name: LeaseWebhookDeliveries :many
-- What the sweep tells: deliveries whose workflow does not know of the latest change, and those that should have been tried by now.
UPDATE webhook_deliveries AS leased SET sweep_at = @lease_until::timestamptz
WHERE leased.delivery_id IN (
    SELECT d.delivery_id FROM webhook_deliveries d WHERE d.status = 'pending' AND d.sweep_at <= @now::timestamptz
    ORDER BY d.sweep_at LIMIT @max_deliveries FOR NO KEY UPDATE SKIP LOCKED)
RETURNING leased.delivery_id, leased.project_id, leased.order_id, leased.user_id, leased.event, leased.changes;

-- name: MarkWebhookDeliveriesTold :exec
WITH seen AS (
    SELECT told.delivery_id, max(told.changes) AS changes
    FROM (SELECT unnest(@delivery_ids::text[]) AS delivery_id, unnest(@changes::int[]) AS changes) AS told GROUP BY told.delivery_id
), locked AS MATERIALIZED (
    SELECT l.delivery_id, seen.changes FROM webhook_deliveries l JOIN seen ON seen.delivery_id = l.delivery_id ORDER BY l.order_id, l.sequence FOR NO KEY UPDATE OF l
)
UPDATE webhook_deliveries AS d SET told = GREATEST(d.told, LEAST(locked.changes, d.changes)),
    sweep_at = CASE WHEN locked.changes < d.changes THEN d.sweep_at
        ELSE GREATEST(d.sweep_at, GREATEST(d.next_attempt_at, d.in_flight_until, sqlc.arg('now')::timestamptz) + interval '2 minutes') END
FROM locked WHERE d.delivery_id = locked.delivery_id;

-- name: ListWebhookDeliveries :many
-- Newest first; the id is the cursor.
SELECT * FROM webhook_deliveries d
WHERE d.project_id = @project_id AND (@before::text = '' OR d.delivery_id < @before)
  AND (sqlc.narg('status')::text IS NULL OR d.status = sqlc.narg('status'))
  AND (sqlc.narg('event')::text IS NULL OR d.event = sqlc.narg('event'))
  AND (sqlc.narg('order_id')::bigint IS NULL OR d.order_id = sqlc.narg('order_id'))
ORDER BY d.delivery_id DESC LIMIT @max_deliveries;

-- name: GetWebhookDelivery :one
SELECT * FROM webhook_deliveries d WHERE d.delivery_id = @delivery_id AND d.project_id = @project_id;

-- name: ListWebhookAttempts :many
SELECT * FROM webhook_attempts a WHERE a.delivery_id = @delivery_id ORDER BY a.attempt;

-- name: ResolveWebhookAlert :exec
-- When nothing of the project stands at this status any more.
UPDATE admin_alerts a SET resolved_at = GREATEST(@now::timestamptz, a.opened_at)
WHERE a.project_id = @project_id AND a.kind = @kind AND a.resolved_at IS NULL
  AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.project_id = @project_id AND d.status = @status);
