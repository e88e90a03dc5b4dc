-- name: ListPerks :many
-- Newest first; the order id grows with time and is the cursor.
SELECT p.order_id, p.user_id, p.sku, p.kind, p.starts_at, p.expires_at FROM perks p
WHERE p.user_id = @user_id AND p.project_id = @project_id
  AND (sqlc.narg('before')::text IS NULL OR p.order_id < sqlc.narg('before'))
  AND (sqlc.narg('active_at')::timestamptz IS NULL OR (p.starts_at <= sqlc.narg('active_at') AND p.expires_at > sqlc.narg('active_at')))
ORDER BY p.order_id DESC LIMIT @max_perks;

-- name: EndPerk :one
-- Tells the user of the end, once. Where it goes on nothing is written and the answer is until when; where it was
-- told already, or renewed after its end under another order, there is no answer.
WITH ended AS (
    UPDATE entitlements e SET told_at = @now::timestamptz
    WHERE e.order_id = @order_id AND e.expires_at <= @now::timestamptz AND e.told_at IS NULL
    RETURNING e.project_id, e.user_id, e.kind, e.order_id, e.expires_at
), told AS (
    INSERT INTO notifications (project_id, user_id, kind, detail, created_at)
    SELECT d.project_id, d.user_id, 'perk_ended',
        jsonb_build_object('order_id', d.order_id, 'sku', p.sku, 'kind', d.kind, 'ended_at', d.expires_at), @now::timestamptz
    FROM ended d JOIN perks p ON p.order_id = d.order_id
)
SELECT e.expires_at FROM entitlements e WHERE e.order_id = @order_id AND e.expires_at > @now::timestamptz;

-- name: LeasePerkTimers :many
-- What the sweep starts: perks whose workflow nobody is known to have started, each at most once a lease.
UPDATE entitlements AS leased SET sweep_at = @lease_until::timestamptz
WHERE leased.order_id IN (
    SELECT e.order_id FROM entitlements e WHERE e.told_at IS NULL AND e.sweep_at <= @now::timestamptz
    ORDER BY e.sweep_at LIMIT @max_perks FOR UPDATE SKIP LOCKED)
RETURNING leased.project_id, leased.order_id, leased.user_id, leased.kind, leased.expires_at;

-- name: MarkPerkTimers :exec
-- Their workflows run; the sweep looks again when they should have ended.
UPDATE entitlements e SET sweep_at = GREATEST(e.expires_at, @now::timestamptz) + interval '10 minutes'
WHERE e.order_id = ANY (@order_ids::text[]);
