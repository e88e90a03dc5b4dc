-- name: ListAudit :many
SELECT * FROM audit_log a
WHERE a.project_id = @project_id AND (@before::bigint = 0 OR a.audit_id < @before)
  AND (sqlc.narg('actor')::text IS NULL OR a.actor = sqlc.narg('actor'))
  AND (sqlc.narg('action')::text IS NULL OR a.action = sqlc.narg('action'))
  AND (sqlc.narg('subject')::text IS NULL OR a.subject = sqlc.narg('subject'))
  AND (sqlc.narg('since')::timestamptz IS NULL OR a.at >= sqlc.narg('since'))
  AND (sqlc.narg('until')::timestamptz IS NULL OR a.at < sqlc.narg('until'))
ORDER BY a.audit_id DESC LIMIT @max_entries;

-- name: ListHistory :many
-- All that is known of a user, or of one order, newest first. Transfers of orders are found by their reference.
WITH mine AS (
    SELECT o.order_id, o.user_id, o.attempt FROM orders o
    WHERE o.project_id = @project_id AND (o.order_id = sqlc.narg('order_id')::text OR o.user_id = sqlc.narg('user_id')::text)
), entries AS (
    SELECT t.at, 'timeline'::text AS source, t.entry_id AS id, t.order_id, t.event, NULL::text AS actor, t.detail
    FROM mine m JOIN order_timeline t ON t.order_id = m.order_id
    UNION ALL
    SELECT l.created_at, 'transfer', l.transfer_id, m.order_id, l.kind, NULL,
        jsonb_build_object('debit', l.debit, 'credit', l.credit, 'amount', l.amount, 'reference', l.reference)
    FROM mine m CROSS JOIN LATERAL generate_series(1, m.attempt) AS n
    JOIN ledger_transfers l ON l.reference = m.order_id || CASE WHEN n > 1 THEN '#' || n ELSE '' END AND l.kind IN ('reserve', 'capture', 'release')
    UNION ALL
    SELECT l.created_at, 'transfer', l.transfer_id, m.order_id, l.kind, NULL,
        jsonb_build_object('debit', l.debit, 'credit', l.credit, 'amount', l.amount, 'reference', l.reference)
    FROM mine m JOIN order_refunds r ON r.order_id = m.order_id JOIN ledger_transfers l ON l.reference = r.refund_id AND l.kind = 'refund'
    UNION ALL
    SELECT l.created_at, 'transfer', l.transfer_id, NULL, l.kind, NULL,
        jsonb_build_object('debit', l.debit, 'credit', l.credit, 'amount', l.amount, 'reference', l.reference)
    FROM ledger_transfers l WHERE l.user_id = sqlc.narg('user_id') AND l.kind = 'adjustment' AND l.project_id = @project_id
    UNION ALL
    SELECT t.created_at, 'notification', t.notification_id, t.order_id, t.kind, NULL, t.detail
    FROM notifications t WHERE t.user_id = sqlc.narg('user_id') AND t.project_id = @project_id
    UNION ALL
    SELECT t.created_at, 'notification', t.notification_id, t.order_id, t.kind, NULL, t.detail
    FROM mine m JOIN notifications t ON t.user_id = m.user_id AND t.order_id = m.order_id WHERE sqlc.narg('user_id')::text IS NULL
    UNION ALL
    SELECT a.at, 'audit', a.audit_id, NULL, a.action, a.actor, a.detail
    FROM audit_log a WHERE a.project_id = @project_id AND a.subject = sqlc.narg('user_id') AND split_part(a.action, '.', 1) IN ('user', 'wallet', 'approval')
    UNION ALL
    SELECT a.at, 'audit', a.audit_id, a.subject, a.action, a.actor, a.detail
    FROM mine m JOIN audit_log a ON a.project_id = @project_id AND a.subject = m.order_id AND split_part(a.action, '.', 1) IN ('order', 'dispute', 'approval')
    UNION ALL
    SELECT n.at, 'dispute', n.note_id, d.order_id, COALESCE(n.state, 'note'), n.author,
        jsonb_build_object('dispute_id', d.dispute_id, 'note', n.note)
    FROM mine m JOIN disputes d ON d.order_id = m.order_id JOIN dispute_notes n ON n.dispute_id = d.dispute_id
)
SELECT e.at::timestamptz AS at, e.source::text AS source, e.id::bigint AS id, COALESCE(e.order_id, '')::text AS order_id, e.event::text AS event, COALESCE(e.actor, '')::text AS actor, e.detail::jsonb AS detail
FROM entries e
WHERE sqlc.narg('before_at')::timestamptz IS NULL
   OR (e.at, e.source, e.id) < (sqlc.narg('before_at')::timestamptz, @before_source::text, @before_id::bigint)
ORDER BY e.at DESC, e.source DESC, e.id DESC LIMIT @max_entries;
