// Command teststack runs a command beside a throw-away PostgreSQL, Temporal and RabbitMQ:
//
//	teststack -- go test ./...
//
// The command finds them through its environment: QUICKPASS_TEST_DATABASE_URL (a superuser's connection to the database
// "postgres"), QUICKPASS_TEST_TEMPORAL_ADDRESS, QUICKPASS_TEST_TEMPORAL_BINARY, QUICKPASS_TEST_AMQP_URL, and
// QUICKPASS_TEST_BIN, the directory of the built programs. Teststack ends with the command's exit code.
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

	"golang.org/x/sync/errgroup"

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

// stack is what was started.
type stack struct {
	pg       *devstack.Postgres
	temporal *devstack.Temporal
	rabbit   *devstack.RabbitMQ
}

// startStack returns the environment that leads to the servers, and the function that stops them.
func startStack(ctx context.Context, dir string) (env []string, stop func() error, err error) {
	begin := time.Now()
	binary, err := devstack.FindTool("temporal-server")
	if err != nil {
		return nil, nil, err
	}
	var s stack
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startEngine(groupCtx, binary, dir) })
	group.Go(func() (err error) {
		s.rabbit, err = devstack.StartRabbitMQ(groupCtx, devstack.RabbitMQOptions{Dir: dir, Progress: progress})
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, nil, errors.Join(err, s.stop())
	}
	progress(fmt.Sprintf("PostgreSQL, Temporal and RabbitMQ are ready after %.1f s", time.Since(begin).Seconds()))
	return []string{
		"QUICKPASS_TEST_DATABASE_URL=" + s.pg.AdminURL(),
		"QUICKPASS_TEST_TEMPORAL_ADDRESS=" + s.temporal.Address(),
		"QUICKPASS_TEST_TEMPORAL_BINARY=" + binary,
		"QUICKPASS_TEST_AMQP_URL=" + s.rabbit.URL(),
		"QUICKPASS_TEST_BIN=" + filepath.Dir(binary),
	}, s.stop, nil
}

// startEngine starts PostgreSQL, and Temporal on it.
func (s *stack) startEngine(ctx context.Context, binary, dir string) (err error) {
	if s.pg, err = devstack.StartPostgres(ctx, devstack.PostgresOptions{Dir: dir, Ephemeral: true, Progress: progress}); err != nil {
		return err
	}
	s.temporal, err = devstack.StartTemporal(ctx, devstack.TemporalOptions{
		Binary: binary, PostgresURL: s.pg.AdminURL(), UIPort: devstack.NoUI, Dir: dir, Progress: progress,
	})
	return err
}

// stop ends what was started.
func (s *stack) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var failed []error
	if s.rabbit != nil {
		failed = append(failed, s.rabbit.Stop(ctx))
	}
	if s.temporal != nil {
		failed = append(failed, s.temporal.Stop(ctx))
	}
	if s.pg != nil {
		failed = append(failed, s.pg.Stop(ctx))
	}
	return errors.Join(failed...)
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
