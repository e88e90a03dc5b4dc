package devstack_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/devstack"
)

const testTimeout = 2 * time.Minute

func startPostgres(t *testing.T, opts devstack.PostgresOptions) *devstack.Postgres {
	t.Helper()
	opts.Ephemeral = true
	pg, err := devstack.StartPostgres(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(stopContext(t)); err != nil {
			t.Error(err)
		}
	})
	return pg
}

// stopContext lives on in Cleanup, where t.Context has ended.
func stopContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresKeepsDataOverKillAndRestart(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"work_mem": "5MB"}})
	if got := query(t, pg.URL(), "SHOW work_mem"); got != "5MB" {
		t.Errorf("work_mem = %s, want the setting given", got)
	}
	execute(t, pg.URL(), "CREATE TABLE kept AS SELECT 'yes' AS answer")
	url, pid := pg.URL(), pg.PID()

	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	<-pg.Done()
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pg.URL() != url || pg.PID() == pid {
		t.Errorf("after a kill: URL %s and pid %d, want the same URL %s and another pid", pg.URL(), pg.PID(), url)
	}
	if got := query(t, url, "SELECT answer FROM kept"); got != "yes" {
		t.Errorf("kept = %s", got)
	}
	if err := pg.Restart(t.Context()); err != nil { // this time of a running server
		t.Fatal(err)
	}
	if got := query(t, url, "SELECT answer FROM kept"); got != "yes" {
		t.Errorf("kept = %s", got)
	}
}

func TestPostgresWantsPassword(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, devstack.PostgresOptions{})
	conn, err := pgx.Connect(t.Context(), strings.Replace(pg.URL(), ":quickpass@", ":wrong@", 1))
	if err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}
	if got := query(t, pg.AdminURL(), "SHOW listen_addresses"); got != "127.0.0.1" {
		t.Errorf("listens on %s", got)
	}
}

func TestPostgresStopsServerLeftInSameDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	second := startPostgres(t, devstack.PostgresOptions{Dir: dir, Port: first.Port()})
	<-first.Done()
	query(t, second.URL(), "SELECT 'alive'")
}

func TestPostgresStartsDespiteStaleLockFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pg := startPostgres(t, devstack.PostgresOptions{Dir: dir})
	lock := filepath.Join(pg.DataDir(), "postmaster.pid")
	content, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	// The process id of the lock belongs to somebody else by now: to this test.
	_, rest, _ := strings.Cut(string(content), "\n")
	if err := os.WriteFile(lock, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, pg.URL(), "SELECT 'alive'")
}

func TestTakenPortNamesSetting(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, devstack.PostgresOptions{})
	_, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{
		Dir: t.TempDir(), Port: pg.Port(), Ephemeral: true,
	})
	if err == nil || !strings.Contains(err.Error(), "QUICKPASS_DEV_POSTGRES_PORT") {
		t.Errorf("err = %v, want one that names the setting", err)
	}
}

func TestTemporalKillAndRestart(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, devstack.PostgresOptions{})
	temporal, err := devstack.StartTemporal(t.Context(), devstack.TemporalOptions{
		PostgresURL: pg.AdminURL(), UIPort: devstack.NoUI, Dir: t.TempDir(), DatabasePrefix: "other_",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := temporal.Stop(stopContext(t)); err != nil {
			t.Error(err)
		}
	})
	address := temporal.Address()
	if err := temporal.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := temporal.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if temporal.Address() != address || temporal.UIURL() != "" {
		t.Errorf("address %s, UI %q after restart, want %s and no UI", temporal.Address(), temporal.UIURL(), address)
	}
}

func TestProcess(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, script string) (*devstack.Process, error) {
		return devstack.StartProcess(t.Context(), devstack.ProcessOptions{
			Name: "script", Path: shell, Args: []string{"-c", script}, ReadyLine: "ready",
			LogFile: filepath.Join(t.TempDir(), "log"), StopTimeout: 200 * time.Millisecond,
		})
	}
	t.Run("stops", func(t *testing.T) {
		process, err := start(t, "echo ready; exec sleep 100")
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("is killed with its children when it does not stop", func(t *testing.T) {
		process, err := start(t, "trap '' TERM; sleep 100 & echo ready; while :; do wait; done")
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Stop(t.Context()); err == nil {
			t.Error("no error for a process that had to be killed")
		}
		if err := syscall.Kill(-process.PID(), 0); !errors.Is(err, syscall.ESRCH) {
			// The child is a zombie until init takes it; a living one would be found with a state.
			t.Logf("the group is not empty yet: %v", err)
		}
	})
	t.Run("shows its log when it fails", func(t *testing.T) {
		_, err := start(t, "echo the reason >&2; exit 3")
		if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("err = %v, want the reason and the status", err)
		}
	})
}
