-- +goose Up

-- Where a project's own server is told of its orders. The secrets sign, so they are kept as they are, like those of users' tokens.
CREATE TABLE webhook_endpoints (
    project_id      integer PRIMARY KEY REFERENCES projects,
    url             text NOT NULL CHECK (char_length(url) BETWEEN 1 AND 2048),
    secret          text NOT NULL CHECK (char_length(secret) BETWEEN 16 AND 255),
    previous_secret text,        -- signs too, until then
    previous_until  timestamptz,
    is_enabled      boolean NOT NULL,
    format          smallint NOT NULL CHECK (format IN (1, 2)), -- of bodies; clients of /api/v2 know it as version
    events          text[] NOT NULL CHECK (cardinality(events) > 0),
    version         bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    updated_at      timestamptz NOT NULL,
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);

-- What is to be told, written by the transaction that it tells of. `told < changes` is the outbox of its workflow; the body is frozen.
CREATE TABLE webhook_deliveries (
    delivery_id     text PRIMARY KEY, -- the event's id, too: webhook-id is the same at each try
    project_id      integer NOT NULL,
    order_id        bigint NOT NULL REFERENCES checkout_orders,
    user_id         text NOT NULL,
    sequence        integer NOT NULL CHECK (sequence > 0), -- of the order's; a later one waits for the earlier ones
    event           text NOT NULL CHECK (event IN ('order_paid', 'order_done', 'order_refunded', 'order_canceled', 'order_expired')),
    reference       text NOT NULL, -- the refund, of order_refunded; all others happen once to an order
    body            text NOT NULL, -- text, because every byte is signed
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'refused', 'dead')),
    reason          text,          -- why it is refused or dead
    tries           integer NOT NULL DEFAULT 0 CHECK (tries >= 0), -- since it was written or replayed: where it is in the schedule
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= tries), -- in all
    replays         integer NOT NULL DEFAULT 0 CHECK (replays >= 0),
    next_attempt_at timestamptz NOT NULL,
    in_flight_until timestamptz, -- the try under way is over by then, whatever became of its process
    changes         integer NOT NULL DEFAULT 1,
    told            integer NOT NULL DEFAULT 0 CHECK (told BETWEEN 0 AND changes),
    sweep_at        timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    CONSTRAINT webhook_deliveries_in_sequence UNIQUE (order_id, sequence),
    CONSTRAINT webhook_deliveries_once UNIQUE (order_id, event, reference),
    CONSTRAINT webhook_deliveries_finished CHECK ((finished_at IS NOT NULL) = (status <> 'pending'))
) WITH (fillfactor = 80);
CREATE INDEX webhook_deliveries_of_project ON webhook_deliveries (project_id, delivery_id);
CREATE INDEX webhook_deliveries_by_status ON webhook_deliveries (project_id, status, delivery_id) WHERE status <> 'delivered';
CREATE INDEX webhook_deliveries_in_flight ON webhook_deliveries (project_id, in_flight_until) WHERE in_flight_until IS NOT NULL;
CREATE INDEX webhook_deliveries_to_sweep ON webhook_deliveries (sweep_at) WHERE status = 'pending';

CREATE TABLE webhook_attempts (
    delivery_id text NOT NULL REFERENCES webhook_deliveries,
    attempt     integer NOT NULL CHECK (attempt > 0),
    started_at  timestamptz NOT NULL,
    finished_at timestamptz, -- null: under way, or its process was lost
    duration_ms bigint,
    status_code integer,     -- null: there was no answer
    answer      text,        -- its first bytes
    error       text,
    PRIMARY KEY (delivery_id, attempt)
);

-- +goose Down
DROP TABLE webhook_attempts, webhook_deliveries, webhook_endpoints;
