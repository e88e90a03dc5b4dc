-- name: GetProject :one
SELECT p.project_id, p.name, p.jwt_secret, p.jwks_url, p.default_locale, p.default_currency, p.time_zone, p.sandbox, p.order_seconds, p.cart_seconds, p.reminder_seconds
FROM projects p WHERE p.project_id = @project_id;

-- name: EnsureUser :exec
-- Users of a project are known by their token alone.
INSERT INTO users (user_id, project_id, created_at, updated_at) VALUES (@user_id, @project_id, @now, @now) ON CONFLICT (user_id) DO NOTHING;

-- name: FindOrderOfToken :one
SELECT o.order_id, o.user_id, o.created_at FROM checkout_orders o WHERE o.project_id = @project_id AND o.token_hash = @token_hash;

-- name: UpdateProject :exec
-- What is null stays, but for the secret and the address of keys, which an empty text takes away.
UPDATE projects AS p SET
    name = COALESCE(sqlc.narg('name'), p.name),
    jwt_secret = NULLIF(COALESCE(sqlc.narg('jwt_secret'), p.jwt_secret), ''),
    jwks_url = NULLIF(COALESCE(sqlc.narg('jwks_url'), p.jwks_url), ''),
    default_locale = COALESCE(sqlc.narg('default_locale'), p.default_locale),
    default_currency = COALESCE(sqlc.narg('default_currency'), p.default_currency),
    time_zone = COALESCE(sqlc.narg('time_zone'), p.time_zone),
    sandbox = COALESCE(sqlc.narg('sandbox'), p.sandbox),
    order_seconds = COALESCE(sqlc.narg('order_seconds'), p.order_seconds),
    cart_seconds = COALESCE(sqlc.narg('cart_seconds'), p.cart_seconds),
    reminder_seconds = COALESCE(sqlc.narg('reminder_seconds'), p.reminder_seconds)
WHERE p.project_id = @project_id;

-- name: RevokeServerKey :execrows
UPDATE api_keys AS k SET revoked_at = @now WHERE k.key_id = @key_id AND k.project_id = @project_id AND k.role = 'server' AND k.revoked_at IS NULL;

-- name: InsertProject :one
-- Without an id, the one after the highest.
INSERT INTO projects (project_id, name, created_at)
SELECT COALESCE(sqlc.narg('project_id')::integer, (SELECT COALESCE(max(p.project_id), 0) + 1 FROM projects p)), @name, @now
RETURNING projects.project_id;

-- name: ListProjects :many
SELECT p.project_id, p.name FROM projects p ORDER BY p.project_id;
