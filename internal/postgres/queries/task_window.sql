-- The life of a window after counting. Locks are taken in the order: window, user, budget; the audit comes last.
-- Counting locks windows too, several in one statement: whoever locks more than one takes them by window_id.

-- name: LeaseTaskWindows :many
-- What the sweep tells: windows whose workflow does not know of the latest change, those that are completed and not yet
-- paid, and those that should have closed; each once a lease.
WITH due AS MATERIALIZED (
    SELECT w.window_id FROM task_windows w
    WHERE (w.told < w.changes OR w.settled_at IS NULL) AND w.sweep_at <= @now::timestamptz
    ORDER BY w.sweep_at LIMIT @max_windows FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE task_windows AS leased SET sweep_at = @lease_until::timestamptz
FROM due JOIN task_windows d ON d.window_id = due.window_id JOIN task_versions v ON v.task_id = d.task_id AND v.version = d.version
WHERE leased.window_id = due.window_id
RETURNING leased.window_id, leased.project_id, leased.user_id, leased.task_id, leased.state, leased.closes_at, leased.changes, (v.definition ->> 'name')::text AS task_name;

-- name: MarkTaskWindowsTold :exec
-- The sweep looks again when the window should have closed or, if it is over and not settled, after as long as it has been
-- so, from a minute to an hour.
WITH seen AS (
    SELECT told.window_id, max(told.changes) AS changes
    FROM (SELECT unnest(@window_ids::text[]) AS window_id, unnest(@changes::int[]) AS changes) AS told GROUP BY told.window_id
), locked AS MATERIALIZED (
    SELECT l.window_id, seen.changes FROM task_windows l JOIN seen ON seen.window_id = l.window_id ORDER BY l.window_id FOR NO KEY UPDATE OF l
)
UPDATE task_windows AS w SET told = GREATEST(w.told, LEAST(locked.changes, w.changes)),
    sweep_at = CASE
        WHEN locked.changes < w.changes THEN w.sweep_at
        WHEN w.state = 'open' THEN GREATEST(w.closes_at, sqlc.arg('now')::timestamptz) + interval '10 minutes'
        ELSE GREATEST(w.sweep_at, sqlc.arg('now')::timestamptz + LEAST(GREATEST(sqlc.arg('now')::timestamptz - w.updated_at, interval '1 minute'), interval '1 hour')) END
FROM locked WHERE w.window_id = locked.window_id;

-- name: LockTaskWindow :one
-- With what it promised, and the budget as it is now: an admin who raises it means the windows that are open as well.
SELECT sqlc.embed(w), v.definition, c.definition AS current_definition, c.version AS current_version
FROM task_windows w
JOIN task_versions v ON v.task_id = w.task_id AND v.version = w.version
JOIN tasks t ON t.task_id = w.task_id
JOIN task_versions c ON c.task_id = t.task_id AND c.version = t.version
WHERE w.window_id = @window_id FOR NO KEY UPDATE OF w;

-- name: FindLatestTaskWindow :one
SELECT w.window_id FROM task_windows w
WHERE w.project_id = @project_id AND w.user_id = @user_id AND w.task_id = @task_id ORDER BY w.ends_at DESC, w.number DESC LIMIT 1;

-- name: ExpireTaskWindow :exec
WITH expired AS (
    UPDATE task_windows w SET state = 'expired', settled_at = @now::timestamptz, updated_at = @now::timestamptz,
        live = NOT EXISTS (SELECT FROM task_windows l WHERE l.project_id = w.project_id AND l.user_id = w.user_id AND l.task_id = w.task_id AND l.ends_at > w.ends_at)
    WHERE w.window_id = @window_id AND w.state = 'open'
    RETURNING w.project_id, w.user_id
)
INSERT INTO notifications (project_id, user_id, kind, detail, created_at)
SELECT e.project_id, e.user_id, 'task_expired', @detail, @now FROM expired e;

-- name: SettleTaskWindow :exec
-- It leaves the windows that events look at when it is closed and another has followed it. What the main product still
-- owes holds it open.
UPDATE task_windows w SET settled_at = @now::timestamptz,
    live = w.live AND (w.closes_at > @now::timestamptz
        OR NOT EXISTS (SELECT FROM task_windows l WHERE l.project_id = w.project_id AND l.user_id = w.user_id AND l.task_id = w.task_id AND l.ends_at > w.ends_at))
WHERE w.window_id = @window_id AND w.settled_at IS NULL
  AND NOT EXISTS (SELECT FROM task_rewards r WHERE r.window_id = w.window_id AND r.status = 'pending');

-- name: AwaitReward :exec
-- The sweep leaves the window alone for as long as all calls to the main product may take.
UPDATE task_windows w SET sweep_at = GREATEST(w.sweep_at, @sweep_at) WHERE w.window_id = @window_id;

-- name: ListRewardsOfWindow :many
SELECT * FROM task_rewards r WHERE r.window_id = @window_id ORDER BY r.kind;

-- name: LockRewarded :exec
SELECT FROM users u WHERE u.user_id = @user_id FOR NO KEY UPDATE;

-- name: SumCoinsOfUser :one
-- What a user got from a task; asked after the user's row is locked.
SELECT COALESCE(sum(r.coins), 0)::bigint AS coins FROM task_rewards r
WHERE r.task_id = @task_id AND r.user_id = @user_id AND r.kind = 'coins' AND r.status = 'delivered';

-- name: PayCoins :one
-- Pays the coins and counts them for the budget, or neither. The key of the ledger refuses a second payment.
WITH budget AS (
    INSERT INTO task_budgets AS b (task_id, spent_coins)
    SELECT @task_id::bigint, @coins::bigint
    WHERE NOT @user_spent::boolean AND (@total_coins::bigint = 0 OR @coins::bigint <= @total_coins::bigint)
    ON CONFLICT (task_id) DO UPDATE SET spent_coins = b.spent_coins + EXCLUDED.spent_coins
        WHERE @total_coins::bigint = 0 OR b.spent_coins + EXCLUDED.spent_coins <= @total_coins::bigint
    RETURNING b.task_id
), wallet AS (
    UPDATE users u SET available = u.available + @coins FROM budget WHERE u.user_id = @user_id RETURNING u.available
), moved AS (
    INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
    SELECT @project_id, @user_id, 'issuance', 'available', @coins, 'reward', @reward_id, @now FROM budget
)
INSERT INTO task_rewards AS r (reward_id, window_id, kind, project_id, user_id, task_id, coins, status, reason_code, new_balance, created_at, updated_at)
SELECT @reward_id, @window_id, 'coins', @project_id, @user_id, @task_id::bigint, @coins::bigint, CASE WHEN p.paid THEN 'delivered' ELSE 'over_budget' END,
    CASE WHEN NOT p.paid THEN 'over_budget' END, (SELECT available FROM wallet), @now, @now
FROM (SELECT EXISTS (SELECT FROM budget) AS paid) AS p
ON CONFLICT (window_id, kind) DO UPDATE SET status = EXCLUDED.status, reason_code = EXCLUDED.reason_code, new_balance = EXCLUDED.new_balance, updated_at = EXCLUDED.updated_at
RETURNING *;

-- name: OweReward :one
INSERT INTO task_rewards (reward_id, window_id, kind, project_id, user_id, task_id, reward_type, amount, status, created_at, updated_at)
VALUES (@reward_id, @window_id, 'main_product', @project_id, @user_id, @task_id, @reward_type::text, @amount::numeric, 'pending', @now, @now)
RETURNING *;

-- name: OweItems :one
INSERT INTO task_rewards (reward_id, window_id, kind, project_id, user_id, task_id, items, status, created_at, updated_at)
VALUES (@reward_id, @window_id, 'items', @project_id, @user_id, @task_id, @items::jsonb, 'pending', @now, @now)
RETURNING *;

-- name: ListOpenedTasks :many
-- The published tasks of which this window completed the last requirement: it is the first completion of its task, and not
-- before those of all other tasks that they require. So of two completions in one moment only one finds them.
SELECT t.task_id, t.version, t.status, t.published_at, t.updated_at, v.definition
FROM task_windows w
JOIN tasks t ON t.project_id = w.project_id AND t.status = 'published'
JOIN task_versions v ON v.task_id = t.task_id AND v.version = t.version
WHERE w.window_id = @window_id AND w.state = 'completed'
  AND v.definition -> 'requires' @> to_jsonb(w.task_id)
  AND NOT EXISTS (SELECT FROM task_windows e WHERE e.project_id = w.project_id AND e.user_id = w.user_id AND e.task_id = w.task_id
      AND e.state = 'completed' AND (e.completed_at, e.window_id) < (w.completed_at, w.window_id))
  AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(v.definition -> 'requires') AS required (task_id)
      WHERE NOT EXISTS (SELECT FROM task_windows o WHERE o.project_id = w.project_id AND o.user_id = w.user_id AND o.task_id = required.task_id::bigint
          AND o.state = 'completed' AND (o.completed_at, o.window_id) <= (w.completed_at, w.window_id)))
ORDER BY t.task_id;

-- name: OpenBudgetAlert :exec
INSERT INTO admin_alerts (project_id, kind, subject, detail, opened_at)
VALUES (@project_id, 'task_budget_spent', @subject, @detail, @now)
ON CONFLICT (project_id, kind, subject) WHERE resolved_at IS NULL DO NOTHING;

-- name: ResolveBudgetAlert :exec
UPDATE admin_alerts a SET resolved_at = GREATEST(@now::timestamptz, a.opened_at)
WHERE a.project_id = @project_id AND a.kind = 'task_budget_spent' AND a.subject = @subject AND a.resolved_at IS NULL;

-- name: BeginRewardCall :one
-- Counts a call before it is made; what is not pending any more is not asked for.
WITH begun AS (
    UPDATE task_rewards b SET calls = b.calls + 1 WHERE b.reward_id = @reward_id AND b.status = 'pending'
)
SELECT r.status FROM task_rewards r WHERE r.reward_id = @reward_id;

-- name: FindReward :one
SELECT r.window_id, r.project_id FROM task_rewards r WHERE r.reward_id = @reward_id;

-- name: RecordReward :one
-- What the main product has given is given, also when an earlier run of the window had given up on it.
UPDATE task_rewards r SET status = @status, transaction_id = sqlc.narg('transaction_id'), new_balance = sqlc.narg('new_balance'),
    reason_code = sqlc.narg('reason_code'), reason_message = sqlc.narg('reason_message'), updated_at = @now
WHERE r.reward_id = @reward_id AND (r.status = 'pending' OR (@status = 'delivered' AND r.status IN ('refused', 'undelivered')))
RETURNING *;

-- name: ReopenReward :execrows
UPDATE task_rewards r SET status = 'pending', reason_code = NULL, reason_message = NULL, updated_at = @now
WHERE r.reward_id = @reward_id AND r.status IN ('refused', 'undelivered', 'over_budget');

-- name: ReopenTaskWindow :one
UPDATE task_windows w SET changes = w.changes + 1, settled_at = NULL, sweep_at = @now, updated_at = @now
WHERE w.window_id = @window_id RETURNING w.changes;

-- name: CancelTaskWindow :one
UPDATE task_windows w SET state = 'canceled', changes = w.changes + 1, sweep_at = @now, updated_at = @now
WHERE w.window_id = @window_id AND w.state = 'open' RETURNING w.changes;

-- name: ListRewards :many
-- Newest window first; the id grows with time and is the cursor.
SELECT sqlc.embed(r), (v.definition ->> 'name')::text AS task_name
FROM task_rewards r JOIN task_windows w ON w.window_id = r.window_id JOIN task_versions v ON v.task_id = w.task_id AND v.version = w.version
WHERE r.project_id = @project_id
  AND (sqlc.narg('before')::text IS NULL OR r.reward_id < sqlc.narg('before'))
  AND (sqlc.narg('user_id')::text IS NULL OR r.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('task_id')::bigint IS NULL OR r.task_id = sqlc.narg('task_id'))
  AND (sqlc.narg('statuses')::text[] IS NULL OR r.status = ANY (sqlc.narg('statuses')::text[]))
ORDER BY r.reward_id DESC LIMIT @max_rewards;

-- name: ListOwedRewards :many
-- ListRewards of what is not delivered, which are few: an index holds only those.
SELECT sqlc.embed(r), (v.definition ->> 'name')::text AS task_name
FROM task_rewards r JOIN task_windows w ON w.window_id = r.window_id JOIN task_versions v ON v.task_id = w.task_id AND v.version = w.version
WHERE r.project_id = @project_id AND r.status NOT IN ('delivered')
  AND (sqlc.narg('before')::text IS NULL OR r.reward_id < sqlc.narg('before'))
  AND (sqlc.narg('user_id')::text IS NULL OR r.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('task_id')::bigint IS NULL OR r.task_id = sqlc.narg('task_id'))
  AND r.status = ANY (@statuses::text[])
ORDER BY r.reward_id DESC LIMIT @max_rewards;
