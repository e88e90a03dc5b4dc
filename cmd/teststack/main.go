// Command teststack runs a command beside a throw-away PostgreSQL and Temporal:
//
//	teststack -- go test ./...
//
// The command finds them through its environment: QUICKPASS_TEST_DATABASE_URL (a superuser's connection to the database
// "postgres"), QUICKPASS_TEST_TEMPORAL_ADDRESS, QUICKPASS_TEST_TEMPORAL_BINARY, and QUICKPASS_TEST_BIN, the directory of
// the built programs. Teststack ends with the command's exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quickpass/quickpass/internal/devstack"
)

const (
	stopTimeout = 30 * time.Second
	failure     = 125 // like `env` and `timeout`: the wrapper failed, not the command
	dirPrefix   = "quickpass-teststack-"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: teststack -- command args...")
		os.Exit(2)
	}
	code, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "teststack:", err)
		if code == 0 {
			code = failure
		}
	}
	os.Exit(code)
}

// run returns the command's exit code, and an error when the stack itself failed.
func run(args []string) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel() // gives up the start
		case <-started:
		}
	}()

	removeAbandoned()
	dir := filepath.Join(os.TempDir(), dirPrefix+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return failure, fmt.Errorf("make directory: %w", err)
	}
	env, stop, err := startStack(ctx, dir)
	close(started)
	if err != nil {
		return failure, err // the directory stays: its logs say more
	}
	code, err = runCommand(args, env, signals)
	return code, errors.Join(err, stop(), os.RemoveAll(dir))
}

// startStack returns the environment that leads to the two servers, and the function that stops them.
func startStack(ctx context.Context, dir string) (env []string, stop func() error, err error) {
	begin := time.Now()
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{Dir: dir, Ephemeral: true, Progress: progress})
	if err != nil {
		return nil, nil, err
	}
	stopAll := []func(context.Context) error{pg.Stop}
	stop = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		var failed []error
		for i := len(stopAll) - 1; i >= 0; i-- {
			failed = append(failed, stopAll[i](ctx))
		}
		return errors.Join(failed...)
	}
	binary, err := devstack.FindTool("temporal-server")
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	temporal, err := devstack.StartTemporal(ctx, devstack.TemporalOptions{
		Binary: binary, PostgresURL: pg.AdminURL(), UIPort: devstack.NoUI, Dir: dir, Progress: progress,
	})
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	stopAll = append(stopAll, temporal.Stop)
	progress(fmt.Sprintf("PostgreSQL and Temporal are ready after %.1f s", time.Since(begin).Seconds()))
	return []string{
		"QUICKPASS_TEST_DATABASE_URL=" + pg.AdminURL(),
		"QUICKPASS_TEST_TEMPORAL_ADDRESS=" + temporal.Address(),
		"QUICKPASS_TEST_TEMPORAL_BINARY=" + binary,
		"QUICKPASS_TEST_BIN=" + filepath.Dir(binary),
	}, stop, nil
}

// runCommand passes signals on, so that the command ends itself and the stack is stopped after it.
func runCommand(args, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return failure, fmt.Errorf("start the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case received := <-signals:
			_ = cmd.Process.Signal(received) // it may have ended just now
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return failure, fmt.Errorf("run the command: %w", err)
			}
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if ok && status.Signaled() {
				return 128 + int(status.Signal()), nil // as shells do
			}
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

// removeAbandoned removes the directories of runs that were killed; their servers died with them.
func removeAbandoned() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), dirPrefix))
		if err != nil || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // if not now, then by a later run
		}
	}
}

func progress(message string) { fmt.Fprintln(os.Stderr, "teststack:", message) }
