-- What a subscription's workflow does. It locks the subscription's row alone.

-- name: LockSubscription :one
-- With what its notifications tell, and how long before its end the project reminds.
SELECT sqlc.embed(s), p.reminder_seconds, (COALESCE(c.definition, i.snapshot) -> 'name')::jsonb AS name, p.default_locale
FROM subscriptions s
JOIN projects p ON p.project_id = s.project_id
JOIN inventory i ON i.project_id = s.project_id AND i.user_id = s.user_id AND i.sku = s.sku
LEFT JOIN catalog_items c ON c.project_id = s.project_id AND c.sku = s.sku
WHERE s.project_id = @project_id AND s.user_id = @user_id AND s.sku = @sku FOR NO KEY UPDATE OF s;

-- name: LockOverdueSubscriptions :many
-- Those of whose end nobody has told although it was so long ago, as LockSubscription gives them. What others have locked is left to them.
WITH found AS (
    SELECT d.project_id, d.user_id, d.sku FROM subscriptions d
    WHERE d.ended_at IS DISTINCT FROM d.expires_at AND d.expires_at <= @overdue::timestamptz ORDER BY d.expires_at LIMIT @max_subscriptions
)
SELECT sqlc.embed(s), p.reminder_seconds, (COALESCE(c.definition, i.snapshot) -> 'name')::jsonb AS name, p.default_locale
FROM found f
JOIN subscriptions s ON s.project_id = f.project_id AND s.user_id = f.user_id AND s.sku = f.sku
JOIN projects p ON p.project_id = s.project_id
JOIN inventory i ON i.project_id = s.project_id AND i.user_id = s.user_id AND i.sku = s.sku
LEFT JOIN catalog_items c ON c.project_id = s.project_id AND c.sku = s.sku
WHERE s.ended_at IS DISTINCT FROM s.expires_at
ORDER BY s.project_id, s.user_id, s.sku FOR NO KEY UPDATE OF s SKIP LOCKED;

-- name: RememberReminder :exec
UPDATE subscriptions AS s SET reminded_at = s.expires_at WHERE s.project_id = @project_id AND s.user_id = @user_id AND s.sku = @sku;

-- name: RememberEnd :exec
UPDATE subscriptions AS s SET ended_at = s.expires_at WHERE s.project_id = @project_id AND s.user_id = @user_id AND s.sku = @sku;

-- name: LeaseSubscriptions :many
-- What the sweep tells: subscriptions whose workflow does not know of the latest change, and those of whose end nobody has told although
-- it should have been; each once a lease.
WITH found AS (
    (SELECT c.project_id, c.user_id, c.sku FROM subscriptions c WHERE c.told < c.changes AND c.sweep_at <= @now::timestamptz ORDER BY c.sweep_at LIMIT @max_subscriptions)
    UNION
    (SELECT d.project_id, d.user_id, d.sku FROM subscriptions d
     WHERE d.ended_at IS DISTINCT FROM d.expires_at AND d.expires_at <= @overdue::timestamptz AND d.sweep_at <= @now::timestamptz ORDER BY d.expires_at LIMIT @max_subscriptions)
), due AS MATERIALIZED (
    SELECT l.project_id, l.user_id, l.sku FROM subscriptions l JOIN found f ON f.project_id = l.project_id AND f.user_id = l.user_id AND f.sku = l.sku
    WHERE l.sweep_at <= @now::timestamptz
    ORDER BY l.project_id, l.user_id, l.sku FOR NO KEY UPDATE OF l SKIP LOCKED
)
UPDATE subscriptions AS s SET sweep_at = @lease_until::timestamptz
FROM due JOIN projects p ON p.project_id = due.project_id
WHERE s.project_id = due.project_id AND s.user_id = due.user_id AND s.sku = due.sku
RETURNING s.project_id, s.user_id, s.sku, s.started_at, s.expires_at, s.reminded_at, s.ended_at, s.changes, p.reminder_seconds;

-- name: MarkSubscriptionsTold :exec
-- The sweep looks again, at an end that is not told, after as long as it has not been so, from a minute to an hour.
WITH seen AS (
    SELECT u.project_id, u.user_id, u.sku, u.changes
    FROM (SELECT unnest(@project_ids::int[]) AS project_id, unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku, unnest(@changes::int[]) AS changes) u
), locked AS MATERIALIZED (
    SELECT l.project_id, l.user_id, l.sku, seen.changes FROM subscriptions l JOIN seen ON seen.project_id = l.project_id AND seen.user_id = l.user_id AND seen.sku = l.sku
    ORDER BY l.project_id, l.user_id, l.sku FOR NO KEY UPDATE OF l
)
UPDATE subscriptions AS s SET told = GREATEST(s.told, LEAST(locked.changes, s.changes)),
    sweep_at = CASE WHEN locked.changes < s.changes THEN s.sweep_at
        ELSE sqlc.arg('now')::timestamptz + LEAST(GREATEST(sqlc.arg('now')::timestamptz - COALESCE(s.expires_at, sqlc.arg('now')::timestamptz), interval '1 minute'), interval '1 hour') END
FROM locked WHERE s.project_id = locked.project_id AND s.user_id = locked.user_id AND s.sku = locked.sku;
