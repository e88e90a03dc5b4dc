package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	temporalProgram       = "temporal-server"
	temporalPortSetting   = "QUICKPASS_DEV_TEMPORAL_PORT"
	temporalUIPortSetting = "QUICKPASS_DEV_TEMPORAL_UI_PORT"

	// temporalReadyTimeout covers the server's own waits for PostgreSQL (30 s) and for its services (60 s).
	temporalReadyTimeout = 100 * time.Second
)

// NoUI as TemporalOptions.UIPort starts Temporal without its web UI.
const NoUI = -1

// TemporalOptions say how to start Temporal.
type TemporalOptions struct {
	Binary         string       // the program of tools/temporal; found by FindTool when empty
	PostgresURL    string       // of a user who may create databases
	DatabasePrefix string       // put before "temporal" and "temporal_visibility", so that servers can share a PostgreSQL
	Port           int          // 0: a free one
	UIPort         int          // 0: a free one; NoUI: no UI
	Namespace      string       // several are separated by commas; "default" when empty
	Dir            string       // for the log and the pid file; empty: a new temporary one
	Stock          bool         // the settings that Temporal ships, instead of the tuned ones
	MetricsAddress string       // IP and port of Prometheus metrics; empty: none
	Progress       func(string) // told about the steps that take a while; may be nil
}

// Temporal is a running Temporal server.
type Temporal struct {
	process   *Process
	port      int
	uiPort    int
	removeDir string
}

// StartTemporal starts a server and returns when its namespaces can be used. One that an earlier run left in the same
// Dir is stopped first.
func StartTemporal(ctx context.Context, opts TemporalOptions) (*Temporal, error) {
	t := &Temporal{uiPort: NoUI}
	if opts.Dir == "" {
		dir, err := os.MkdirTemp("", "quickpass-temporal-")
		if err != nil {
			return nil, fmt.Errorf("make directory for Temporal: %w", err)
		}
		opts.Dir, t.removeDir = dir, dir
	}
	if err := t.start(ctx, opts); err != nil {
		// A temporary directory stays: the error names the log in it.
		return nil, err
	}
	return t, nil
}

func (t *Temporal) start(ctx context.Context, opts TemporalOptions) error {
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory for Temporal: %w", err)
	}
	if opts.Binary == "" {
		binary, err := FindTool(temporalProgram)
		if err != nil {
			return err
		}
		opts.Binary = binary
	}
	pidFile := filepath.Join(opts.Dir, "temporal.pid")
	if err := stopLeftOver(ctx, pidFile, opts.Binary); err != nil { // before its ports are looked at
		return fmt.Errorf("stop Temporal of an earlier run: %w", err)
	}
	var err error
	if t.port, err = choosePort(opts.Port, temporalPortSetting); err != nil {
		return err
	}
	uiAddress := ""
	if opts.UIPort != NoUI {
		if t.uiPort, err = choosePort(opts.UIPort, temporalUIPortSetting); err != nil {
			return err
		}
		uiAddress = hostPort(t.uiPort)
	}
	if opts.Namespace == "" {
		opts.Namespace = "default"
	}
	args := []string{
		"-postgres-url", opts.PostgresURL,
		"-database", opts.DatabasePrefix + "temporal",
		"-visibility-database", opts.DatabasePrefix + "temporal_visibility",
		"-address", hostPort(t.port),
		"-ui-address", uiAddress,
		"-namespace", opts.Namespace,
		"-metrics-address", opts.MetricsAddress,
	}
	if opts.Stock {
		args = append(args, "-stock")
	}
	report(opts.Progress, "starting Temporal; the first start prepares its databases")
	t.process, err = StartProcess(ctx, ProcessOptions{
		Name:         "Temporal",
		Path:         opts.Binary,
		Args:         args,
		LogFile:      filepath.Join(opts.Dir, "temporal.log"),
		PIDFile:      pidFile,
		ReadyLine:    "ready ",
		ReadyTimeout: temporalReadyTimeout,
	})
	return err
}

// Address is where clients connect (gRPC), host and port.
func (t *Temporal) Address() string { return hostPort(t.port) }

// UIURL is the address of the web UI, or "" when there is none.
func (t *Temporal) UIURL() string {
	if t.uiPort == NoUI {
		return ""
	}
	return "http://" + hostPort(t.uiPort)
}

// PID is the process id of the server.
func (t *Temporal) PID() int { return t.process.PID() }

// Done is closed when the server has ended. After Restart there is a new channel.
func (t *Temporal) Done() <-chan struct{} { return t.process.Done() }

// Stop shuts the server down.
func (t *Temporal) Stop(ctx context.Context) error {
	err := t.process.Stop(ctx)
	if t.removeDir != "" {
		err = errors.Join(err, os.RemoveAll(t.removeDir))
	}
	return err
}

// Kill ends the server with SIGKILL, as a crash would.
func (t *Temporal) Kill() error { return t.process.Kill() }

// Restart starts the server again on the same ports and databases, after stopping it when it still runs.
func (t *Temporal) Restart(ctx context.Context) error { return t.process.Restart(ctx) }

// FindTool returns the absolute path of a program that `make` builds into bin/: from QUICKPASS_TEST_BIN, beside the
// running program, or from bin/ of the module that the working directory is in.
func FindTool(name string) (string, error) {
	var places []string
	if dir := os.Getenv("QUICKPASS_TEST_BIN"); dir != "" {
		places = append(places, dir)
	}
	if program, err := os.Executable(); err == nil {
		places = append(places, filepath.Dir(program))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				places = append(places, filepath.Join(dir, "bin"))
				break
			}
		}
	}
	for _, place := range places {
		path, err := filepath.Abs(filepath.Join(place, name))
		if err != nil {
			continue
		}
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s is missing; `make tools` builds it", name)
}
