-- +goose Up

-- The rate limits that all API processes share. Unlogged: after a crash of PostgreSQL every bucket is full again,
-- and that is all that is lost. Only `bucket` is indexed, so that an update stays on its page.
CREATE UNLOGGED TABLE rate_buckets (
    bucket    text PRIMARY KEY,
    tokens    double precision NOT NULL CHECK (tokens >= 0), -- requests that may still be made
    granted   integer NOT NULL CHECK (granted >= 0),         -- by the last statement, to the process that sent it
    filled_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What a bucket holds now, filling at `rate` tokens a second.
CREATE FUNCTION bucket_level(tokens double precision, filled_at timestamptz, rate double precision, burst double precision) RETURNS double precision
    LANGUAGE sql STABLE AS 'SELECT LEAST(burst, tokens + GREATEST(0, EXTRACT(epoch FROM now() - filled_at)::double precision) * rate)';

-- The catalog in the order of the shop.
CREATE INDEX products_in_shop ON products (project_id, product_group, position, sku);

-- Every edit of a product or of its stock tells the API processes to read the catalog again. Purchases never do: they
-- write no product, and of stock neither of the columns that an edit must write because of `stock_adds_up`.
-- +goose StatementBegin
CREATE FUNCTION tell_catalog_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY quickpass_catalog; -- once a transaction, when it commits
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER products_tell_catalog AFTER INSERT OR UPDATE OR DELETE ON products
    FOR EACH STATEMENT EXECUTE FUNCTION tell_catalog_changed();
CREATE TRIGGER stock_tell_catalog AFTER UPDATE OF initial, restocked ON stock
    FOR EACH STATEMENT EXECUTE FUNCTION tell_catalog_changed();

-- +goose Down
DROP TRIGGER stock_tell_catalog ON stock;
DROP TRIGGER products_tell_catalog ON products;
DROP FUNCTION tell_catalog_changed();
DROP INDEX products_in_shop;
DROP FUNCTION bucket_level(double precision, timestamptz, double precision, double precision);
DROP TABLE rate_buckets;
