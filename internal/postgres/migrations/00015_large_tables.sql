-- +goose Up

-- What is looked for in tables of millions of rows.
CREATE INDEX game_keys_of_user ON game_keys (project_id, user_id, sku) WHERE state = 'given';

-- +goose Down
DROP INDEX game_keys_of_user;
