-- name: OpenStockAlerts :many
-- Those that are open already stay as they are.
INSERT INTO admin_alerts (project_id, kind, subject, detail, opened_at)
SELECT p.project_id, k.kind, p.sku, jsonb_build_object('available', s.available, 'minimum', p.minimum_stock), @now::timestamptz
FROM products p JOIN stock s USING (project_id, sku) CROSS JOIN (VALUES ('stock_low'), ('stock_out')) AS k (kind)
WHERE p.status = 'published'
  AND CASE k.kind WHEN 'stock_out' THEN s.available = 0 ELSE s.available <= p.minimum_stock AND p.minimum_stock > 0 END
ORDER BY p.project_id, p.sku, k.kind
ON CONFLICT (project_id, kind, subject) WHERE resolved_at IS NULL DO NOTHING
RETURNING alert_id;

-- name: ResolveStockAlerts :many
-- Resolved when the stock is above again, the minimum was lowered, or the product is not sold any more. Alerts that another
-- sweep is resolving are left to it.
UPDATE admin_alerts AS resolved SET resolved_at = GREATEST(@now::timestamptz, resolved.opened_at)
WHERE resolved.alert_id IN (
    SELECT a.alert_id FROM admin_alerts a
    JOIN products p ON p.project_id = a.project_id AND p.sku = a.subject
    JOIN stock s ON s.project_id = p.project_id AND s.sku = p.sku
    WHERE a.resolved_at IS NULL AND a.kind IN ('stock_low', 'stock_out')
      AND NOT (p.status = 'published'
          AND CASE a.kind WHEN 'stock_out' THEN s.available = 0 ELSE s.available <= p.minimum_stock AND p.minimum_stock > 0 END)
    ORDER BY a.alert_id FOR UPDATE OF a SKIP LOCKED)
RETURNING resolved.alert_id;

-- name: ListAlerts :many
-- Newest first.
SELECT a.alert_id, a.kind, a.subject, a.detail, a.opened_at, a.resolved_at FROM admin_alerts a
WHERE a.project_id = @project_id AND (@before::bigint = 0 OR a.alert_id < @before)
  AND (sqlc.narg('open')::boolean IS NULL OR (a.resolved_at IS NULL) = sqlc.narg('open')::boolean)
ORDER BY a.alert_id DESC LIMIT @max_alerts;

-- name: LockAlert :one
SELECT a.alert_id, a.kind, a.subject, a.detail, a.opened_at, a.resolved_at FROM admin_alerts a
WHERE a.project_id = @project_id AND a.alert_id = @alert_id FOR UPDATE;

-- name: OpenAlert :exec
INSERT INTO admin_alerts (project_id, kind, subject, detail, opened_at)
VALUES (@project_id, @kind, @subject, @detail, @now)
ON CONFLICT (project_id, kind, subject) WHERE resolved_at IS NULL DO NOTHING;

-- name: ResolveAlert :exec
UPDATE admin_alerts a SET resolved_at = GREATEST(@now::timestamptz, a.opened_at)
WHERE a.project_id = @project_id AND a.kind = @kind AND a.subject = @subject AND a.resolved_at IS NULL;
