-- name: TakeTokens :one
-- Fills the bucket for the time that has passed and takes what is wanted, or what there is. A new bucket is full.
-- Of two callers at once the later may have the earlier clock: time then stands still for it.
INSERT INTO rate_buckets AS b (bucket, tokens, granted, filled_at)
VALUES (@bucket, sqlc.arg(burst)::float8 - sqlc.arg(want)::integer, @want, now())
ON CONFLICT (bucket) DO UPDATE SET
    tokens = bucket_level(b.tokens, b.filled_at, @rate::float8, @burst) - LEAST(@want, floor(bucket_level(b.tokens, b.filled_at, @rate, @burst))::integer),
    granted = LEAST(@want, floor(bucket_level(b.tokens, b.filled_at, @rate, @burst))::integer),
    filled_at = GREATEST(now(), b.filled_at)
RETURNING b.granted, b.tokens;

-- name: ForgetIdleBuckets :exec
-- Whoever asks again finds a full bucket, which it is by now.
DELETE FROM rate_buckets b WHERE b.filled_at < now() - interval '10 minutes';
