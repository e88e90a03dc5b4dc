-- name: UpsertUser :one
INSERT INTO users (user_id, project_id, vip, attributes, created_at, updated_at)
VALUES (@user_id, @project_id, COALESCE(sqlc.narg('vip')::boolean, false), COALESCE(sqlc.narg('attributes')::jsonb, '{}'), @now, @now)
ON CONFLICT (user_id) DO UPDATE SET vip = COALESCE(sqlc.narg('vip'), users.vip),
    attributes = COALESCE(sqlc.narg('attributes'), users.attributes), updated_at = @now
RETURNING *, (xmax = 0)::boolean AS created;

-- name: GetUser :one
SELECT * FROM users WHERE user_id = @user_id;

-- name: ListNotifications :many
SELECT notification_id, order_id, kind, detail, created_at FROM notifications
WHERE user_id = @user_id AND project_id = @project_id AND (@before::bigint = 0 OR notification_id < @before)
ORDER BY notification_id DESC LIMIT @max_notifications;

-- name: SetUserStatus :one
-- After an unblocking the rule that blocks for risk counts anew.
UPDATE users SET status = @status, blocked_reason = sqlc.narg('blocked_reason'), updated_at = @now,
    risk_cleared_at = CASE WHEN @status = 'active' THEN @now ELSE risk_cleared_at END
WHERE user_id = @user_id RETURNING *;

-- name: MoveAvailable :one
UPDATE users SET available = available + @amount WHERE user_id = @user_id RETURNING available, held;

-- name: InsertTransfer :exec
INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
VALUES (@project_id, @user_id, @debit, @credit, @amount, @kind, @reference, @now);

-- name: InsertNotification :exec
INSERT INTO notifications (project_id, user_id, order_id, kind, detail, created_at)
VALUES (@project_id, @user_id, sqlc.narg('order_id'), @kind, @detail, @now);

-- name: InsertAudit :exec
INSERT INTO audit_log (project_id, actor, action, subject, detail, at)
VALUES (@project_id, @actor, @action, @subject, @detail, @now);
