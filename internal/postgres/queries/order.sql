-- name: GetOrder :one
SELECT * FROM orders WHERE order_id = @order_id AND project_id = @project_id;

-- name: ListOrders :many
-- Newest first; the order id grows with time and is the cursor.
SELECT * FROM orders
WHERE project_id = @project_id
  AND (sqlc.narg('before')::text IS NULL OR order_id < sqlc.narg('before'))
  AND (sqlc.narg('user_id')::text IS NULL OR user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('status')::text IS NULL OR status = sqlc.narg('status'))
  AND (sqlc.narg('reason')::text IS NULL OR reason_code = sqlc.narg('reason'))
  AND (sqlc.narg('sku')::text IS NULL OR sku = sqlc.narg('sku'))
  AND (sqlc.narg('suspected')::boolean IS NULL OR suspected = sqlc.narg('suspected'))
  AND (sqlc.narg('created_from')::timestamptz IS NULL OR created_at >= sqlc.narg('created_from'))
  AND (sqlc.narg('created_until')::timestamptz IS NULL OR created_at < sqlc.narg('created_until'))
ORDER BY order_id DESC LIMIT @max_orders;

-- name: ListTimeline :many
SELECT entry_id, attempt, event, detail, at FROM order_timeline
WHERE order_id = @order_id AND project_id = @project_id AND entry_id > @after ORDER BY entry_id LIMIT 1000;

-- name: FinalOrders :many
-- Which of these orders have their outcome; asked once for all who wait.
SELECT order_id FROM orders WHERE order_id = ANY (@order_ids::text[]) AND status NOT IN ('processing', 'awaiting_confirmation');
