-- name: PutDeniedAddress :one
INSERT INTO denied_addresses (project_id, address, reason, actor, created_at)
VALUES (@project_id, @address, @reason, @actor, @now)
ON CONFLICT (project_id, address) DO UPDATE SET reason = EXCLUDED.reason, actor = EXCLUDED.actor, created_at = EXCLUDED.created_at
RETURNING *, (xmax = 0)::boolean AS created;

-- name: DeleteDeniedAddress :execrows
DELETE FROM denied_addresses d WHERE d.project_id = @project_id AND d.address = @address;

-- name: ListDeniedAddresses :many
SELECT * FROM denied_addresses d
WHERE d.project_id = @project_id AND (sqlc.narg('after')::cidr IS NULL OR d.address > sqlc.narg('after')::cidr)
ORDER BY d.address LIMIT @max_addresses;

-- name: ListDeviceUsers :many
SELECT d.user_id, d.first_seen, u.status, u.suspicious
FROM user_devices d JOIN users u ON u.user_id = d.user_id
WHERE d.project_id = @project_id AND d.device_id = @device_id AND d.user_id > @after
ORDER BY d.user_id LIMIT @max_users;

-- name: SetUserSuspicious :one
UPDATE users u SET suspicious = @suspicious, updated_at = @now WHERE u.user_id = @user_id RETURNING *;

-- name: ListRiskyOrders :many
-- Of users who may buy, since support last unblocked them.
SELECT o.user_id, o.project_id, o.created_at, COALESCE((o.risk ->> 'score')::int, 0)::int AS score
FROM orders o JOIN users u ON u.user_id = o.user_id
WHERE o.risk IS NOT NULL AND o.created_at > @since::timestamptz AND u.status = 'active'
  AND (u.risk_cleared_at IS NULL OR o.created_at > u.risk_cleared_at)
ORDER BY o.user_id, o.created_at;

-- name: BlockIfActive :execrows
UPDATE users u SET status = 'blocked', blocked_reason = @reason::text, updated_at = @now WHERE u.user_id = @user_id AND u.status = 'active';
