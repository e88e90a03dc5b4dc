-- What users own. Whoever changes it locks the inventory rows first, by user and SKU, then those of the subscriptions among them, in
-- the same order. The workflow of a subscription locks that row alone.

-- name: EnsureUsers :exec
INSERT INTO users (user_id, project_id, created_at, updated_at)
SELECT u.user_id, @project_id, @now, @now FROM unnest(@user_ids::text[]) AS u (user_id) ORDER BY u.user_id
ON CONFLICT (user_id) DO NOTHING;

-- name: EnsureHoldings :exec
-- Rows to lock, of what is not owned yet.
INSERT INTO inventory (project_id, user_id, sku, kind, quantity, snapshot, updated_at)
SELECT @project_id, h.user_id, h.sku, h.kind, 0, h.snapshot::jsonb, @now
FROM (SELECT unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku, unnest(@kinds::text[]) AS kind, unnest(@snapshots::text[]) AS snapshot) h
ORDER BY h.user_id, h.sku
ON CONFLICT (project_id, user_id, sku) DO NOTHING;

-- name: LockHoldings :many
SELECT i.* FROM (SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku) wanted
JOIN inventory i ON i.project_id = @project_id AND i.user_id = wanted.user_id AND i.sku = wanted.sku
ORDER BY i.user_id, i.sku FOR NO KEY UPDATE OF i;

-- name: LockSubscriptions :many
SELECT s.* FROM (SELECT DISTINCT unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku) wanted
JOIN subscriptions s ON s.project_id = @project_id AND s.user_id = wanted.user_id AND s.sku = wanted.sku
ORDER BY s.user_id, s.sku FOR NO KEY UPDATE OF s;

-- name: FindInventoryEntries :many
-- Read after the holdings are locked: what is not there by then is not done.
SELECT e.user_id, e.sku, e.action, e.reference, e.delta, e.balance, e.at FROM inventory_entries e
WHERE e.project_id = @project_id AND e.reference = ANY (@refs::text[]);

-- name: FindExtensions :many
SELECT e.extension_id::text AS extension_id, e.kind, e.entry FROM subscription_entries e
WHERE e.project_id = @project_id AND e.extension_id = ANY (@extension_ids::text[]);

-- name: InsertInventoryEntries :exec
INSERT INTO inventory_entries (project_id, user_id, sku, action, delta, balance, source, reference, comment, at)
SELECT @project_id, e.user_id, e.sku, e.action, e.delta, e.balance, e.source, e.reference, e.comment, @now
FROM (SELECT unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku, unnest(@actions::text[]) AS action, unnest(@deltas::bigint[]) AS delta,
        unnest(@balances::bigint[]) AS balance, unnest(@sources::text[]) AS source, unnest(@refs::text[]) AS reference, unnest(@comments::text[]) AS comment) e;

-- name: UpdateHoldings :exec
UPDATE inventory AS i SET kind = h.kind, quantity = h.quantity, grant_id = NULLIF(h.grant_id, ''), snapshot = COALESCE(NULLIF(h.snapshot, '')::jsonb, i.snapshot), updated_at = @now
FROM (SELECT unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku, unnest(@kinds::text[]) AS kind, unnest(@quantities::bigint[]) AS quantity,
        unnest(@grant_ids::text[]) AS grant_id, unnest(@snapshots::text[]) AS snapshot) h
WHERE i.project_id = @project_id AND i.user_id = h.user_id AND i.sku = h.sku;

-- name: InsertSubscriptionEntry :exec
INSERT INTO subscription_entries (project_id, user_id, sku, kind, extension_id, entry, at)
VALUES (@project_id, @user_id, @sku, @kind, sqlc.narg('extension_id'), @entry, @now);

-- name: SaveSubscription :exec
-- Of a revoked one nothing is left to tell.
INSERT INTO subscriptions AS s (project_id, user_id, sku, stretch, started_at, expires_at, sweep_at)
VALUES (@project_id, @user_id, @sku, @stretch, sqlc.narg('started_at'), sqlc.narg('expires_at'), @now)
ON CONFLICT (project_id, user_id, sku) DO UPDATE SET stretch = EXCLUDED.stretch, started_at = EXCLUDED.started_at, expires_at = EXCLUDED.expires_at,
    changes = s.changes + 1, sweep_at = EXCLUDED.sweep_at,
    reminded_at = CASE WHEN EXCLUDED.expires_at IS NOT NULL THEN s.reminded_at END, ended_at = CASE WHEN EXCLUDED.expires_at IS NOT NULL THEN s.ended_at END;

-- name: GiveReservedGameKeys :execrows
-- Those that the order reserved. Here and below, the array keeps the planner from reading all keys to find a few.
UPDATE game_keys AS k SET state = 'given', user_id = @user_id::text, updated_at = @now
WHERE k.key_id = ANY (ARRAY(
    SELECT c.key_id FROM game_keys c
    WHERE c.order_id = @order_id::bigint AND c.project_id = @project_id AND c.sku = @sku AND c.state = 'reserved'
    ORDER BY c.key_id LIMIT @keys FOR NO KEY UPDATE));

-- name: GiveFreeGameKeys :execrows
UPDATE game_keys AS k SET state = 'given', user_id = @user_id::text, order_id = sqlc.narg('order_id')::bigint, updated_at = @now
WHERE k.key_id = ANY (ARRAY(
    SELECT c.key_id FROM game_keys c WHERE c.project_id = @project_id AND c.sku = @sku AND c.state = 'free'
    ORDER BY c.key_id LIMIT @keys FOR NO KEY UPDATE SKIP LOCKED));

-- name: RevokeGameKeys :execrows
-- The user's, or those that an order gave, the newest first.
UPDATE game_keys AS k SET state = 'revoked', updated_at = @now
WHERE k.key_id = ANY (ARRAY(
    SELECT c.key_id FROM game_keys c
    WHERE c.project_id = @project_id AND c.sku = @sku AND c.user_id = @user_id AND c.state = 'given'
      AND (sqlc.narg('order_id')::bigint IS NULL OR c.order_id = sqlc.narg('order_id'))
    ORDER BY c.updated_at DESC, c.key_id DESC LIMIT @keys FOR NO KEY UPDATE));

-- name: ListKeysOfOrder :many
-- Those that the order gave its user and that were not taken back.
SELECT k.sku, COALESCE(i.definition ->> 'drm_sku', '')::text AS drm_sku, k.code
FROM game_keys k LEFT JOIN catalog_items i ON i.project_id = k.project_id AND i.sku = k.sku
WHERE k.order_id = @order_id::bigint AND k.project_id = @project_id AND k.user_id = @user_id::text AND k.state = 'given'
ORDER BY k.sku, k.key_id;

-- name: ListKeysOfUser :many
-- Those that the user was given, in whatever way, and that were not taken back.
SELECT k.sku, k.code FROM game_keys k
WHERE k.project_id = @project_id AND k.user_id = @user_id::text AND k.sku = ANY (@skus::text[]) AND k.state = 'given'
ORDER BY k.sku, k.key_id;

-- name: ReadItemDefinitions :many
SELECT i.item_id, i.version, i.updated_at, i.definition FROM catalog_items i WHERE i.project_id = @project_id AND i.sku = ANY (@skus::text[]);

-- name: ClaimExternalPurchase :one
-- Nothing when it was told of before.
INSERT INTO inventory_purchases (project_id, external_purchase_id, user_id, request_hash, amount, currency, purchased_at, custom_parameters, at)
VALUES (@project_id, @external_purchase_id, @user_id, @request_hash, @amount, @currency, @purchased_at, sqlc.narg('custom_parameters'), @now)
ON CONFLICT (project_id, external_purchase_id) DO NOTHING
RETURNING external_purchase_id;

-- name: GetExternalPurchase :one
SELECT p.request_hash, p.answer FROM inventory_purchases p WHERE p.project_id = @project_id AND p.external_purchase_id = @external_purchase_id;

-- name: AnswerExternalPurchase :exec
UPDATE inventory_purchases AS p SET answer = @answer WHERE p.project_id = @project_id AND p.external_purchase_id = @external_purchase_id;

-- name: KeepInventoryAnswer :exec
INSERT INTO inventory_calls (project_id, call_id, answer, at) VALUES (@project_id, @call_id, @answer, @now);

-- name: GetInventoryAnswer :one
SELECT c.answer FROM inventory_calls c WHERE c.project_id = @project_id AND c.call_id = @call_id;

-- name: ListHoldings :many
-- As the catalog shows the items now; one that it does not have any more as it was last given.
SELECT i.sku, i.kind, i.quantity, COALESCE(c.item_id, 0)::bigint AS item_id, COALESCE(c.definition, i.snapshot)::jsonb AS definition
FROM inventory i LEFT JOIN catalog_items c ON c.project_id = i.project_id AND c.sku = i.sku
WHERE i.project_id = @project_id AND i.user_id = @user_id AND i.quantity > 0
ORDER BY i.sku LIMIT @max_items OFFSET @first_item;

-- name: ListTimeLimited :many
-- The subscriptions that are on sale, and all that the user has had, also those that were revoked or are not sold any more.
SELECT COALESCE(c.sku, i.sku)::text AS sku, COALESCE(c.item_id, 0)::bigint AS item_id, COALESCE(c.definition, i.snapshot)::jsonb AS definition, s.started_at, s.expires_at
FROM (SELECT o.* FROM catalog_items o WHERE o.project_id = @project_id AND o.type = 'virtual_good' AND o.definition ->> 'virtual_item_type' = 'non_renewing_subscription') c
FULL JOIN (SELECT h.* FROM inventory h WHERE h.project_id = @project_id AND h.user_id = @user_id AND h.kind = 'non_renewing_subscription') i ON i.sku = c.sku
LEFT JOIN subscriptions s ON s.project_id = @project_id AND s.user_id = @user_id AND s.sku = i.sku
WHERE i.quantity > 0 OR c.status = 'published'
ORDER BY 1;

-- name: ListCurrencyBalances :many
SELECT COALESCE(c.sku, i.sku)::text AS sku, COALESCE(c.item_id, 0)::bigint AS item_id, COALESCE(c.definition, i.snapshot)::jsonb AS definition, COALESCE(i.quantity, 0)::bigint AS amount
FROM (SELECT o.* FROM catalog_items o WHERE o.project_id = @project_id AND o.type = 'virtual_currency') c
FULL JOIN (SELECT h.* FROM inventory h WHERE h.project_id = @project_id AND h.user_id = @user_id AND h.kind = 'virtual_currency') i ON i.sku = c.sku
WHERE i.quantity > 0 OR c.status = 'published'
ORDER BY 1;

-- name: GetAvailableCoins :one
SELECT u.available FROM users u WHERE u.user_id = @user_id;

-- name: CheckEntitlements :many
-- Of what is owned, by its place in the question. The LIMITs keep each question a look by the primary key: as a join, the planner takes the
-- arrays for a thousand questions and reads both tables whole.
SELECT q.place::bigint AS place, i.kind, i.quantity, s.expires_at
FROM (SELECT unnest(@project_ids::int[]) AS project_id, unnest(@user_ids::text[]) AS user_id, unnest(@skus::text[]) AS sku, generate_subscripts(@skus::text[], 1) AS place) q
CROSS JOIN LATERAL (SELECT o.kind, o.quantity FROM inventory o WHERE o.project_id = q.project_id AND o.user_id = q.user_id AND o.sku = q.sku LIMIT 1) i
LEFT JOIN LATERAL (
    SELECT t.expires_at FROM subscriptions t
    WHERE t.project_id = q.project_id AND t.user_id = q.user_id AND t.sku = q.sku AND i.kind = 'non_renewing_subscription' LIMIT 1
) s ON true;
