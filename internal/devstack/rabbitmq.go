package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

const rabbitMQBinSetting = "QUICKPASS_DEV_RABBITMQ_BIN"

// RabbitMQOptions say how to start RabbitMQ.
type RabbitMQOptions struct {
	Dir      string       // for the data and the logs; empty: a new temporary one
	Progress func(string) // told about the steps that take a while; may be nil
}

// RabbitMQ is a running node of its own: ports, data, cookie and name server are shared with no other.
type RabbitMQ struct {
	names     *Process // epmd: the broker finds its own name there
	broker    *Process
	port      int
	removeDir string
}

// StartRabbitMQ starts a node, installing RabbitMQ when it is missing, and returns when it takes connections.
func StartRabbitMQ(ctx context.Context, opts RabbitMQOptions) (*RabbitMQ, error) {
	programs, err := findRabbitMQ(ctx, opts.Progress)
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{}
	if opts.Dir == "" {
		if opts.Dir, err = os.MkdirTemp("", "quickpass-rabbitmq-"); err != nil {
			return nil, fmt.Errorf("make directory for RabbitMQ: %w", err)
		}
		r.removeDir = opts.Dir
	}
	if err := r.start(ctx, programs, opts); err != nil {
		return nil, err // a temporary directory stays: the error names the log in it
	}
	return r, nil
}

func (r *RabbitMQ) start(ctx context.Context, programs rabbitMQPrograms, opts RabbitMQOptions) error {
	dir, err := filepath.Abs(filepath.Join(opts.Dir, "rabbitmq"))
	if err != nil {
		return fmt.Errorf("find directory for RabbitMQ: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory for RabbitMQ: %w", err)
	}
	config := filepath.Join(dir, "rabbitmq.conf")
	if err := os.WriteFile(config, []byte(rabbitMQConfig), 0o644); err != nil {
		return fmt.Errorf("write settings of RabbitMQ: %w", err)
	}
	var ports [3]int // of the broker, of its name server, and for other nodes, of which there are none
	for i := range ports {
		if ports[i], err = FreePort(); err != nil {
			return err
		}
	}
	r.port = ports[0]
	if r.names, err = startEPMD(ctx, programs.epmd, ports[1], dir); err != nil {
		return err
	}
	report(opts.Progress, "starting RabbitMQ")
	r.broker, err = StartProcess(ctx, ProcessOptions{
		Name:    "RabbitMQ",
		Path:    programs.server,
		Env:     rabbitMQEnvironment(dir, config, ports),
		Dir:     dir,
		LogFile: filepath.Join(opts.Dir, "rabbitmq.log"),
		Ready:   r.answers,
	})
	if err != nil {
		return errors.Join(err, r.names.Stop(ctx))
	}
	return nil
}

const rabbitMQConfig = `vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
`

// rabbitMQEnvironment keeps the node apart from any other, and from the settings of the system's own.
func rabbitMQEnvironment(dir, config string, ports [3]int) []string {
	missing := filepath.Join(dir, "none")
	return []string{
		"HOME=" + dir, // the cookie is made there
		"ERL_EPMD_ADDRESS=" + loopback,
		"ERL_EPMD_PORT=" + strconv.Itoa(ports[1]),
		"RABBITMQ_ALLOW_INPUT=1", // no shell stays between us and the broker, to which signals and the parent's death are told
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput -kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_NODENAME=quickpass@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=" + loopback,
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(ports[0]),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(ports[2]),
		"RABBITMQ_BASE=" + dir,
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"),
		"RABBITMQ_LOG_BASE=" + dir,
		"RABBITMQ_LOGS=-",
		"RABBITMQ_CONFIG_FILE=" + config,
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + missing,
		"RABBITMQ_CONF_ENV_FILE=" + missing,
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + missing,
		"RABBITMQ_GENERATED_CONFIG_DIR=" + filepath.Join(dir, "generated"),
	}
}

// startEPMD starts Erlang's name server, on a port of its own: the node would start one that outlives everything.
func startEPMD(ctx context.Context, path string, port int, dir string) (*Process, error) {
	return StartProcess(ctx, ProcessOptions{
		Name:    "epmd",
		Path:    path,
		Args:    []string{"-address", loopback, "-port", strconv.Itoa(port)},
		Dir:     dir,
		LogFile: filepath.Join(dir, "epmd.log"),
		Ready: func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", hostPort(port))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	})
}

func (r *RabbitMQ) answers(context.Context) error {
	conn, err := amqp.Dial(r.URL())
	if err != nil {
		return err
	}
	return conn.Close()
}

// URL leads to the node's default virtual host, as a user who may do everything.
func (r *RabbitMQ) URL() string { return "amqp://guest:guest@" + hostPort(r.port) + "/" }

// PID is the broker's process id.
func (r *RabbitMQ) PID() int { return r.broker.PID() }

// Stop shuts the node down.
func (r *RabbitMQ) Stop(ctx context.Context) error {
	err := errors.Join(r.broker.Stop(ctx), r.names.Kill()) // epmd knows no other end
	if r.removeDir != "" {
		err = errors.Join(err, os.RemoveAll(r.removeDir))
	}
	return err
}

// Kill ends the node with SIGKILL, as a crash would.
func (r *RabbitMQ) Kill() error { return r.broker.Kill() }

// Restart starts the node again on the same data and port, after stopping it when it still runs.
func (r *RabbitMQ) Restart(ctx context.Context) error { return r.broker.Restart(ctx) }

type rabbitMQPrograms struct{ server, epmd string }

// findRabbitMQ returns RabbitMQ's programs, installing them when that is possible.
func findRabbitMQ(ctx context.Context, progress func(string)) (rabbitMQPrograms, error) {
	if dir := os.Getenv(rabbitMQBinSetting); dir != "" {
		if found := installedRabbitMQ(dir); found.server != "" {
			return found, nil
		}
		return rabbitMQPrograms{}, fmt.Errorf("%s is %s, which has no rabbitmq-server, or there is no epmd", rabbitMQBinSetting, dir)
	}
	if found := installedRabbitMQ(rabbitMQPlaces...); found.server != "" {
		return found, nil
	}
	report(progress, "installing RabbitMQ with apt-get, about a minute")
	if err := installPackages(ctx, "rabbitmq-server"); err != nil {
		return rabbitMQPrograms{}, fmt.Errorf("RabbitMQ is not installed (install the package rabbitmq-server of your system, "+
			"or set %s to the directory of rabbitmq-server): %w", rabbitMQBinSetting, err)
	}
	if found := installedRabbitMQ(rabbitMQPlaces...); found.server != "" {
		return found, nil
	}
	return rabbitMQPrograms{}, errors.New("RabbitMQ was installed, but rabbitmq-server is not in /usr/lib/rabbitmq")
}

// rabbitMQPlaces are those of the real script: the one on the PATH changes the user first.
var rabbitMQPlaces = []string{
	"/usr/lib/rabbitmq/bin",                             // Debian, Ubuntu
	"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",      // the RabbitMQ project's packages
	"/opt/homebrew/opt/rabbitmq/sbin",                   // macOS
	"/usr/local/opt/rabbitmq/sbin",                      // macOS on Intel
	"/usr/local/lib/rabbitmq/lib/rabbitmq_server*/sbin", // built by hand
}

func installedRabbitMQ(places ...string) rabbitMQPrograms {
	epmd := findEPMD()
	for _, place := range places {
		found, err := filepath.Glob(filepath.Join(place, "rabbitmq-server"))
		if err == nil && len(found) > 0 && epmd != "" {
			return rabbitMQPrograms{server: found[0], epmd: epmd}
		}
	}
	return rabbitMQPrograms{}
}

func findEPMD() string {
	if path, err := exec.LookPath("epmd"); err == nil {
		return path
	}
	for _, place := range []string{"/usr/lib/erlang/bin/epmd", "/usr/local/lib/erlang/bin/epmd"} {
		if _, err := os.Stat(place); err == nil {
			return place
		}
	}
	return ""
}
