-- name: ListShopProducts :many
SELECT p.*, s.initial, s.available, s.sales_day, s.sold_in_day, s.sales_week, s.sold_in_week FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.status = 'published' AND NOT (p.hide_at_zero AND s.available = 0)
  AND (sqlc.narg('product_group')::text IS NULL OR p.product_group = sqlc.narg('product_group'))
  AND (p.product_group, p.position, p.sku) > (@after_group::text, @after_position::integer, @after_sku::text)
ORDER BY p.product_group, p.position, p.sku LIMIT @max_products;
