-- Carts (seeds 002, 004). A cart whose time is up is as if it were not there; the sweep deletes it.

-- name: FindCart :one
SELECT c.currency, c.country, c.lines, c.shown FROM carts c
WHERE c.project_id = @project_id AND c.user_id = @user_id AND c.cart_id = @cart_id AND c.expires_at > @now::timestamptz;

-- name: LockCart :one
SELECT c.currency, c.country, c.lines, c.shown FROM carts c
WHERE c.project_id = @project_id AND c.user_id = @user_id AND c.cart_id = @cart_id AND c.expires_at > @now::timestamptz FOR NO KEY UPDATE;

-- name: EnsureCart :execrows
-- So that there is a row to lock; one whose time is up begins anew.
INSERT INTO carts AS c (project_id, user_id, cart_id, updated_at, expires_at)
VALUES (@project_id, @user_id, @cart_id, @now::timestamptz, @expires_at::timestamptz)
ON CONFLICT (project_id, user_id, cart_id) DO UPDATE SET lines = '[]', shown = '{}', currency = NULL, country = NULL,
    updated_at = EXCLUDED.updated_at, expires_at = EXCLUDED.expires_at
    WHERE c.expires_at <= @now::timestamptz;

-- name: SaveCart :exec
UPDATE carts c SET lines = @lines, shown = @shown, currency = sqlc.narg('currency'), country = sqlc.narg('country'), updated_at = @now, expires_at = @expires_at
WHERE c.project_id = @project_id AND c.user_id = @user_id AND c.cart_id = @cart_id;

-- name: CountCarts :one
SELECT count(*) FROM carts c WHERE c.project_id = @project_id AND c.user_id = @user_id AND c.expires_at > @now::timestamptz;

-- name: SaveCartShown :exec
-- Whoever looked at the cart takes no lock, so a later view may have been saved meanwhile, and stays.
UPDATE carts c SET shown = @shown WHERE c.project_id = @project_id AND c.user_id = @user_id AND c.cart_id = @cart_id AND c.shown = @seen_before::jsonb;

-- name: DeleteCart :exec
DELETE FROM carts c WHERE c.project_id = @project_id AND c.user_id = @user_id AND c.cart_id = @cart_id;

-- name: DeleteAbandonedCarts :execrows
DELETE FROM carts d WHERE (d.project_id, d.user_id, d.cart_id) IN (
    SELECT c.project_id, c.user_id, c.cart_id FROM carts c WHERE c.expires_at <= @now::timestamptz ORDER BY c.expires_at LIMIT @max_carts FOR UPDATE SKIP LOCKED);
