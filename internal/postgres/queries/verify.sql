-- What must always hold. Each query lists the rows that break one rule, at most 20. They read one
-- snapshot and lock nothing, so they may run at any moment, also under load.

-- name: VerifyTransfersBalanceWallets :many
-- A wallet's balances equal its transfers, so all transfers sum to zero.
WITH moved AS (
    SELECT user_id, sum(CASE 'available' WHEN credit THEN amount WHEN debit THEN -amount ELSE 0 END) AS available,
           sum(CASE 'held' WHEN credit THEN amount WHEN debit THEN -amount ELSE 0 END) AS held
    FROM ledger_transfers GROUP BY user_id)
SELECT format('user %s: wallet %s + %s held, transfers %s + %s held', u.user_id, u.available, u.held,
              COALESCE(m.available, 0), COALESCE(m.held, 0))::text AS broken
FROM users u LEFT JOIN moved m USING (user_id)
WHERE u.available <> COALESCE(m.available, 0) OR u.held <> COALESCE(m.held, 0) LIMIT 20;

-- name: VerifyHeldEqualsOpenOrders :many
WITH holds AS (
    SELECT user_id, sum(price_coins) AS held FROM orders WHERE status IN ('processing', 'awaiting_confirmation') GROUP BY user_id)
SELECT format('user %s: %s held, open orders hold %s', u.user_id, u.held, COALESCE(h.held, 0))::text AS broken
FROM users u LEFT JOIN holds h USING (user_id) WHERE u.held <> COALESCE(h.held, 0) LIMIT 20;

-- name: VerifyStockEqualsOrders :many
WITH ordered AS (
    SELECT project_id, sku, sum(quantity) FILTER (WHERE status IN ('processing', 'awaiting_confirmation')) AS reserved,
           sum(quantity) FILTER (WHERE status IN ('completed', 'refunded')) AS sold
    FROM orders GROUP BY project_id, sku)
SELECT format('product %s: %s of %s available, %s reserved (orders: %s), %s sold (orders: %s)', s.sku, s.available, s.initial + s.restocked,
              s.reserved, COALESCE(o.reserved, 0), s.sold, COALESCE(o.sold, 0))::text AS broken
FROM stock s LEFT JOIN ordered o USING (project_id, sku)
WHERE s.reserved <> COALESCE(o.reserved, 0) OR s.sold <> COALESCE(o.sold, 0)
   OR s.available <> s.initial + s.restocked - s.sold - s.reserved LIMIT 20;

-- name: VerifyRestockedEqualsChanges :many
WITH changed AS (
    SELECT project_id, sku, sum(available_after - available_before) AS restocked FROM stock_changes GROUP BY project_id, sku)
SELECT format('product %s: %s restocked, its changes say %s', COALESCE(s.sku, c.sku), s.restocked, COALESCE(c.restocked, 0))::text AS broken
FROM stock s FULL JOIN changed c USING (project_id, sku)
WHERE s.restocked IS DISTINCT FROM COALESCE(c.restocked, 0) LIMIT 20;

-- name: VerifyOrdersMovedTheirCoins :many
-- Each attempt of an order reserved once and ended once: captured if completed, else released.
WITH attempts AS (
    SELECT o.order_id, o.status, o.price_coins, o.user_id, n AS attempt, n = o.attempt AS latest,
           o.order_id || CASE WHEN n > 1 THEN '#' || n ELSE '' END AS reference
    FROM orders o CROSS JOIN LATERAL generate_series(1, o.attempt) AS n),
moved AS (
    SELECT a.order_id, a.status, a.attempt, a.latest,
           count(*) FILTER (WHERE t.kind = 'reserve') AS reserves, count(*) FILTER (WHERE t.kind = 'capture') AS captures,
           count(*) FILTER (WHERE t.kind = 'release') AS releases,
           count(*) FILTER (WHERE t.amount <> a.price_coins OR t.user_id <> a.user_id) AS strangers
    FROM attempts a LEFT JOIN ledger_transfers t ON t.reference = a.reference
    GROUP BY a.order_id, a.status, a.attempt, a.latest)
SELECT format('order %s attempt %s (%s): %s reserves, %s captures, %s releases, %s of another amount or user',
              order_id, attempt, status, reserves, captures, releases, strangers)::text AS broken
FROM moved
WHERE strangers > 0 OR reserves <> 1
   OR captures <> (CASE WHEN latest AND status IN ('completed', 'refunded') THEN 1 ELSE 0 END)
   OR releases <> (CASE WHEN NOT latest OR status = 'canceled' THEN 1 ELSE 0 END)
LIMIT 20;

-- name: VerifyTransfersHaveOrders :many
SELECT format('transfer %s (%s of %s coins) belongs to no order: %s', t.transfer_id, t.kind, t.amount, t.reference)::text AS broken
FROM ledger_transfers t LEFT JOIN orders o ON o.order_id = split_part(t.reference, '#', 1)
LEFT JOIN checkout_orders c ON 'checkout/' || c.order_id = t.reference
WHERE t.kind IN ('reserve', 'capture', 'release') AND o.order_id IS NULL AND c.order_id IS NULL LIMIT 20;

-- name: VerifyOrdersHaveProducts :many
SELECT format('order %s is for no product: %s', o.order_id, o.sku)::text AS broken
FROM orders o LEFT JOIN stock s USING (project_id, sku) WHERE s.sku IS NULL LIMIT 20;

-- name: VerifyOrdersEndInTime :many
-- An open order is bounded by its own tries: calls, pauses, and some time to recover from an outage.
SELECT format('order %s is open since %s', o.order_id, o.updated_at)::text AS broken
FROM orders o
WHERE o.status = 'processing'
  AND o.updated_at + interval '1 second' * (((o.delivery ->> 'timeout_seconds')::int + (o.delivery ->> 'retry_interval_seconds')::int)
      * ((o.delivery ->> 'retries')::int + 1)) < sqlc.arg('no_later_than')::timestamptz
LIMIT 20;

-- name: VerifyOutcomesWereTold :many
-- Every outcome told the user once: one notification for each attempt that ended.
WITH told AS (SELECT order_id, count(*) AS times FROM notifications
    WHERE order_id IS NOT NULL AND kind IN ('purchase_completed', 'purchase_canceled') GROUP BY order_id)
SELECT format('order %s (%s, attempt %s): the user was told %s times', o.order_id, o.status, o.attempt, COALESCE(t.times, 0))::text AS broken
FROM orders o LEFT JOIN told t USING (order_id)
WHERE COALESCE(t.times, 0) <> o.attempt - CASE WHEN o.finished_at IS NULL THEN 1 ELSE 0 END LIMIT 20;

-- name: VerifyRefundsSumUp :many
-- What an order says was refunded equals its refunds, and each refund moved its coins once, to the buyer.
WITH refunded AS (
    SELECT r.order_id, sum(r.amount_coins) AS coins, sum(t.amount) AS moved, count(*) FILTER (WHERE t.amount IS DISTINCT FROM r.amount_coins
               OR t.user_id IS DISTINCT FROM o.user_id OR t.debit <> 'revenue' OR t.credit <> 'available') AS strangers
    FROM order_refunds r JOIN orders o ON o.order_id = r.order_id LEFT JOIN ledger_transfers t ON t.reference = r.refund_id AND t.kind = 'refund'
    GROUP BY r.order_id)
SELECT format('order %s (%s): %s of %s coins refunded, its refunds are %s and moved %s', o.order_id, o.status, o.refunded_coins, o.price_coins,
              COALESCE(r.coins, 0), COALESCE(r.moved, 0))::text AS broken
FROM orders o LEFT JOIN refunded r ON r.order_id = o.order_id
WHERE o.refunded_coins <> COALESCE(r.coins, 0) OR o.refunded_coins <> COALESCE(r.moved, 0) OR r.strangers > 0
UNION ALL
SELECT format('transfer %s (refund of %s coins) belongs to no refund: %s', t.transfer_id, t.amount, t.reference)::text
FROM ledger_transfers t LEFT JOIN order_refunds r ON r.refund_id = t.reference LEFT JOIN checkout_refunds c ON c.refund_id = t.reference
WHERE t.kind = 'refund' AND r.refund_id IS NULL AND c.refund_id IS NULL LIMIT 20;

-- name: VerifyAuditChain :many
-- The first row of the audit log whose hash does not follow from the one before it, or an end that was cut off.
WITH chained AS (
    SELECT a.audit_id, a.hash, audit_hash(lag(a.hash, 1, ''::bytea) OVER (ORDER BY a.audit_id),
               a.audit_id, a.project_id, a.actor, a.action, a.subject, a.detail, a.at) AS expected
    FROM audit_log a),
broken_at AS (SELECT min(c.audit_id) AS audit_id FROM chained c WHERE c.hash <> c.expected)
SELECT format('audit row %s was changed, or the row before it is gone', b.audit_id)::text AS broken
FROM broken_at b WHERE b.audit_id IS NOT NULL
UNION ALL
SELECT format('the audit log should end with row %s', h.audit_id)::text
FROM audit_head h
WHERE h.audit_id > 0 AND NOT EXISTS (SELECT FROM audit_log a WHERE a.audit_id = h.audit_id AND a.hash = h.hash);

-- name: VerifyPerksEqualOrders :many
-- Every completed order of something that lasts for a time has its perk, and no other order has one.
SELECT format('order %s (%s): a perk is %s, there is %s', COALESCE(o.order_id, p.order_id), COALESCE(o.status, 'none'),
              CASE WHEN o.status IN ('completed', 'refunded') AND o.delivery -> 'perk' IS NOT NULL THEN 'due' ELSE 'not due' END,
              CASE WHEN p.order_id IS NULL THEN 'none' ELSE 'one' END)::text AS broken
FROM orders o FULL JOIN perks p ON p.order_id = o.order_id
WHERE COALESCE(o.status IN ('completed', 'refunded') AND o.delivery -> 'perk' IS NOT NULL, false) <> (p.order_id IS NOT NULL) LIMIT 20;

-- name: VerifyEntitlementsEqualPerks :many
-- A user has something until the end of the last order that gave it.
WITH given AS (
    SELECT project_id, user_id, kind, CASE WHEN kind = 'vip_status' THEN '' ELSE sku END AS sku, max(expires_at) AS expires_at
    FROM perks GROUP BY 1, 2, 3, 4)
SELECT format('user %s, %s %s: until %s, orders gave it until %s', COALESCE(e.user_id, g.user_id), COALESCE(e.kind, g.kind), COALESCE(e.sku, g.sku),
              e.expires_at, g.expires_at)::text AS broken
FROM entitlements e FULL JOIN given g ON g.project_id = e.project_id AND g.user_id = e.user_id AND g.kind = e.kind AND g.sku = e.sku
WHERE e.expires_at IS DISTINCT FROM g.expires_at LIMIT 20;

-- name: VerifyRewardsEqualCompletions :many
-- A completed window has one reward for each part that its task promised, from when it is settled at the latest; no other
-- window has any.
WITH promised AS (
    SELECT w.window_id, w.user_id, 'coins' AS kind, (v.definition #>> '{reward,coins}')::bigint AS coins, NULL AS reward_type, NULL::numeric AS amount, NULL::jsonb AS items, w.settled_at
    FROM task_windows w JOIN task_versions v ON v.task_id = w.task_id AND v.version = w.version
    WHERE w.state = 'completed' AND (v.definition #>> '{reward,coins}')::bigint > 0
    UNION ALL
    SELECT w.window_id, w.user_id, 'main_product', NULL, v.definition #>> '{reward,main_product,reward_type}', (v.definition #>> '{reward,main_product,amount}')::numeric, NULL, w.settled_at
    FROM task_windows w JOIN task_versions v ON v.task_id = w.task_id AND v.version = w.version
    WHERE w.state = 'completed' AND v.definition #> '{reward,main_product}' IS NOT NULL
    UNION ALL
    SELECT w.window_id, w.user_id, 'items', NULL, NULL, NULL, v.definition #> '{reward,items}', w.settled_at
    FROM task_windows w JOIN task_versions v ON v.task_id = w.task_id AND v.version = w.version
    WHERE w.state = 'completed' AND v.definition #> '{reward,items}' IS NOT NULL)
SELECT format('window %s, %s: promised %s %s %s to %s, rewarded %s %s %s to %s', COALESCE(p.window_id, r.window_id), COALESCE(p.kind, r.kind),
              p.coins, p.amount, p.reward_type, p.user_id, r.coins, r.amount, r.reward_type, r.user_id)::text AS broken
FROM promised p FULL JOIN task_rewards r ON r.window_id = p.window_id AND r.kind = p.kind
WHERE p.window_id IS NULL OR (r.window_id IS NULL AND p.settled_at IS NOT NULL)
   OR (r.window_id IS NOT NULL AND (p.coins, p.reward_type, p.amount, p.items, p.user_id) IS DISTINCT FROM (r.coins, r.reward_type, r.amount, r.items, r.user_id))
LIMIT 20;

-- name: VerifySettledMeansNothingPending :many
SELECT format('window %s is %s, with %s of %s parts of its reward pending', w.window_id, CASE WHEN w.settled_at IS NULL THEN 'not settled' ELSE 'settled' END,
              count(*) FILTER (WHERE r.status = 'pending'), count(*))::text AS broken
FROM task_windows w JOIN task_rewards r ON r.window_id = w.window_id
GROUP BY w.window_id HAVING (w.settled_at IS NULL) <> (count(*) FILTER (WHERE r.status = 'pending') > 0) LIMIT 20;

-- name: VerifyRewardsMovedTheirCoins :many
-- Coins that were delivered were issued to the user once, and no others.
SELECT format('reward %s: %s coins delivered to %s, %s issued to %s', COALESCE(r.reward_id, t.reference), r.coins, r.user_id, t.amount, t.user_id)::text AS broken
FROM (SELECT * FROM task_rewards d WHERE d.kind = 'coins' AND d.status = 'delivered') r
FULL JOIN (SELECT * FROM ledger_transfers m WHERE m.kind = 'reward') t ON t.reference = r.reward_id
WHERE (r.coins, r.user_id) IS DISTINCT FROM (t.amount, t.user_id) OR t.debit <> 'issuance' OR t.credit <> 'available' LIMIT 20;

-- name: VerifyBudgetsEqualRewards :many
WITH paid AS (
    SELECT r.task_id, sum(r.coins) AS coins FROM task_rewards r WHERE r.kind = 'coins' AND r.status = 'delivered' GROUP BY r.task_id)
SELECT format('task %s: %s coins spent, its rewards are %s', COALESCE(b.task_id, p.task_id), COALESCE(b.spent_coins, 0), COALESCE(p.coins, 0))::text AS broken
FROM task_budgets b FULL JOIN paid p ON p.task_id = b.task_id
WHERE COALESCE(b.spent_coins, 0) <> COALESCE(p.coins, 0) LIMIT 20;

-- name: VerifyWindowsAreSettledInTime :many
-- A window that is over is settled within ten minutes; one whose timer was lost is found by the sweep ten minutes after it
-- should have closed.
SELECT format('window %s is %s and not settled since %s', w.window_id, w.state, o.since)::text AS broken
FROM task_windows w
CROSS JOIN LATERAL (SELECT CASE WHEN w.state = 'open' THEN w.closes_at + interval '10 minutes' ELSE w.updated_at END AS since) AS o
WHERE w.settled_at IS NULL AND o.since + interval '10 minutes' < sqlc.arg('no_later_than')::timestamptz LIMIT 20;

-- name: VerifyProgressEqualsEvents :many
-- What a window has counted is what its events say they added, as far as all of them are still stored. A full join, also
-- because its planner can only hash it: how many windows the events name is more than it can guess.
WITH counted AS (
    SELECT (d.decision ->> 'window_id')::text AS window_id, sum((d.decision ->> 'added')::numeric) AS added
    FROM events e CROSS JOIN LATERAL json_array_elements(e.decisions) AS d (decision)
    WHERE d.decision ->> 'code' = 'counted' GROUP BY 1)
SELECT format('window %s of user %s: progress %s of %s, its events added %s', COALESCE(w.window_id, c.window_id), w.user_id, w.progress, w.target, COALESCE(c.added, 0))::text AS broken
FROM task_windows w FULL JOIN counted c ON c.window_id = w.window_id CROSS JOIN events_kept k
WHERE COALESCE(w.created_at >= k.kept_from, true) AND COALESCE(w.progress, 0) <> COALESCE(c.added, 0) LIMIT 20;

-- name: VerifyEventsHaveKeys :many
-- Each stored event has its key, so that it can't be counted again, and is there once.
SELECT format('event %s of user %s is stored %s times, %s keys', e.event_id, e.user_id, count(*), count(DISTINCT k.key))::text AS broken
FROM events e CROSS JOIN events_kept f LEFT JOIN event_keys k ON k.key = e.key AND k.received_at = e.received_at
WHERE e.received_at >= f.kept_from
GROUP BY e.key, e.event_id, e.user_id HAVING count(*) <> 1 OR count(k.key) <> 1 LIMIT 20;

-- name: VerifySalesEqualCheckouts :many
-- What is counted for the limits of items is what the orders hold.
WITH held AS (
    SELECT o.project_id, s.sale ->> 'sku' AS sku, sum((s.sale ->> 'quantity')::bigint) FILTER (WHERE o.status = 'new') AS reserved,
        sum((s.sale ->> 'quantity')::bigint) FILTER (WHERE o.status <> 'new') AS sold
    FROM checkout_orders o CROSS JOIN LATERAL jsonb_array_elements(COALESCE(o.holds -> 'sales', '[]')) AS s (sale) GROUP BY 1, 2)
SELECT format('item %s: %s reserved, %s sold; its orders hold %s and %s', COALESCE(i.sku, h.sku), i.reserved, i.sold, COALESCE(h.reserved, 0), COALESCE(h.sold, 0))::text AS broken
FROM item_sales i FULL JOIN held h ON h.project_id = i.project_id AND h.sku = i.sku
WHERE COALESCE(i.reserved, 0) <> COALESCE(h.reserved, 0) OR COALESCE(i.sold, 0) <> COALESCE(h.sold, 0) LIMIT 20;

-- name: VerifyUsagesEqualCheckouts :many
WITH held AS (
    SELECT o.project_id, o.user_id, u.usage ->> 'sku' AS sku, COALESCE(u.usage ->> 'promotion', '') AS promotion, (u.usage ->> 'period_start')::timestamptz AS period_start,
        sum((u.usage ->> 'quantity')::bigint) AS used
    FROM checkout_orders o CROSS JOIN LATERAL jsonb_array_elements(COALESCE(o.holds -> 'usages', '[]')) AS u (usage) GROUP BY 1, 2, 3, 4, 5)
SELECT format('user %s, item %s %s: %s used, the orders say %s', COALESCE(i.user_id, h.user_id), COALESCE(i.sku, h.sku), COALESCE(i.promotion, h.promotion), i.used, COALESCE(h.used, 0))::text AS broken
FROM item_usages i FULL JOIN held h ON h.project_id = i.project_id AND h.user_id = i.user_id AND h.sku = i.sku AND h.promotion = i.promotion AND h.period_start = i.period_start
WHERE COALESCE(i.used, 0) <> COALESCE(h.used, 0) LIMIT 20;

-- name: VerifyCheckoutsArePaidOnce :many
-- Who delivered was paid, by one payment, of the amount that the order says; an order that never was paid has none that was taken.
WITH taken AS (
    SELECT p.order_id, count(*) AS payments, sum(p.amount) AS amount FROM checkout_payments p WHERE p.outcome = 'accepted' GROUP BY p.order_id)
SELECT format('order %s (%s): paid %s, accepted payments %s of %s', o.order_id, o.status, o.paid, COALESCE(t.payments, 0), t.amount)::text AS broken
FROM checkout_orders o LEFT JOIN taken t ON t.order_id = o.order_id
WHERE o.paid IS DISTINCT FROM t.amount OR COALESCE(t.payments, 0) > 1 OR (o.paid IS NOT NULL AND o.status IN ('new', 'expired'))
   OR (o.paid IS NULL AND o.status IN ('paid', 'done') AND o.currency_type <> 'free') LIMIT 20;

-- name: VerifyCheckoutRefundsSumUp :many
-- What an order says was refunded are its refunds, never more than was paid; coins went back to the user's wallet.
WITH refunded AS (
    SELECT r.order_id, sum(r.amount) AS amount, bool_or(r.whole) AS whole, COALESCE(sum(t.amount), 0) AS moved
    FROM checkout_refunds r LEFT JOIN ledger_transfers t ON t.reference = r.refund_id AND t.kind = 'refund' GROUP BY r.order_id)
SELECT format('order %s (%s): %s of %s refunded, its refunds are %s, coins returned %s', o.order_id, o.status, o.refunded, o.paid, COALESCE(r.amount, 0), COALESCE(r.moved, 0))::text AS broken
FROM checkout_orders o LEFT JOIN refunded r ON r.order_id = o.order_id
WHERE o.refunded <> COALESCE(r.amount, 0) OR o.refunded > COALESCE(o.paid, 0) OR (COALESCE(r.whole, false) AND o.status <> 'canceled')
   OR COALESCE(r.moved, 0) <> CASE WHEN o.virtual_price ->> 'sku' = 'coins' THEN o.refunded ELSE 0 END LIMIT 20;

-- name: VerifyCheckoutsGaveTheirLines :many
-- An order that gave its goods gave each line once: every item that the line unfolds to, as it was frozen, as many of it, to its user; of a
-- subscription as many periods. What the main product gives instead is not given here, nor is anything else. What is not paid was given nobody, and of what
-- is paid only an order that waits for the main product. An order that is canceled gave everything or nothing.
WITH RECURSIVE unfolded AS (
    SELECT o.order_id, l.line ->> 'line_id' AS line_id, l.line ->> 'sku' AS sku, (l.line ->> 'quantity')::bigint AS quantity, l.line -> 'content' AS content,
        COALESCE((l.line #>> '{main_product,instead_of_inventory}')::boolean, false) AS instead
    FROM checkout_orders o CROSS JOIN LATERAL jsonb_array_elements(o.lines) AS l (line)
    WHERE o.paid_at IS NOT NULL AND (o.status IN ('done', 'canceled') OR o.given_at IS NOT NULL)
    UNION ALL
    SELECT u.order_id, u.line_id, p.part ->> 'sku', u.quantity * (p.part ->> 'quantity')::bigint, p.part -> 'content',
        COALESCE((p.part #>> '{main_product,instead_of_inventory}')::boolean, false)
    FROM unfolded u CROSS JOIN LATERAL jsonb_array_elements(u.content) AS p (part)),
due AS (
    SELECT u.order_id, format('checkout/%s/%s/%s', u.order_id, u.line_id, u.sku) AS reference, sum(u.quantity) AS quantity
    FROM unfolded u WHERE u.content IS NULL AND NOT u.instead GROUP BY u.order_id, u.line_id, u.sku),
given AS (
    SELECT e.project_id, e.user_id, e.reference, split_part(e.reference, '/', 2)::bigint AS order_id, COALESCE((x.entry #>> '{extended,quantity}')::bigint, e.delta) AS quantity
    FROM inventory_entries e LEFT JOIN subscription_entries x ON x.project_id = e.project_id AND x.extension_id = e.reference AND x.kind = 'extended'
    WHERE e.action = 'grant' AND e.reference ~ '^checkout/[0-9]+/[0-9]+/[^/]+$'),
compared AS (
    SELECT COALESCE(d.order_id, g.order_id) AS order_id, COALESCE(d.reference, g.reference) AS reference, COALESCE(d.quantity, 0) AS due, g.reference IS NOT NULL AS was_given,
        COALESCE(g.quantity, 0) AS given, g.project_id, g.user_id
    FROM due d FULL JOIN given g ON g.reference = d.reference)
SELECT format('order %s (%s), %s: given %s of %s', c.order_id, COALESCE(o.status, 'none'), c.reference, c.given, c.due)::text AS broken
FROM compared c LEFT JOIN checkout_orders o ON o.order_id = c.order_id LEFT JOIN (SELECT DISTINCT g.order_id FROM given g) any_given ON any_given.order_id = c.order_id
WHERE CASE
    WHEN o.order_id IS NULL OR (c.was_given AND (c.project_id, c.user_id) IS DISTINCT FROM (o.project_id, o.user_id)) THEN true
    WHEN o.status = 'done' OR o.given_at IS NOT NULL THEN c.given <> c.due
    WHEN o.status = 'canceled' THEN c.given <> c.due AND any_given.order_id IS NOT NULL
    ELSE c.was_given END LIMIT 20;

-- name: VerifyCheckoutsTookBackTheirLines :many
-- What a refund pays back of goods that were given was taken back, as far as the user still had it: for each item that the lines unfold to there is an
-- entry, and of no more. An order that is canceled after it was paid has paid back all of its lines.
WITH RECURSIVE refunded AS (
    SELECT f.order_id, f.refund_id, b.back ->> 'line_id' AS line_id, (b.back ->> 'quantity')::bigint AS quantity
    FROM checkout_refunds f CROSS JOIN LATERAL jsonb_array_elements(f.lines) AS b (back)),
unfolded AS (
    SELECT o.order_id, o.project_id, r.line_id, r.refund_id, l.line ->> 'sku' AS sku, r.quantity, l.line -> 'content' AS content
    FROM refunded r JOIN checkout_orders o ON o.order_id = r.order_id CROSS JOIN LATERAL jsonb_array_elements(o.lines) AS l (line) WHERE l.line ->> 'line_id' = r.line_id
    UNION ALL
    SELECT u.order_id, u.project_id, u.line_id, u.refund_id, p.part ->> 'sku', u.quantity * (p.part ->> 'quantity')::bigint, p.part -> 'content'
    FROM unfolded u CROSS JOIN LATERAL jsonb_array_elements(u.content) AS p (part)),
owed AS (
    SELECT u.order_id, u.project_id, u.refund_id, format('checkout/%s/%s/%s', u.order_id, u.line_id, u.sku) AS reference, sum(u.quantity) AS quantity
    FROM unfolded u WHERE u.content IS NULL GROUP BY u.order_id, u.project_id, u.line_id, u.refund_id, u.sku)
(SELECT format('order %s, refund %s, %s: taken %s of %s', w.order_id, w.refund_id, w.reference, -t.delta, w.quantity)::text AS broken
 FROM owed w JOIN inventory_entries g ON g.project_id = w.project_id AND g.reference = w.reference AND g.action = 'grant'
 LEFT JOIN inventory_entries t ON t.project_id = w.project_id AND t.reference = w.reference || '/' || w.refund_id AND t.action = 'refund'
 WHERE t.delta IS NULL OR -t.delta NOT BETWEEN 0 AND w.quantity LIMIT 10)
UNION ALL
(SELECT format('order %s is canceled, line %s: %s of %s paid back', o.order_id, l.line ->> 'line_id', COALESCE(r.quantity, 0), l.line ->> 'quantity')
 FROM checkout_orders o CROSS JOIN LATERAL jsonb_array_elements(o.lines) AS l (line)
 LEFT JOIN (SELECT d.order_id, d.line_id, sum(d.quantity) AS quantity FROM refunded d GROUP BY d.order_id, d.line_id) r ON r.order_id = o.order_id AND r.line_id = l.line ->> 'line_id'
 WHERE o.status = 'canceled' AND o.paid_at IS NOT NULL AND r.quantity IS DISTINCT FROM (l.line ->> 'quantity')::numeric LIMIT 10);

-- name: VerifyCheckoutsEndInTime :many
-- An order that nobody pays expires, and one that is paid is delivered, within ten minutes; for what the main product gives there is a rule of its own.
SELECT format('order %s is %s since %s', o.order_id, o.status, CASE WHEN o.status = 'new' THEN o.expires_at ELSE o.paid_at END)::text AS broken
FROM checkout_orders o
WHERE o.finished_at IS NULL AND (o.open_deliveries = 0 OR o.given_at IS NULL)
  AND CASE WHEN o.status = 'new' THEN o.expires_at ELSE o.paid_at END + interval '10 minutes' < sqlc.arg('no_later_than')::timestamptz LIMIT 20;

-- name: VerifyGameKeysBelong :many
-- A key is reserved for an order that is not delivered, or given by one that was.
SELECT format('key %s of %s is %s for order %s, which is %s', k.key_id, k.sku, k.state, k.order_id, o.status)::text AS broken
FROM game_keys k JOIN checkout_orders o ON o.order_id = k.order_id
WHERE (k.state = 'reserved' AND (o.status NOT IN ('new', 'paid') OR o.given_at IS NOT NULL))
   OR (k.state = 'given' AND o.status NOT IN ('done', 'canceled') AND o.given_at IS NULL) LIMIT 20;

-- name: VerifyCheckoutDeliveriesAreSettled :many
-- An order counts its open deliveries, has a delivery for each item that the main product gives and for no other, and has none that is not paid; it is done
-- with deliveries that were delivered or whose lines were paid back.
WITH promised AS (
    SELECT o.order_id, o.status, o.paid_at, o.open_deliveries, EXISTS (SELECT FROM jsonb_path_query(o.lines, 'strict $.**.main_product') AS m (told)) AS told FROM checkout_orders o),
had AS (
    SELECT d.order_id, count(*) AS deliveries, count(*) FILTER (WHERE d.status IN ('pending', 'suspected')) AS open,
        count(*) FILTER (WHERE d.status IN ('refused', 'refunded') AND NOT EXISTS (
            SELECT FROM checkout_refunds r CROSS JOIN LATERAL jsonb_array_elements(r.lines) AS l (line) WHERE r.order_id = d.order_id AND l.line ->> 'line_id' = d.line_id)) AS kept
    FROM checkout_deliveries d GROUP BY d.order_id)
SELECT format('order %s (%s): %s deliveries, %s open of %s that it counts, %s neither delivered nor paid back', p.order_id, p.status, COALESCE(h.deliveries, 0), COALESCE(h.open, 0), p.open_deliveries,
              COALESCE(h.kept, 0))::text AS broken
FROM promised p LEFT JOIN had h ON h.order_id = p.order_id
WHERE p.open_deliveries <> COALESCE(h.open, 0) OR (h.deliveries IS NOT NULL) <> (p.told AND p.paid_at IS NOT NULL)
   OR (p.status IN ('done', 'canceled') AND (COALESCE(h.open, 0) > 0 OR COALESCE(h.kept, 0) > 0)) LIMIT 20;

-- name: VerifyCheckoutDeliveriesEndInTime :many
-- A delivery is pending no longer than its calls, their pauses and an inquiry can take, and ten minutes. One that is suspected says why.
SELECT format('delivery %s of order %s is pending since %s, %s calls', d.number, d.order_id, d.round_at, d.calls)::text AS broken
FROM checkout_deliveries d
WHERE d.status = 'pending' AND d.round_at + interval '12 minutes' + interval '1 second' * ((d.ask ->> 'retries')::integer + 1)
    * ((d.ask ->> 'timeout_seconds')::integer + (d.ask ->> 'retry_interval_seconds')::integer + 5) < sqlc.arg('no_later_than')::timestamptz LIMIT 20;

-- name: VerifyTransactionsAreOnce :many
-- The main product's transaction has completed one thing: a purchase of the shop, or a delivery of an order.
SELECT format('transaction %s of project %s completed %s', t.transaction_id, t.project_id, string_agg(t.what, ' and '))::text AS broken
FROM (SELECT o.project_id, o.transaction_id, 'order ' || o.order_id AS what FROM orders o WHERE o.transaction_id IS NOT NULL
      UNION ALL
      SELECT d.project_id, d.transaction_id, format('delivery %s of order %s', d.number, d.order_id) FROM checkout_deliveries d WHERE d.transaction_id IS NOT NULL) AS t
GROUP BY t.project_id, t.transaction_id HAVING count(*) > 1 LIMIT 20;

-- name: VerifyHoldingsEqualEntries :many
-- What a user owns is what its entries sum to, and each entry's balance is the sum so far. Game keys are codes.
WITH entries AS (
    SELECT e.project_id, e.user_id, e.sku, e.entry_id, e.balance, sum(e.delta) OVER (PARTITION BY e.project_id, e.user_id, e.sku ORDER BY e.entry_id) AS so_far,
           row_number() OVER (PARTITION BY e.project_id, e.user_id, e.sku ORDER BY e.entry_id DESC) AS from_last
    FROM inventory_entries e
), keys AS (
    SELECT k.project_id, k.user_id, k.sku, count(*) AS given FROM game_keys k WHERE k.state = 'given' GROUP BY k.project_id, k.user_id, k.sku
)
SELECT format('%s of user %s in project %s: %s', b.sku, b.user_id, b.project_id, b.what)::text AS broken
FROM (
    SELECT COALESCE(i.project_id, e.project_id) AS project_id, COALESCE(i.user_id, e.user_id) AS user_id, COALESCE(i.sku, e.sku) AS sku,
           format('%s owned, the entries sum to %s', COALESCE(i.quantity, 0), COALESCE(e.so_far, 0)) AS what
    FROM inventory i FULL JOIN (SELECT * FROM entries WHERE from_last = 1) e ON e.project_id = i.project_id AND e.user_id = i.user_id AND e.sku = i.sku
    WHERE COALESCE(i.quantity, 0) <> COALESCE(e.so_far, 0)
    UNION ALL
    SELECT e.project_id, e.user_id, e.sku, format('entry %s says %s, the sum is %s', e.entry_id, e.balance, e.so_far) FROM entries e WHERE e.balance <> e.so_far
    UNION ALL
    SELECT i.project_id, i.user_id, i.sku, format('%s keys owned, %s given', i.quantity, COALESCE(k.given, 0))
    FROM inventory i LEFT JOIN keys k ON k.project_id = i.project_id AND k.user_id = i.user_id AND k.sku = i.sku
    WHERE i.kind = 'game_key' AND i.quantity <> COALESCE(k.given, 0)
) b LIMIT 20;

-- name: VerifySubscriptionsEqualEntries :many
-- A subscription is what its ledger adds up to: the running stretch began with its first extension, and ends after what was added to it less what
-- was taken. A revocation leaves nothing.
WITH last AS (
    SELECT DISTINCT ON (e.project_id, e.user_id, e.sku) e.project_id, e.user_id, e.sku, COALESCE(e.entry #>> '{extended,stretch}', '') AS stretch
    FROM subscription_entries e WHERE e.kind <> 'refunded' ORDER BY e.project_id, e.user_id, e.sku, e.entry_id DESC
), stretches AS (
    SELECT e.project_id, e.user_id, e.sku, e.entry #>> '{extended,stretch}' AS stretch,
           min((e.entry #>> '{extended,at}')::timestamptz) FILTER (WHERE e.extension_id = e.entry #>> '{extended,stretch}') AS started_at,
           sum((e.entry #>> '{extended,added_seconds}')::bigint - COALESCE((r.entry #>> '{refunded,taken_seconds}')::bigint, 0)) AS seconds
    FROM subscription_entries e LEFT JOIN subscription_entries r ON r.project_id = e.project_id AND r.extension_id = e.extension_id AND r.kind = 'refunded'
    WHERE e.kind = 'extended' GROUP BY e.project_id, e.user_id, e.sku, e.entry #>> '{extended,stretch}'
)
SELECT format('subscription %s of user %s in project %s: from %s until %s, its entries say from %s until %s', COALESCE(s.sku, l.sku), COALESCE(s.user_id, l.user_id), COALESCE(s.project_id, l.project_id),
              s.started_at, s.expires_at, t.started_at, t.started_at + t.seconds * interval '1 second')::text AS broken
FROM last l FULL JOIN subscriptions s ON s.project_id = l.project_id AND s.user_id = l.user_id AND s.sku = l.sku
LEFT JOIN stretches t ON t.project_id = l.project_id AND t.user_id = l.user_id AND t.sku = l.sku AND t.stretch = l.stretch
LEFT JOIN inventory i ON i.project_id = s.project_id AND i.user_id = s.user_id AND i.sku = s.sku AND i.kind = 'non_renewing_subscription'
WHERE s.stretch IS DISTINCT FROM l.stretch OR s.started_at IS DISTINCT FROM t.started_at OR s.expires_at IS DISTINCT FROM t.started_at + t.seconds * interval '1 second'
   OR (s.expires_at IS NOT NULL AND i.quantity IS DISTINCT FROM 1) OR (s.expires_at IS NULL AND i.quantity > 0)
LIMIT 20;

-- name: VerifySubscriptionEndsWereTold :many
-- Within the bound, and not twice.
(SELECT format('nobody has told user %s in project %s of the end of %s at %s', s.user_id, s.project_id, s.sku, s.expires_at)::text AS broken
 FROM subscriptions s WHERE s.ended_at IS DISTINCT FROM s.expires_at AND s.expires_at < sqlc.arg('no_later_than')::timestamptz LIMIT 10)
UNION ALL
(SELECT format('user %s in project %s was told %s times of the end of %s at %s', n.user_id, n.project_id, count(*), n.detail ->> 'sku', n.detail ->> 'expires_at')
 FROM notifications n WHERE n.kind = 'subscription_expired'
 GROUP BY n.project_id, n.user_id, n.detail ->> 'sku', n.detail ->> 'expires_at' HAVING count(*) > 1 LIMIT 10);

-- name: VerifyReturnsAreOwed :many
-- Whatever was really paid and not kept goes back, once: a payment that was not taken, each refund; never more than the payment.
(SELECT format('payment %s of order %s was not taken, and nobody owes it', p.payment_id, p.order_id)::text AS broken
 FROM checkout_payments p WHERE p.outcome = 'returned' AND NOT p.sandbox
   AND NOT EXISTS (SELECT FROM checkout_returns r WHERE r.payment_id = p.payment_id AND r.refund_id IS NULL AND r.amount = p.amount) LIMIT 10)
UNION ALL
(SELECT format('refund %s of order %s is %s, and nobody owes it', f.refund_id, f.order_id, f.amount)
 FROM checkout_refunds f JOIN checkout_payments p ON p.order_id = f.order_id AND p.outcome = 'accepted'
 WHERE f.amount > 0 AND NOT p.sandbox AND p.provider <> 'wallet'
   AND NOT EXISTS (SELECT FROM checkout_returns r WHERE r.refund_id = f.refund_id AND r.payment_id = p.payment_id AND r.amount = f.amount) LIMIT 10)
UNION ALL
(SELECT format('payment %s of %s: %s goes back', p.payment_id, p.amount, sum(r.amount))
 FROM checkout_returns r JOIN checkout_payments p ON p.payment_id = r.payment_id GROUP BY p.payment_id
 HAVING sum(r.amount) > p.amount OR bool_or(p.sandbox) OR bool_or(p.outcome = 'held') LIMIT 10);

-- name: VerifyWebhooksFollowOrders :many
-- An order's events are numbered from 1 without a gap, and tell of what the order has been.
(SELECT format('order %s has %s webhooks, the last is number %s', d.order_id, count(*), max(d.sequence))::text AS broken
 FROM webhook_deliveries d GROUP BY d.order_id HAVING count(*) <> max(d.sequence) LIMIT 10)
UNION ALL
(SELECT format('webhook %s tells %s of order %s, which is %s', d.delivery_id, d.event, d.order_id, o.status)
 FROM webhook_deliveries d JOIN checkout_orders o ON o.order_id = d.order_id
 WHERE CASE d.event WHEN 'order_paid' THEN o.status NOT IN ('paid', 'done', 'canceled') WHEN 'order_canceled' THEN o.status <> 'canceled'
     WHEN 'order_expired' THEN o.status <> 'expired' WHEN 'order_refunded' THEN o.status NOT IN ('paid', 'done', 'canceled') ELSE o.status NOT IN ('done', 'canceled') END LIMIT 10);

-- name: VerifyWebhooksWereAnswered :many
-- What counts as delivered was answered with 2xx, what counts as refused with a refusal, and each try is written down.
WITH tried AS (
    SELECT a.delivery_id, count(*) AS attempts, bool_or(a.status_code BETWEEN 200 AND 299) AS taken, bool_or(a.status_code BETWEEN 400 AND 499) AS refused
    FROM webhook_attempts a GROUP BY a.delivery_id)
SELECT format('webhook %s is %s after %s attempts, %s are written down', d.delivery_id, d.status, d.attempts, COALESCE(t.attempts, 0))::text AS broken
FROM webhook_deliveries d LEFT JOIN tried t ON t.delivery_id = d.delivery_id
WHERE d.attempts <> COALESCE(t.attempts, 0) OR (d.status = 'delivered' AND t.taken IS NOT TRUE) OR (d.status = 'refused' AND t.refused IS NOT TRUE) LIMIT 20;

-- name: VerifyWebhooksAreTriedInTime :many
-- One that is pending is tried when it is due, within ten minutes, unless an earlier one of its order is pending.
SELECT format('webhook %s of order %s should have been tried at %s', d.delivery_id, d.order_id, d.next_attempt_at)::text AS broken
FROM webhook_deliveries d
WHERE d.status = 'pending' AND d.next_attempt_at + interval '10 minutes' < sqlc.arg('no_later_than')::timestamptz
  AND NOT EXISTS (SELECT FROM webhook_deliveries b WHERE b.order_id = d.order_id AND b.sequence < d.sequence AND b.status = 'pending') LIMIT 20;
