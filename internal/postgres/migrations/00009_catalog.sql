-- +goose Up

-- What a project sells to its own users (seeds 002, 004): settings, and who may call for it. Instants of calendar periods are
-- reckoned in the project's zone.
ALTER TABLE projects
    ADD COLUMN jwt_secret       text,                          -- HS256 of its users' tokens; null: none are taken
    ADD COLUMN jwks_url         text,                          -- or the keys of whoever issues them
    ADD COLUMN default_locale   text NOT NULL DEFAULT 'en',
    ADD COLUMN default_currency text NOT NULL DEFAULT 'USD',
    ADD COLUMN time_zone        text NOT NULL DEFAULT 'UTC',
    ADD COLUMN sandbox          boolean NOT NULL DEFAULT true, -- orders may be paid with test cards
    ADD COLUMN order_seconds    integer NOT NULL DEFAULT 86400 CHECK (order_seconds BETWEEN 60 AND 2592000), -- until an unpaid order expires
    ADD COLUMN cart_seconds     integer NOT NULL DEFAULT 2592000 CHECK (cart_seconds BETWEEN 60 AND 31536000), -- until an abandoned cart does
    ADD COLUMN reminder_seconds integer NOT NULL DEFAULT 86400 CHECK (reminder_seconds BETWEEN 0 AND 31536000); -- before a subscription ends; 0: none

-- A server calls with Basic project_id:api_key; the key is one of this role.
ALTER TABLE api_keys
    DROP CONSTRAINT api_keys_role_check,
    ADD CONSTRAINT api_keys_role_check CHECK (role IN ('storefront', 'main_product', 'distributor', 'admin', 'support', 'server'));

CREATE TABLE catalog_items (
    item_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL REFERENCES projects,
    sku        text NOT NULL CHECK (char_length(sku) BETWEEN 1 AND 255),
    version    bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    type       text NOT NULL CHECK (type IN ('virtual_good', 'virtual_currency', 'bundle', 'unit', 'game_key')),
    status     text NOT NULL CHECK (status IN ('draft', 'published')),
    definition jsonb NOT NULL, -- catalog.Item
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (project_id, sku)
);

CREATE TABLE catalog_groups (
    project_id  integer NOT NULL REFERENCES projects,
    external_id text NOT NULL,
    definition  jsonb NOT NULL, -- catalog.Group
    PRIMARY KEY (project_id, external_id)
);

-- Grows with each edit of an item or group of the project: who keeps the catalog in memory compares it.
CREATE TABLE catalog_revisions (
    project_id integer PRIMARY KEY REFERENCES projects,
    revision   bigint NOT NULL
);

-- How many of an item were sold, of those that have a limit for all users. Orders reserve, payment makes it a sale.
CREATE TABLE item_sales (
    project_id integer NOT NULL,
    sku        text NOT NULL,
    total      bigint NOT NULL CHECK (total >= 0), -- as the item says now
    reserved   bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    sold       bigint NOT NULL DEFAULT 0 CHECK (sold >= 0),
    PRIMARY KEY (project_id, sku)
) WITH (fillfactor = 50);

-- How many of an item, or how often a promotion, one user has taken in the running period, of those that have a limit for
-- each user. What open orders hold counts.
CREATE TABLE item_usages (
    project_id   integer NOT NULL,
    user_id      text NOT NULL REFERENCES users,
    sku          text NOT NULL,
    promotion    text NOT NULL DEFAULT '', -- '': the item itself
    period_start timestamptz NOT NULL,     -- '-infinity': for good
    used         bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (project_id, user_id, sku, promotion, period_start)
) WITH (fillfactor = 80);

-- Keys of games: one code goes to one user, once.
CREATE TABLE game_keys (
    key_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL,
    sku        text NOT NULL,
    code       text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 255),
    state      text NOT NULL DEFAULT 'free' CHECK (state IN ('free', 'reserved', 'given', 'revoked')),
    order_id   bigint,
    user_id    text,
    updated_at timestamptz NOT NULL,
    UNIQUE (project_id, sku, code),
    CONSTRAINT game_keys_of_somebody CHECK ((state = 'free') = (order_id IS NULL AND user_id IS NULL))
);
CREATE INDEX game_keys_free ON game_keys (project_id, sku, key_id) WHERE state = 'free';
CREATE INDEX game_keys_of_order ON game_keys (order_id) WHERE order_id IS NOT NULL;

-- +goose Down
DROP TABLE game_keys, item_usages, item_sales, catalog_revisions, catalog_groups, catalog_items;
DELETE FROM api_keys WHERE role = 'server';
ALTER TABLE api_keys
    DROP CONSTRAINT api_keys_role_check,
    ADD CONSTRAINT api_keys_role_check CHECK (role IN ('storefront', 'main_product', 'distributor', 'admin', 'support'));
ALTER TABLE projects DROP COLUMN jwt_secret, DROP COLUMN jwks_url, DROP COLUMN default_locale, DROP COLUMN default_currency, DROP COLUMN time_zone,
    DROP COLUMN sandbox, DROP COLUMN order_seconds, DROP COLUMN cart_seconds, DROP COLUMN reminder_seconds;
