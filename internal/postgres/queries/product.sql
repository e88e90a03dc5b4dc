-- name: ListProducts :many
SELECT p.*, s.initial, s.available, s.sales_day, s.sold_in_day, s.sales_week, s.sold_in_week FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.sku > @after
ORDER BY p.sku LIMIT @max_products;

-- name: InsertProduct :one
WITH product AS (
    INSERT INTO products (project_id, sku, name, description, kind, price_coins, status, minimum_stock, hide_at_zero, integration, delivery,
        product_group, position, time_zone, limits, schedule, requires, replenishment, validity_seconds, created_at, updated_at)
    VALUES (@project_id, @sku, @name, @description, @kind, @price_coins, @status, @minimum_stock, @hide_at_zero, @integration, @delivery,
        @product_group, @position, @time_zone, @limits, @schedule, @requires, @replenishment, @validity_seconds, @now, @now)
    ON CONFLICT DO NOTHING
    RETURNING project_id, sku
), pieces AS (
    INSERT INTO stock (project_id, sku, initial, available) SELECT project_id, sku, @initial, @initial FROM product
)
SELECT count(*) FROM product;

-- name: UpdateProduct :one
-- A version of 0 overwrites whatever is there.
UPDATE products SET version = version + 1, name = @name, description = @description, kind = @kind, price_coins = @price_coins, status = @status,
    minimum_stock = @minimum_stock, hide_at_zero = @hide_at_zero, integration = @integration, delivery = @delivery,
    product_group = @product_group, position = @position, time_zone = @time_zone, limits = @limits, schedule = @schedule, requires = @requires,
    replenishment = @replenishment, validity_seconds = @validity_seconds, updated_at = @now
WHERE project_id = @project_id AND sku = @sku AND (@version::bigint = 0 OR version = @version)
RETURNING version;

-- name: FindOffers :many
SELECT p.*, s.initial, s.available, s.sales_day, s.sold_in_day, s.sales_week, s.sold_in_week FROM products p JOIN stock s USING (project_id, sku)
WHERE p.project_id = @project_id AND p.sku = ANY (@skus::text[]);

-- name: LockProducts :exec
-- In the order of the SKU, so that two imports can't wait for each other.
SELECT p.sku FROM products p WHERE p.project_id = @project_id AND p.sku = ANY (@skus::text[]) ORDER BY p.sku FOR NO KEY UPDATE;

-- name: InsertProductImport :exec
INSERT INTO product_imports (import_id, project_id, actor, report, created_at) VALUES (@import_id, @project_id, @actor, @report, @now);

-- name: GetProductImport :one
SELECT i.report FROM product_imports i WHERE i.import_id = @import_id AND i.project_id = @project_id;
