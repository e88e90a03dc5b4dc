-- name: ClaimEventKeys :many
-- The deduplication. Keys in order, so that two batches with the same events wait for each other instead of deadlocking.
INSERT INTO event_keys AS k (key, received_at)
SELECT u.key, @now::timestamptz FROM unnest(@keys::uuid[]) AS u (key) ORDER BY u.key
ON CONFLICT (key) DO NOTHING RETURNING k.key;

-- name: TaskCatalogRevision :one
SELECT COALESCE((SELECT c.revision FROM task_catalogs c WHERE c.project_id = @project_id), 0)::bigint AS revision;

-- name: WriteEvents :exec
INSERT INTO events (key, project_id, event_id, identified_by, source, user_id, event_type, occurred_at, received_at, payload, decisions)
SELECT u.key, @project_id, u.event_id, u.identified_by, u.source, u.user_id, u.event_type, u.occurred_at, @now::timestamptz, u.payload::json, NULLIF(u.decisions, '')::json
FROM (SELECT unnest(@keys::uuid[]) AS key, unnest(@event_ids::text[]) AS event_id, unnest(@identities::text[]) AS identified_by,
        unnest(@sources::text[]) AS source, unnest(@user_ids::text[]) AS user_id, unnest(@event_types::text[]) AS event_type,
        unnest(@occurred_at::timestamptz[]) AS occurred_at, unnest(@payloads::text[]) AS payload,
        unnest(@decisions::text[]) AS decisions) u;

-- name: OpenWindows :exec
-- Windows that begin with an event. An earlier one of the task that takes no event any more is not looked at from now on.
WITH opened AS (
    INSERT INTO task_windows (window_id, project_id, user_id, task_id, version, number, anchor, activated_at, ends_at, closes_at, time_zone,
        target, progress, seen, state, completed_at, sweep_at, created_at, updated_at)
    SELECT u.window_id, @project_id, u.user_id, u.task_id, u.version, u.number, u.anchor, u.activated_at, u.ends_at, u.closes_at, u.time_zone,
        u.target, u.progress, NULLIF(u.seen, '')::jsonb, u.state, CASE WHEN u.state = 'completed' THEN u.completed_at END, @now::timestamptz, @now::timestamptz, @now::timestamptz
    FROM (SELECT unnest(@window_ids::text[]) AS window_id, unnest(@user_ids::text[]) AS user_id, unnest(@task_ids::bigint[]) AS task_id,
        unnest(@versions::bigint[]) AS version, unnest(@numbers::integer[]) AS number, unnest(@anchors::timestamptz[]) AS anchor,
        unnest(@activated_at::timestamptz[]) AS activated_at, unnest(@ends_at::timestamptz[]) AS ends_at,
        unnest(@closes_at::timestamptz[]) AS closes_at, unnest(@time_zones::text[]) AS time_zone,
        unnest(@targets::numeric[]) AS target, unnest(@progress::numeric[]) AS progress, unnest(@seen::text[]) AS seen,
        unnest(@states::text[]) AS state, unnest(@completed_at::timestamptz[]) AS completed_at) u
    RETURNING user_id, task_id, ends_at
)
UPDATE task_windows w SET live = false
FROM opened o
WHERE w.project_id = @project_id AND w.user_id = o.user_id AND w.task_id = o.task_id AND w.ends_at < o.ends_at
  AND w.live AND w.closes_at <= @now::timestamptz;

-- name: CountDuplicates :exec
UPDATE event_keys k SET duplicates = k.duplicates + u.times
FROM (SELECT d.key, d.times FROM (SELECT unnest(@keys::uuid[]) AS key, unnest(@times::integer[]) AS times) d ORDER BY d.key) u
WHERE k.key = u.key;

-- name: KeepEventsFrom :exec
UPDATE events_kept k SET kept_from = GREATEST(k.kept_from, @keep_from::timestamptz);

-- name: DropStrayEvents :exec
-- Of the default partition, which holds what came while a day's partition was not there.
DELETE FROM events_default e WHERE e.received_at < @before::timestamptz;

-- name: ForgetEventKeys :execrows
DELETE FROM event_keys k WHERE k.key IN (SELECT o.key FROM event_keys o WHERE o.received_at < @before::timestamptz LIMIT @max_keys);
