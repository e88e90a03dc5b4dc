-- What support does about an order. Locks are taken as in purchase.sql: order, user, stock; the audit comes last.

-- name: LockOrder :one
SELECT * FROM orders o WHERE o.order_id = @order_id AND o.project_id = @project_id FOR NO KEY UPDATE;

-- name: SettleSuspected :exec
-- The coins are back already; the main product has not credited.
WITH settled AS (
    UPDATE orders o SET suspected = false, updated_at = @now
    WHERE o.order_id = @order_id AND o.status = 'canceled' AND o.suspected
    RETURNING o.project_id, o.order_id, o.attempt
)
INSERT INTO order_timeline (project_id, order_id, attempt, event, at)
SELECT project_id, order_id, attempt, 'settled', @now FROM settled;

-- name: NoteLateCredit :one
-- The main product credited an order that support had ended meanwhile: it is suspected until support settles it.
WITH late AS (
    UPDATE orders o SET suspected = true, updated_at = @now
    WHERE o.order_id = @order_id AND o.attempt = @attempt AND o.status = 'canceled' AND o.reason_code = 'refunded_by_support' AND NOT o.suspected
    RETURNING o.project_id, o.order_id, o.attempt
), noted AS (
    INSERT INTO order_timeline (project_id, order_id, attempt, event, detail, at)
    SELECT project_id, order_id, attempt, 'credited_late', @detail, @now FROM late
)
SELECT EXISTS (SELECT FROM orders o WHERE o.order_id = @order_id AND o.attempt = @attempt AND o.status = 'canceled'
    AND o.reason_code = 'refunded_by_support')::boolean AS ended_by_support;

-- name: RefundOrder :exec
-- The order row is locked and the rules have allowed it; the CHECKs of orders refuse more than was paid. Stock is not
-- given back: the pieces were delivered.
WITH back AS (
    UPDATE orders o SET refunded_coins = o.refunded_coins + @amount_coins, updated_at = @now,
        status = CASE WHEN o.refunded_coins + @amount_coins = o.price_coins THEN 'refunded' ELSE o.status END
    WHERE o.order_id = @order_id
    RETURNING o.project_id, o.order_id, o.user_id, o.sku, o.attempt, o.delivery, o.refunded_coins
), buyer AS (
    UPDATE users u SET available = u.available + @amount_coins FROM back b WHERE u.user_id = b.user_id
), moved AS (
    INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at)
    SELECT project_id, user_id, 'revenue', 'available', @amount_coins, 'refund', @refund_id, @now FROM back
), refund AS (
    INSERT INTO order_refunds (refund_id, project_id, order_id, amount_coins, reason, actor, created_at)
    SELECT @refund_id, project_id, order_id, @amount_coins, @reason, @actor, @now FROM back
), told AS (
    INSERT INTO notifications (project_id, user_id, order_id, kind, detail, created_at)
    SELECT project_id, user_id, order_id, 'purchase_refunded', jsonb_build_object('sku', sku, 'product_name', delivery ->> 'product_name',
        'amount_coins', @amount_coins::bigint, 'refunded_coins', refunded_coins), @now FROM back
)
INSERT INTO order_timeline (project_id, order_id, attempt, event, detail, at)
SELECT project_id, order_id, attempt, 'refunded', jsonb_build_object('refund_id', @refund_id::text, 'amount_coins', @amount_coins::bigint), @now FROM back;

-- name: GetRefund :one
SELECT * FROM order_refunds r WHERE r.refund_id = @refund_id AND r.project_id = @project_id;

-- name: InsertApproval :one
INSERT INTO approvals (approval_id, project_id, action, subject, amount_coins, transaction_id, reason, requested_by, requested_at)
VALUES (@approval_id, @project_id, @action, @subject, @amount_coins, sqlc.narg('transaction_id'), @reason, @requested_by, @now)
RETURNING *;

-- name: GetApproval :one
SELECT * FROM approvals a WHERE a.approval_id = @approval_id AND a.project_id = @project_id;

-- name: LockApproval :one
SELECT * FROM approvals a WHERE a.approval_id = @approval_id AND a.project_id = @project_id FOR NO KEY UPDATE;

-- name: DecideApproval :one
UPDATE approvals a SET status = @status, decided_by = @actor::text, decided_at = @now::timestamptz, decision_reason = sqlc.narg('reason')
WHERE a.approval_id = @approval_id AND a.status = 'pending' RETURNING *;

-- name: ListApprovals :many
SELECT * FROM approvals a
WHERE a.project_id = @project_id AND (sqlc.narg('before')::text IS NULL OR a.approval_id < sqlc.narg('before'))
  AND (sqlc.narg('status')::text IS NULL OR a.status = sqlc.narg('status'))
ORDER BY a.approval_id DESC LIMIT @max_approvals;

-- name: InsertDispute :exec
INSERT INTO disputes (dispute_id, project_id, order_id, user_id, state, opened_by, created_at, updated_at)
VALUES (@dispute_id, @project_id, @order_id, @user_id, 'open', @opened_by, @now, @now);

-- name: InsertDisputeNote :exec
INSERT INTO dispute_notes (dispute_id, author, state, note, at)
VALUES (@dispute_id, @author, sqlc.narg('state'), sqlc.narg('note'), @now);

-- name: LockDispute :one
SELECT * FROM disputes d WHERE d.dispute_id = @dispute_id AND d.project_id = @project_id FOR NO KEY UPDATE;

-- name: SetDisputeState :exec
UPDATE disputes d SET state = @state, updated_at = @now WHERE d.dispute_id = @dispute_id;

-- name: GetDispute :one
SELECT * FROM disputes d WHERE d.dispute_id = @dispute_id AND d.project_id = @project_id;

-- name: ListDisputeNotes :many
SELECT * FROM dispute_notes n WHERE n.dispute_id = @dispute_id ORDER BY n.note_id LIMIT 1000;

-- name: ListDisputes :many
SELECT * FROM disputes d
WHERE d.project_id = @project_id AND (sqlc.narg('before')::text IS NULL OR d.dispute_id < sqlc.narg('before'))
  AND (sqlc.narg('state')::text IS NULL OR d.state = sqlc.narg('state'))
  AND (sqlc.narg('order_id')::text IS NULL OR d.order_id = sqlc.narg('order_id'))
  AND (sqlc.narg('user_id')::text IS NULL OR d.user_id = sqlc.narg('user_id'))
ORDER BY d.dispute_id DESC LIMIT @max_disputes;
