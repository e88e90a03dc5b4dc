package devstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// The password guards nothing: only this machine can reach the server.
const (
	postgresUser     = "quickpass"
	postgresPassword = "quickpass"
	postgresDatabase = "quickpass"

	postgresPortSetting = "QUICKPASS_DEV_POSTGRES_PORT"
)

// PostgresOptions say how to start PostgreSQL.
type PostgresOptions struct {
	Dir       string            // for the data and the log; empty: a new temporary one
	Port      int               // 0: a free one
	LogFile   string            // postgres.log in Dir when empty
	Ephemeral bool              // for tests: nothing is flushed to disk, and Stop removes the data
	Settings  map[string]string // server settings, such as "shared_buffers": "2GB"
	Progress  func(string)      // told about the steps that take a while; may be nil
}

// Postgres is a running PostgreSQL server. It listens on 127.0.0.1 only and asks for a password (SCRAM).
type Postgres struct {
	process *Process
	home    home
	port    int
	remove  []string // by Stop
}

// StartPostgres starts a server in opts.Dir, installing PostgreSQL and creating the database cluster when they are
// missing. A server that an earlier run left in the same directory is stopped first. Run as root, the server gets a
// user without rights, as PostgreSQL demands.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	var remove []string
	if opts.Dir == "" {
		dir, err := os.MkdirTemp("", "quickpass-postgres-")
		if err != nil {
			return nil, fmt.Errorf("make directory for PostgreSQL: %w", err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's own user has to enter it
			return nil, fmt.Errorf("make directory for PostgreSQL: %w", err)
		}
		opts.Dir = dir
		remove = append(remove, dir)
	}
	home, err := prepareHome(opts)
	if err != nil {
		return nil, err
	}
	if opts.Ephemeral {
		remove = append(remove, home.data)
	}
	pg := &Postgres{home: home, remove: remove}
	if err := pg.start(ctx, opts); err != nil {
		if opts.Ephemeral {
			err = errors.Join(err, pg.removeData())
		}
		return nil, err
	}
	return pg, nil
}

func (pg *Postgres) start(ctx context.Context, opts PostgresOptions) error {
	programs, err := findPostgres(ctx, pg.home.data, opts.Progress)
	if err != nil {
		return err
	}
	if err := pg.home.stopLeftOver(ctx); err != nil {
		return err
	}
	if pg.port, err = choosePort(opts.Port, postgresPortSetting); err != nil {
		return err
	}
	if err := pg.home.initialize(ctx, programs, opts.Ephemeral, opts.Progress); err != nil {
		return err
	}
	logFile := opts.LogFile
	if logFile == "" {
		logFile = filepath.Join(opts.Dir, "postgres.log")
	}
	pg.process, err = StartProcess(ctx, ProcessOptions{
		Name:       "PostgreSQL",
		Path:       filepath.Join(programs, "postgres"),
		Args:       pg.arguments(opts),
		Dir:        pg.home.data,
		LogFile:    logFile,
		Ready:      pg.answers,
		StopSignal: syscall.SIGINT, // "fast": sessions are ended, what is committed is written
		// "Immediate": the server's own processes end too, and the next start recovers from the log.
		OrphanSignal: syscall.SIGQUIT,
		Credential:   pg.home.credential,
	})
	if err != nil {
		return err
	}
	if err := pg.createDatabase(ctx); err != nil {
		return errors.Join(err, pg.process.Stop(ctx))
	}
	return nil
}

func (pg *Postgres) arguments(opts PostgresOptions) []string {
	settings := map[string]string{
		"listen_addresses":        loopback,
		"port":                    strconv.Itoa(pg.port),
		"unix_socket_directories": "", // the shortest path that every machine has does not exist; TCP does
		// Temporal's four services keep up to 160 connections.
		"max_connections": "300",
		"shared_buffers":  "256MB",
	}
	if opts.Ephemeral {
		// Commits still reach the system before they are answered: killing the server loses nothing, only a power
		// failure would. synchronous_commit=off would break that.
		settings["fsync"] = "off"
	}
	maps.Copy(settings, opts.Settings)
	args := []string{"-D", pg.home.data}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// answers returns nil when the server takes connections.
func (pg *Postgres) answers(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, pg.AdminURL())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// createDatabase is done at every start: an earlier one may have been killed before it came to this.
func (pg *Postgres) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, pg.AdminURL())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	query := "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	if err := conn.QueryRow(ctx, query, postgresDatabase).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", postgresDatabase, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{postgresDatabase}.Sanitize()); err != nil {
		return fmt.Errorf("create database %s: %w", postgresDatabase, err)
	}
	return nil
}

// URL leads to the database "quickpass", as a user who may do everything.
func (pg *Postgres) URL() string { return pg.url(postgresDatabase) }

// AdminURL leads to the database "postgres", from which others can be created.
func (pg *Postgres) AdminURL() string { return pg.url("postgres") }

func (pg *Postgres) url(database string) string {
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, postgresPassword),
		Host: hostPort(pg.port), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return address.String()
}

// Port is the TCP port on 127.0.0.1.
func (pg *Postgres) Port() int { return pg.port }

// PID is the process id of the postmaster.
func (pg *Postgres) PID() int { return pg.process.PID() }

// DataDir is where the server keeps its data.
func (pg *Postgres) DataDir() string { return pg.home.data }

// Done is closed when the server has ended. After Restart there is a new channel.
func (pg *Postgres) Done() <-chan struct{} { return pg.process.Done() }

// Stop shuts the server down; an ephemeral one is removed with its data.
func (pg *Postgres) Stop(ctx context.Context) error {
	return errors.Join(pg.process.Stop(ctx), pg.removeData())
}

// Kill ends all processes of the server with SIGKILL, as a crash would, and waits for their end.
func (pg *Postgres) Kill() error {
	// The postmaster first, or it would notice the others and start to recover. They are not in its process group.
	if err := pg.process.Kill(); err != nil {
		return err
	}
	return terminate(context.Background(), syscall.SIGKILL, pg.home.processes)
}

// Restart starts the server again on the same data and port, after a fast shutdown when it still runs.
func (pg *Postgres) Restart(ctx context.Context) error {
	if err := pg.process.Stop(ctx); err != nil {
		return err
	}
	if err := pg.home.stopLeftOver(ctx); err != nil {
		return err
	}
	return pg.process.start(ctx)
}

func (pg *Postgres) removeData() error {
	var failed []error
	for _, dir := range pg.remove {
		failed = append(failed, os.RemoveAll(dir))
	}
	return errors.Join(failed...)
}
