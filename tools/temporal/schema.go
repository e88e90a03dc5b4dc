package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	postgresplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
	postgresschema "go.temporal.io/server/schema/postgresql/v12"
	"go.temporal.io/server/tools/common/schema"
	sqltool "go.temporal.io/server/tools/sql"
)

const (
	// databaseWait bounds the wait for a PostgreSQL that is itself just starting.
	databaseWait  = 30 * time.Second
	retryInterval = 200 * time.Millisecond
)

// store is where PostgreSQL is and how to sign in.
type store struct {
	url            *url.URL
	address        string
	user, password string
	attributes     map[string]string
}

func parseStore(rawURL string) (store, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil || parsed.Hostname() == "" || parsed.User.Username() == "" {
		// The URL holds a password, so it is not repeated.
		return store{}, errors.New("-postgres-url must look like postgres://user:password@host:port/database")
	}
	port := parsed.Port()
	if port == "" {
		port = "5432"
	}
	password, _ := parsed.User.Password()
	attributes := map[string]string{}
	if mode := parsed.Query().Get("sslmode"); mode != "" {
		attributes["sslmode"] = mode
	}
	return store{
		url: parsed, address: net.JoinHostPort(parsed.Hostname(), port),
		user: parsed.User.Username(), password: password, attributes: attributes,
	}, nil
}

// sql is the server's own form of the same, for one database. The pgx plugin needs half the transactions of the
// older one, which prepares every statement anew.
func (s store) sql(database string) *config.SQL {
	return &config.SQL{
		PluginName:        postgresplugin.PluginNamePGX,
		DatabaseName:      database,
		ConnectAddr:       s.address,
		ConnectProtocol:   "tcp",
		User:              s.user,
		Password:          s.password,
		ConnectAttributes: s.attributes,
		MaxConns:          20,
		MaxIdleConns:      20,
		MaxConnLifetime:   time.Hour,
	}
}

// setUpSchemas creates the two databases and brings them to this server's version. What is done already is only read.
func setUpSchemas(ctx context.Context, s store, database, visibilityDatabase string) error {
	if err := createDatabases(ctx, s, database, visibilityDatabase); err != nil {
		return err
	}
	if err := setUpSchema(s.sql(database), "postgresql/v12/temporal", postgresschema.Version); err != nil {
		return err
	}
	return setUpSchema(s.sql(visibilityDatabase), "postgresql/v12/visibility", postgresschema.VisibilityVersion)
}

func createDatabases(ctx context.Context, s store, names ...string) error {
	conn, err := connect(ctx, s.url.String())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, name := range names {
		var exists bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
		if err != nil {
			return fmt.Errorf("look for database %q: %w", name, err)
		}
		if exists {
			continue
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
			return fmt.Errorf("create database %q: %w", name, err)
		}
	}
	return nil
}

// connect waits for a server that refuses connections or is still starting; other errors are final.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseWait)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn, nil
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != "57P03" { // 57P03: cannot_connect_now
			return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
		case <-time.After(retryInterval):
		}
	}
}

// setUpSchema does what temporal-sql-tool's setup-schema and update-schema do, without a second program.
func setUpSchema(cfg *config.SQL, name, version string) error {
	logger := log.NewNoopLogger()
	conn, err := sqltool.NewConnection(cfg, logger)
	if err != nil {
		return fmt.Errorf("connect to database %q: %w", cfg.DatabaseName, err)
	}
	defer conn.Close()
	current, err := conn.ReadSchemaVersion()
	if err == nil && current == version {
		return nil
	}
	if err != nil { // no version table: a new database, or a start that was killed in its first moment
		setUp := schema.NewSetupSchemaTask(conn, &schema.SetupConfig{InitialVersion: "0.0"}, logger)
		if err := setUp.Run(); err != nil {
			return fmt.Errorf("set up schema of database %q: %w", cfg.DatabaseName, err)
		}
	}
	update := schema.NewUpdateSchemaTask(conn, &schema.UpdateConfig{DBName: cfg.DatabaseName, SchemaName: name}, logger)
	if err := update.Run(); err != nil {
		return fmt.Errorf("update schema of database %q from %q to %s: %w", cfg.DatabaseName, current, version, err)
	}
	return nil
}
