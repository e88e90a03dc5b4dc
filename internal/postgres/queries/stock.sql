-- name: ListStock :many
SELECT p.sku, p.name, p.status, p.minimum_stock, p.hide_at_zero, p.replenishment, s.initial, s.restocked, s.available, s.reserved, s.sold
FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.sku > @after ORDER BY p.sku LIMIT @max_products;

-- name: LockStock :many
-- Locks are taken in the order of the SKU. A purchase locks its buyer first and one row of stock last, and no edit locks
-- a buyer, so that nobody waits in a circle.
SELECT s.sku, s.available FROM stock s
WHERE s.project_id = @project_id AND s.sku = ANY (@skus::text[])
ORDER BY s.sku FOR NO KEY UPDATE OF s;

-- name: ChangeStock :exec
-- The caller has locked the rows and read what was available before.
WITH changes AS (
    SELECT unnest(@skus::text[]) AS sku, unnest(@before::bigint[]) AS before, unnest(@after::bigint[]) AS after
), pieces AS (
    UPDATE stock s SET available = c.after, restocked = s.restocked + c.after - c.before
    FROM changes c WHERE s.project_id = @project_id AND s.sku = c.sku
)
INSERT INTO stock_changes (project_id, sku, kind, edit_id, actor, reason, available_before, available_after, at)
SELECT @project_id, c.sku, @kind, sqlc.narg('edit_id'), @actor, @reason, c.before, c.after, @now FROM changes c ORDER BY c.sku;

-- name: InsertStockEdit :exec
INSERT INTO stock_edits (edit_id, project_id, actor, mode, reason, results, created_at)
VALUES (@edit_id, @project_id, @actor, @mode, @reason, @results, @now);

-- name: GetStockEdit :one
SELECT e.results FROM stock_edits e WHERE e.edit_id = @edit_id AND e.project_id = @project_id;

-- name: ListStockChanges :many
-- Newest first.
SELECT c.change_id, c.kind, c.edit_id, c.actor, c.reason, c.available_before, c.available_after, c.at FROM stock_changes c
WHERE c.project_id = @project_id AND c.sku = @sku AND (@before::bigint = 0 OR c.change_id < @before)
ORDER BY c.change_id DESC LIMIT @max_changes;

-- name: ReadConsumption :one
SELECT p.created_at, p.minimum_stock, s.available,
    COALESCE((SELECT sum(o.quantity) FROM orders o WHERE o.project_id = p.project_id AND o.sku = p.sku
        AND o.status IN ('completed', 'refunded') AND o.finished_at >= @since::timestamptz AND o.finished_at < @now::timestamptz), 0)::bigint AS sold
FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.sku = @sku;

-- name: ListReplenishable :many
-- Published products at or below their minimum that are restocked by themselves, in the order of their key.
SELECT p.project_id, p.sku FROM products p JOIN stock s USING (project_id, sku)
WHERE p.status = 'published' AND p.replenishment <> '{}' AND s.available <= p.minimum_stock
  AND (p.project_id, p.sku) > (@after_project::integer, @after_sku::text)
ORDER BY p.project_id, p.sku LIMIT @max_products;

-- name: LockReplenishable :one
SELECT p.status, p.minimum_stock, p.replenishment, p.time_zone, s.available
FROM stock s JOIN products p USING (project_id, sku)
WHERE s.project_id = @project_id AND s.sku = @sku FOR NO KEY UPDATE OF s;

-- name: CountReplenished :one
-- Asked after the stock is locked, so that two at once can't both be the last one of the day.
SELECT count(*) FROM stock_changes c
WHERE c.project_id = @project_id AND c.sku = @sku AND c.kind = 'replenishment' AND c.at >= @day_start::timestamptz AND c.at < @day_end::timestamptz;
