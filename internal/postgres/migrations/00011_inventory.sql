-- +goose Up

-- What users own of a project's items, with the item as it was when it was last given. Subscriptions are here too, with a quantity of 1,
-- and their time is in `subscriptions`.
CREATE TABLE inventory (
    project_id integer NOT NULL,
    user_id    text NOT NULL REFERENCES users,
    sku        text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('consumable', 'non_consumable', 'non_renewing_subscription', 'virtual_currency', 'game_key')),
    quantity   bigint NOT NULL CHECK (quantity >= 0),
    grant_id   text,           -- of an owned non-consumable: the entry's reference that gave it
    snapshot   jsonb NOT NULL, -- catalog.Item
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, user_id, sku),
    CONSTRAINT inventory_once CHECK (kind NOT IN ('non_consumable', 'non_renewing_subscription') OR quantity <= 1)
) WITH (fillfactor = 80);

-- Every change of it, append-only. A grant of an order or of a server's call is given once, by its id.
CREATE TABLE inventory_entries (
    entry_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL,
    user_id    text NOT NULL,
    sku        text NOT NULL,
    action     text NOT NULL CHECK (action IN ('grant', 'consume', 'set', 'revoke', 'refund')),
    delta      bigint NOT NULL,
    balance    bigint NOT NULL CHECK (balance >= 0),
    source     text NOT NULL, -- order, reward, purchase, server, user
    reference  text NOT NULL, -- what the operation belongs to, a slash, and the grant's id
    comment    text NOT NULL DEFAULT '',
    at         timestamptz NOT NULL
);
CREATE UNIQUE INDEX inventory_entries_once ON inventory_entries (project_id, reference, action);
CREATE INDEX inventory_entries_of_user ON inventory_entries (project_id, user_id, entry_id);
CREATE TRIGGER inventory_entries_append_only BEFORE UPDATE OR DELETE ON inventory_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What the server told of purchases that were made outside: each gives its items once.
CREATE TABLE inventory_purchases (
    project_id           integer NOT NULL,
    external_purchase_id text NOT NULL,
    user_id              text NOT NULL,
    request_hash         bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    amount               numeric NOT NULL CHECK (amount >= 0),
    currency             text NOT NULL,
    purchased_at         timestamptz NOT NULL,
    custom_parameters    jsonb,
    answer               jsonb, -- inventory.AnsweredOperation; null only while the transaction that makes it runs
    at                   timestamptz NOT NULL,
    PRIMARY KEY (project_id, external_purchase_id)
);

-- Answers of calls with an Idempotency-Key, which a repeat is told.
CREATE TABLE inventory_calls (
    project_id integer NOT NULL,
    call_id    text NOT NULL,
    answer     jsonb NOT NULL, -- inventory.Answer
    at         timestamptz NOT NULL,
    PRIMARY KEY (project_id, call_id)
);

-- Until when a user has a subscription: the row that every entitlement check reads. Decided by the clock, never by a timer.
-- `told < changes` is the outbox of its workflow.
CREATE TABLE subscriptions (
    project_id  integer NOT NULL,
    user_id     text NOT NULL,
    sku         text NOT NULL,
    stretch     text NOT NULL, -- the extension that began the unbroken time; '': revoked
    started_at  timestamptz,      -- of the running stretch; null: revoked
    expires_at  timestamptz,
    changes     integer NOT NULL DEFAULT 1,
    told        integer NOT NULL DEFAULT 0 CHECK (told BETWEEN 0 AND changes),
    sweep_at    timestamptz NOT NULL,
    reminded_at timestamptz, -- the expiry of which the user was reminded
    ended_at    timestamptz, -- the expiry of whose passing the user was told
    PRIMARY KEY (project_id, user_id, sku),
    CONSTRAINT subscriptions_time CHECK ((started_at IS NULL) = (expires_at IS NULL) AND (started_at IS NULL) = (stretch = '') AND expires_at >= started_at)
) WITH (fillfactor = 70);
CREATE INDEX subscriptions_to_sweep ON subscriptions (sweep_at) WHERE told < changes;
CREATE INDEX subscriptions_due ON subscriptions (expires_at) WHERE ended_at IS DISTINCT FROM expires_at;

-- The ledger that it is the fold of (subscriptions.Entry), append-only.
CREATE TABLE subscription_entries (
    entry_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   integer NOT NULL,
    user_id      text NOT NULL,
    sku          text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('extended', 'refunded', 'revoked')),
    extension_id text, -- the grant's id; of a refund, the one that is taken back
    entry        jsonb NOT NULL,
    at           timestamptz NOT NULL,
    CONSTRAINT subscription_entries_extension CHECK ((kind = 'revoked') = (extension_id IS NULL))
);
CREATE UNIQUE INDEX subscription_entries_once ON subscription_entries (project_id, extension_id, kind) WHERE extension_id IS NOT NULL;
CREATE INDEX subscription_entries_of ON subscription_entries (project_id, user_id, sku, entry_id);
CREATE TRIGGER subscription_entries_append_only BEFORE UPDATE OR DELETE ON subscription_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Items of the catalog may be a part of a task's reward.
ALTER TABLE task_rewards
    ADD COLUMN items jsonb, -- tasks.ItemReward
    DROP CONSTRAINT task_rewards_kind_check,
    ADD CONSTRAINT task_rewards_kind_check CHECK (kind IN ('coins', 'main_product', 'items')),
    DROP CONSTRAINT task_rewards_what,
    ADD CONSTRAINT task_rewards_what CHECK ((kind = 'coins') = (coins IS NOT NULL) AND (kind = 'items') = (items IS NOT NULL)
        AND (kind = 'main_product') = (reward_type IS NOT NULL AND amount IS NOT NULL));

-- +goose Down
DELETE FROM task_rewards WHERE kind = 'items';
ALTER TABLE task_rewards
    DROP CONSTRAINT task_rewards_kind_check,
    ADD CONSTRAINT task_rewards_kind_check CHECK (kind IN ('coins', 'main_product')),
    DROP CONSTRAINT task_rewards_what,
    ADD CONSTRAINT task_rewards_what CHECK ((kind = 'coins') = (coins IS NOT NULL) AND (kind = 'main_product') = (reward_type IS NOT NULL AND amount IS NOT NULL)),
    DROP COLUMN items;
DROP TABLE subscription_entries, subscriptions, inventory_calls, inventory_purchases, inventory_entries, inventory;
