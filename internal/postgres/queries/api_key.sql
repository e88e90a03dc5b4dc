-- name: FindAPIKey :one
SELECT key_id, project_id, role, key_hash FROM api_keys WHERE key_hash = @key_hash AND revoked_at IS NULL;

-- name: InsertAPIKey :exec
INSERT INTO api_keys (key_id, project_id, role, key_hash, created_at)
VALUES (@key_id, @project_id, @role, @key_hash, @now)
ON CONFLICT (key_id) DO UPDATE SET key_hash = EXCLUDED.key_hash, revoked_at = NULL;
