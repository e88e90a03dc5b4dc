-- Definitions of tasks, what a user has of them, and stored events. Locks are taken in the order: task, catalog;
-- window, user.

-- name: InsertTask :one
-- Without a task_id it is the next after the highest. No row when the id is taken, also by somebody who was faster.
INSERT INTO tasks (task_id, project_id, status, published_at, created_at, updated_at)
VALUES (COALESCE(sqlc.narg('task_id')::bigint, (SELECT COALESCE(max(t.task_id), 0) + 1 FROM tasks t)), @project_id, @status, sqlc.narg('published_at'), @now, @now)
ON CONFLICT DO NOTHING
RETURNING task_id;

-- name: UpdateTask :one
-- A version of 0 overwrites whatever is there. A task that stays published has been offered since it was first.
UPDATE tasks AS t SET version = t.version + 1, status = @status, updated_at = @now,
    published_at = CASE WHEN @status::text = 'published' THEN COALESCE(t.published_at, @now::timestamptz) END
WHERE t.project_id = @project_id AND t.task_id = @task_id AND (@version::bigint = 0 OR t.version = @version)
RETURNING t.version, t.published_at;

-- name: InsertTaskVersion :exec
INSERT INTO task_versions (task_id, version, definition, created_at) VALUES (@task_id, @version, @definition, @now);

-- name: BumpTaskCatalog :exec
-- Whoever edits a task of the project waits here for who edits another.
INSERT INTO task_catalogs AS c (project_id, revision) VALUES (@project_id, 1)
ON CONFLICT (project_id) DO UPDATE SET revision = c.revision + 1;

-- name: GetTask :one
SELECT t.task_id, t.version, t.status, t.published_at, t.updated_at, v.definition
FROM tasks t JOIN task_versions v ON v.task_id = t.task_id AND v.version = t.version
WHERE t.project_id = @project_id AND t.task_id = @task_id;

-- name: ListTasks :many
SELECT t.task_id, t.version, t.status, t.published_at, t.updated_at, v.definition
FROM tasks t JOIN task_versions v ON v.task_id = t.task_id AND v.version = t.version
WHERE t.project_id = @project_id AND t.task_id > @after AND (sqlc.narg('status')::text IS NULL OR t.status = sqlc.narg('status'))
ORDER BY t.task_id LIMIT @max_tasks;

-- name: CurrentTasks :many
SELECT t.task_id, t.version, t.status, t.published_at, t.updated_at, v.definition
FROM tasks t JOIN task_versions v ON v.task_id = t.task_id AND v.version = t.version
WHERE t.project_id = @project_id ORDER BY t.task_id;

-- name: ListTaskVersions :many
SELECT v.version, v.definition, v.created_at
FROM tasks t JOIN task_versions v ON v.task_id = t.task_id
WHERE t.project_id = @project_id AND t.task_id = @task_id AND (@before::bigint = 0 OR v.version < @before)
ORDER BY v.version DESC LIMIT @max_versions;

-- name: CatalogTasks :many
-- What events are counted by: the current version of each published task, every version that a live window began with,
-- and those that were replaced a moment ago, because somebody may be opening a window of one right now.
SELECT t.task_id, v.version, (t.status = 'published' AND v.version = t.version)::boolean AS offered, t.published_at, v.created_at, v.definition
FROM tasks t JOIN task_versions v ON v.task_id = t.task_id
WHERE t.project_id = @project_id
  AND ((t.status = 'published' AND v.version = t.version)
    OR (v.version < t.version AND EXISTS (SELECT FROM task_versions n WHERE n.task_id = v.task_id AND n.version = v.version + 1 AND n.created_at > @replaced_after))
    OR (v.task_id, v.version) IN (SELECT DISTINCT w.task_id, w.version FROM task_windows w WHERE w.project_id = @project_id AND w.live))
ORDER BY t.task_id, v.version DESC;

-- name: GetTaskVersion :one
SELECT v.definition, v.created_at FROM tasks t JOIN task_versions v ON v.task_id = t.task_id
WHERE t.project_id = @project_id AND t.task_id = @task_id AND v.version = @version;

-- name: ReadTaskUsers :many
SELECT u.user_id, u.created_at, (u.vip OR COALESCE(u.vip_until > @now::timestamptz, false))::boolean AS vip, u.attributes
FROM users u WHERE u.user_id = ANY (@user_ids::text[]);

-- name: FirstCompletions :many
-- When users first completed each of these tasks.
SELECT w.user_id, w.task_id, min(w.completed_at)::timestamptz AS completed_at
FROM task_windows w
WHERE w.project_id = @project_id AND w.user_id = ANY (@user_ids::text[]) AND w.task_id = ANY (@task_ids::bigint[]) AND w.state = 'completed'
GROUP BY w.user_id, w.task_id;

-- name: LiveWindows :many
-- A user's latest window of each task, and those that are not yet closed.
SELECT w.* FROM task_windows w WHERE w.project_id = @project_id AND w.user_id = @user_id AND w.live
ORDER BY w.task_id, w.number;

-- name: ReceivedRewards :many
-- The newest, and all of the windows that are shown.
SELECT r.reward_id, r.window_id, r.task_id, r.kind, r.coins, r.reward_type, r.amount, r.items, r.transaction_id, r.updated_at
FROM task_rewards r
WHERE r.project_id = @project_id AND r.user_id = @user_id AND r.status = 'delivered'
  AND (r.window_id IN (SELECT w.window_id FROM task_windows w WHERE w.project_id = @project_id AND w.user_id = @user_id AND w.live)
    OR r.reward_id IN (SELECT n.reward_id FROM task_rewards n WHERE n.user_id = @user_id ORDER BY n.reward_id DESC LIMIT @newest))
ORDER BY r.reward_id DESC;

-- name: LockLiveWindows :many
-- The latest window of the task, which is always live, comes last. All are locked, in the order in which they were opened.
SELECT w.* FROM task_windows w WHERE w.project_id = @project_id AND w.user_id = @user_id AND w.task_id = @task_id AND w.live
ORDER BY w.number FOR NO KEY UPDATE;

-- name: GetTaskWindow :one
SELECT w.* FROM task_windows w WHERE w.window_id = @window_id AND w.project_id = @project_id;

-- name: OpenTaskWindow :execrows
-- None when somebody opened the window of this number first. What came before it is looked at no more if it is closed.
WITH before AS (
    UPDATE task_windows AS w SET live = false, updated_at = @now::timestamptz
    WHERE w.project_id = @project_id AND w.user_id = @user_id AND w.task_id = @task_id AND w.number < @number AND w.live
      AND (w.closes_at <= @now OR w.state = 'canceled')
)
INSERT INTO task_windows (window_id, project_id, user_id, task_id, version, number, anchor, activated_at, ends_at, closes_at, time_zone, target, sweep_at, created_at, updated_at)
VALUES (@window_id, @project_id, @user_id, @task_id, @version, @number, @anchor, @activated_at, @ends_at, @closes_at, @time_zone, @target, @now, @now, @now)
ON CONFLICT (project_id, user_id, task_id, number) DO NOTHING;

-- name: FindEvent :one
-- The partition of the event is found by the time at which its key was first seen.
SELECT e.event_id, e.identified_by, e.source, e.user_id, e.event_type, e.occurred_at, e.received_at, e.payload, e.decisions, k.duplicates
FROM event_keys k JOIN events e ON e.received_at = k.received_at AND e.key = k.key
WHERE k.key = @key AND e.project_id = @project_id;

-- name: StoredEvents :many
-- Stored events of one type, in the order in which they happened. Partitions of days before received_after are not looked at.
SELECT e.user_id, e.occurred_at, e.payload
FROM events e
WHERE e.project_id = @project_id AND e.event_type = @event_type AND e.occurred_at >= @since AND e.occurred_at < @before
  AND e.received_at >= @received_after
ORDER BY e.occurred_at, e.key LIMIT @max_events;
