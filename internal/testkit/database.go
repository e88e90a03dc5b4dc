// Package testkit helps tests use the real parts: a PostgreSQL database of their own, a Temporal server.
// `make test` starts both; without them a test fails and says so, it is never skipped.
package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
)

const databaseVariable = "QUICKPASS_TEST_DATABASE_URL"

var databases atomic.Int64

// DatabaseURL makes a migrated database for this test alone, by cloning a template (milliseconds), and
// drops it afterwards.
func DatabaseURL(t testing.TB) string {
	t.Helper()
	admin := required(t, databaseVariable)
	conn, err := pgx.Connect(t.Context(), admin)
	require.NoError(t, err, "connect to the tests' PostgreSQL")
	defer func() { _ = conn.Close(context.Background()) }()

	template := ensureTemplate(t, conn, admin)
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+template+" STRATEGY file_copy")
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, admin)
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
	})
	return withDatabase(t, admin, name)
}

// Database opens a database made by DatabaseURL.
func Database(t testing.TB) *postgres.DB {
	t.Helper()
	return OpenDatabase(t, DatabaseURL(t))
}

// OpenDatabase opens a database until the end of the test.
func OpenDatabase(t testing.TB, databaseURL string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: databaseURL, MaxConnections: 16, StatementTimeout: 30 * time.Second})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// ensureTemplate migrates one template database per state of the migrations; test processes that run at
// the same time wait for the first of them.
func ensureTemplate(t testing.TB, conn *pgx.Conn, admin string) string {
	t.Helper()
	template := "template_" + migrationsHash(t)
	const lock = 7_361_953
	_, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock($1)", lock)
	require.NoError(t, err)
	defer func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_advisory_unlock($1)", lock)
		require.NoError(t, err)
	}()
	var ready bool
	err = conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", template).Scan(&ready)
	require.NoError(t, err)
	if ready {
		return template
	}
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + template, "CREATE DATABASE " + template} {
		_, err = conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	_, err = postgres.Migrate(t.Context(), withDatabase(t, admin, template))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "ALTER DATABASE "+template+" IS_TEMPLATE true")
	require.NoError(t, err)
	return template
}

func migrationsHash(t testing.TB) string {
	t.Helper()
	hash := sha256.New()
	files := postgres.Migrations()
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, path)
		hash.Write(content)
		return err
	})
	require.NoError(t, err)
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

func withDatabase(t testing.TB, databaseURL, name string) string {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	parsed.Path = "/" + name
	return parsed.String()
}

func required(t testing.TB, variable string) string {
	t.Helper()
	value := strings.TrimSpace(os.Getenv(variable))
	require.NotEmpty(t, value, "%s is not set: run the tests with `make test`, which starts the real parts", variable)
	return value
}

// Exec runs a statement that no function of the database offers, such as one that damages it.
func Exec(t testing.TB, db *postgres.DB, statement string) {
	t.Helper()
	require.NoError(t, TryExec(t, db, statement))
}

// TryExec is Exec for a statement that is expected to fail.
func TryExec(t testing.TB, db *postgres.DB, statement string) error {
	t.Helper()
	_, err := db.Pool().Exec(t.Context(), statement)
	return err
}
