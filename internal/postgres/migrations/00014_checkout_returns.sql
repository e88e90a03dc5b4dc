-- +goose Up

-- Money that has to go back to who paid it: a payment that could not be taken, or a refund. No money has moved in the sandbox, and coins
-- go back by the ledger; so neither is here.
CREATE TABLE checkout_returns (
    return_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id bigint NOT NULL REFERENCES checkout_payments,
    refund_id  text UNIQUE REFERENCES checkout_refunds, -- null: the payment itself goes back
    amount     numeric NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL,
    reference  text CHECK (char_length(reference) BETWEEN 1 AND 255), -- of the transaction by which the provider gave it back
    given_by   text, -- the admin's key, or the provider
    given_at   timestamptz,
    CONSTRAINT checkout_returns_given CHECK ((reference IS NULL) = (given_at IS NULL) AND (given_by IS NULL) = (given_at IS NULL))
);
CREATE UNIQUE INDEX checkout_returns_of_payment ON checkout_returns (payment_id) WHERE refund_id IS NULL;
CREATE INDEX checkout_returns_due ON checkout_returns (return_id) WHERE given_at IS NULL;

INSERT INTO checkout_returns (payment_id, amount, created_at)
SELECT p.payment_id, p.amount, COALESCE(p.decided_at, p.created_at) FROM checkout_payments p WHERE p.outcome = 'returned' AND NOT p.sandbox ORDER BY p.payment_id;
INSERT INTO checkout_returns (payment_id, refund_id, amount, created_at)
SELECT p.payment_id, r.refund_id, r.amount, r.created_at
FROM checkout_refunds r JOIN checkout_payments p ON p.order_id = r.order_id AND p.outcome = 'accepted'
WHERE r.amount > 0 AND NOT p.sandbox AND p.provider <> 'wallet' ORDER BY r.created_at;

-- Where the user goes on after the payment page; null: nowhere.
ALTER TABLE checkout_orders ADD COLUMN return_url text CHECK (char_length(return_url) BETWEEN 1 AND 1000);

-- +goose Down
ALTER TABLE checkout_orders DROP COLUMN return_url;
DROP TABLE checkout_returns;
