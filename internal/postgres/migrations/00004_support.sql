-- +goose Up

-- Support (seed 000, "Technical Support"): coins of a completed order may go back, never more than were paid.
ALTER TABLE orders
    ADD COLUMN refunded_coins bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT orders_refunded_at_most_paid CHECK (refunded_coins BETWEEN 0 AND price_coins),
    ADD CONSTRAINT orders_refunded_all CHECK ((status = 'refunded') = (refunded_coins = price_coins)),
    ADD CONSTRAINT orders_refunded_once_completed CHECK (refunded_coins = 0 OR status IN ('completed', 'refunded'));

ALTER TABLE ledger_transfers
    DROP CONSTRAINT ledger_transfers_kind_check,
    ADD CONSTRAINT ledger_transfers_kind_check CHECK (kind IN ('reserve', 'capture', 'release', 'adjustment', 'refund'));
-- For a user's history. Transfers of orders are found by the order; an index on them would cost each purchase.
CREATE INDEX ledger_transfers_by_hand ON ledger_transfers (user_id, transfer_id) WHERE kind = 'adjustment';

-- Each refund names its transfer: the id is the ledger's reference.
CREATE TABLE order_refunds (
    refund_id    text PRIMARY KEY,
    project_id   integer NOT NULL,
    order_id     text NOT NULL REFERENCES orders,
    amount_coins bigint NOT NULL CHECK (amount_coins > 0),
    reason       text NOT NULL,
    actor        text NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX order_refunds_of_order ON order_refunds (order_id, refund_id);
CREATE TRIGGER order_refunds_append_only BEFORE UPDATE OR DELETE ON order_refunds
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Acts above the limit wait here for a second admin, who is never the one who asked.
CREATE TABLE approvals (
    approval_id     text PRIMARY KEY,
    project_id      integer NOT NULL,
    action          text NOT NULL CHECK (action IN ('wallet.adjust', 'order.refund', 'order.mark_delivered')),
    subject         text NOT NULL,
    amount_coins    bigint NOT NULL,
    transaction_id  text, -- to mark as delivered with
    reason          text NOT NULL,
    requested_by    text NOT NULL,
    requested_at    timestamptz NOT NULL,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'rejected')),
    decided_by      text,
    decided_at      timestamptz,
    decision_reason text,
    CONSTRAINT approvals_decided CHECK ((status = 'pending') = (decided_by IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL)),
    CONSTRAINT approvals_by_another CHECK (status <> 'approved' OR decided_by <> requested_by)
);
CREATE INDEX approvals_of_project ON approvals (project_id, approval_id);

CREATE TABLE disputes (
    dispute_id text PRIMARY KEY,
    project_id integer NOT NULL,
    order_id   text NOT NULL REFERENCES orders,
    user_id    text NOT NULL,
    state      text NOT NULL CHECK (state IN ('open', 'in_review', 'resolved', 'rejected')),
    opened_by  text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX disputes_of_project ON disputes (project_id, dispute_id);
CREATE INDEX disputes_of_order ON disputes (order_id, dispute_id);
CREATE INDEX disputes_of_user ON disputes (user_id, dispute_id);

-- What was said about a dispute, and each change of its state.
CREATE TABLE dispute_notes (
    note_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dispute_id text NOT NULL REFERENCES disputes,
    author     text NOT NULL,
    state      text CHECK (state IN ('open', 'in_review', 'resolved', 'rejected')), -- the new one; null: no change
    note       text,
    at         timestamptz NOT NULL,
    CHECK (state IS NOT NULL OR note IS NOT NULL)
);
CREATE INDEX dispute_notes_of_dispute ON dispute_notes (dispute_id, note_id);
CREATE TRIGGER dispute_notes_append_only BEFORE UPDATE OR DELETE ON dispute_notes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The rule that blocks for risk counts from here on after support has unblocked an account.
ALTER TABLE users ADD COLUMN risk_cleared_at timestamptz;
CREATE INDEX orders_risky ON orders (created_at) WHERE risk IS NOT NULL;

-- The audit log as a chain: each row's hash covers the hash before it, so that no row can be changed,
-- removed or slipped in later without a break. The head is kept apart, so that the end can't be cut off either.
-- +goose StatementBegin
CREATE FUNCTION audit_hash(previous bytea, audit_id bigint, project_id integer, actor text, action text, subject text, detail jsonb, at timestamptz)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(previous || convert_to(jsonb_build_array(audit_id, project_id, actor, action, subject, detail,
        to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text, 'UTF8'))
$$;
-- +goose StatementEnd

CREATE TABLE audit_head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    audit_id bigint NOT NULL,
    hash     bytea NOT NULL
);
INSERT INTO audit_head (audit_id, hash) VALUES (0, '');

ALTER TABLE audit_log ADD COLUMN hash bytea;
ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only;
-- +goose StatementBegin
DO $$
DECLARE
    entry audit_log;
    head  audit_head;
BEGIN
    SELECT * INTO head FROM audit_head;
    FOR entry IN SELECT * FROM audit_log ORDER BY audit_id LOOP
        head.audit_id := entry.audit_id;
        head.hash := audit_hash(head.hash, entry.audit_id, entry.project_id, entry.actor, entry.action, entry.subject, entry.detail, entry.at);
        UPDATE audit_log SET hash = head.hash WHERE audit_id = entry.audit_id;
    END LOOP;
    UPDATE audit_head SET audit_id = head.audit_id, hash = head.hash;
END $$;
-- +goose StatementEnd
ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only;
ALTER TABLE audit_log ALTER COLUMN hash SET NOT NULL;

-- The lock is held until the transaction ends, so the chain has the order of the commits. The id is given under
-- it, so that ids have no gaps and grow with the chain.
-- +goose StatementBegin
CREATE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head audit_head;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('quickpass.audit_log'));
    SELECT * INTO STRICT head FROM audit_head;
    NEW.audit_id := head.audit_id + 1;
    NEW.hash := audit_hash(head.hash, NEW.audit_id, NEW.project_id, NEW.actor, NEW.action, NEW.subject, NEW.detail, NEW.at);
    UPDATE audit_head SET audit_id = NEW.audit_id, hash = NEW.hash;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_log_chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION chain_audit();
CREATE TRIGGER audit_log_kept BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX audit_log_of_subject ON audit_log (project_id, subject, audit_id);
CREATE INDEX audit_log_of_actor ON audit_log (project_id, actor, audit_id);

-- +goose Down
DROP INDEX audit_log_of_subject, audit_log_of_actor;
DROP TRIGGER audit_log_kept ON audit_log;
DROP TRIGGER audit_log_chained ON audit_log;
DROP FUNCTION chain_audit();
SELECT setval(pg_get_serial_sequence('audit_log', 'audit_id'), audit_id + 1, false) FROM audit_head;
ALTER TABLE audit_log DROP COLUMN hash;
DROP TABLE audit_head;
DROP FUNCTION audit_hash(bytea, bigint, integer, text, text, text, jsonb, timestamptz);
DROP INDEX orders_risky;
ALTER TABLE users DROP COLUMN risk_cleared_at;
DROP TABLE dispute_notes, disputes, approvals, order_refunds;
DROP INDEX ledger_transfers_by_hand;
ALTER TABLE ledger_transfers
    DROP CONSTRAINT ledger_transfers_kind_check,
    ADD CONSTRAINT ledger_transfers_kind_check CHECK (kind IN ('reserve', 'capture', 'release', 'adjustment'));
ALTER TABLE orders DROP COLUMN refunded_coins;
