-- A project's catalog (seeds 002, 004): items, groups, game keys, and what was taken of them.

-- name: FindCatalogRevision :one
SELECT r.revision FROM catalog_revisions r WHERE r.project_id = @project_id;

-- name: ListCatalogItems :many
SELECT i.item_id, i.version, i.updated_at, i.definition FROM catalog_items i WHERE i.project_id = @project_id;

-- name: ListCatalogGroups :many
SELECT g.definition FROM catalog_groups g WHERE g.project_id = @project_id;

-- name: FindUsages :many
-- Of each SKU: what all users have taken, what this one has, and how many keys are free, of which no more are counted than one
-- order can take. Periods that began more than a month ago have
-- ended; the one that never does begins with the epoch here.
SELECT w.sku::text AS sku,
    COALESCE(s.reserved, 0)::bigint AS reserved,
    COALESCE(s.sold, 0)::bigint AS sold,
    COALESCE(v.quantity, 0)::bigint AS owned,
    (SELECT count(*) FROM (SELECT k.key_id FROM game_keys k WHERE k.project_id = @project_id AND k.sku = w.sku AND k.state = 'free' LIMIT @most_keys) free) AS keys,
    (i.definition #> '{limits,recurrent_schedule,per_user}')::jsonb AS recurrence,
    u.promotion, u.used, GREATEST(u.period_start, 'epoch')::timestamptz AS period_start
FROM unnest(@skus::text[]) AS w(sku)
LEFT JOIN catalog_items i ON i.project_id = @project_id AND i.sku = w.sku
LEFT JOIN item_sales s ON s.project_id = @project_id AND s.sku = w.sku
LEFT JOIN inventory v ON v.project_id = @project_id AND v.user_id = @user_id AND v.sku = w.sku
LEFT JOIN item_usages u ON u.project_id = @project_id AND u.user_id = @user_id AND u.sku = w.sku
    AND (u.period_start <= 'epoch' OR u.period_start > @since);

-- name: BumpCatalog :exec
-- Whoever edits the catalog of the project waits here for who edits it at the same time.
INSERT INTO catalog_revisions AS c (project_id, revision) VALUES (@project_id, 1)
ON CONFLICT (project_id) DO UPDATE SET revision = c.revision + 1;

-- name: FindCatalogItem :one
SELECT i.item_id, i.version, i.updated_at, i.definition FROM catalog_items i WHERE i.project_id = @project_id AND i.sku = @sku;

-- name: MissingSKUs :many
SELECT w.sku::text AS sku FROM unnest(@skus::text[]) AS w(sku)
WHERE NOT EXISTS (SELECT FROM catalog_items i WHERE i.project_id = @project_id AND i.sku = w.sku);

-- name: PageOfCatalogItems :many
SELECT i.item_id, i.version, i.updated_at, i.definition FROM catalog_items i
WHERE i.project_id = @project_id AND i.sku > @after
  AND (sqlc.narg('type')::text IS NULL OR i.type = sqlc.narg('type')) AND (sqlc.narg('status')::text IS NULL OR i.status = sqlc.narg('status'))
ORDER BY i.sku LIMIT @max_items;

-- name: InsertCatalogItem :one
INSERT INTO catalog_items (project_id, sku, type, status, definition, created_at, updated_at)
VALUES (@project_id, @sku, @type, @status, @definition, @now, @now)
RETURNING item_id;

-- name: UpdateCatalogItem :one
UPDATE catalog_items AS i SET version = i.version + 1, status = @status, definition = @definition, updated_at = @now
WHERE i.project_id = @project_id AND i.sku = @sku
RETURNING i.version;

-- name: PutItemSales :exec
-- The limit for all users, as the item says now. One that never had a limit needs no row.
INSERT INTO item_sales AS s (project_id, sku, total) SELECT @project_id::integer, @sku::text, @total::bigint
WHERE @total::bigint > 0 OR EXISTS (SELECT e.sku FROM item_sales e WHERE e.project_id = @project_id AND e.sku = @sku)
ON CONFLICT (project_id, sku) DO UPDATE SET total = EXCLUDED.total WHERE s.total <> EXCLUDED.total;

-- name: DeleteCatalogGroups :exec
DELETE FROM catalog_groups g WHERE g.project_id = @project_id;

-- name: InsertCatalogGroups :exec
INSERT INTO catalog_groups (project_id, external_id, definition)
SELECT @project_id, g.definition ->> 'external_id', g.definition FROM jsonb_array_elements(@definitions::jsonb) AS g(definition);

-- name: InsertGameKeys :execrows
-- In the order of the code, so that two uploads can't wait for each other.
INSERT INTO game_keys (project_id, sku, code, updated_at)
SELECT @project_id, @sku, k.code, @now FROM unnest(@codes::text[]) AS k(code) ORDER BY k.code
ON CONFLICT (project_id, sku, code) DO NOTHING;

-- name: CountGameKeys :many
SELECT k.state, count(*) AS keys FROM game_keys k WHERE k.project_id = @project_id AND k.sku = @sku GROUP BY k.state;
