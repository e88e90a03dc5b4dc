package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	project      = 1
	drainTimeout = 40 * time.Second // QUICKPASS_HTTP_DRAIN_TIMEOUT of the processes
	upTimeout    = 2 * time.Minute  // for anything to start again
)

// component is one process, or one server of several, that can be made to fail.
type component struct {
	name  string
	ours  bool       // QuickPass itself: must end with 0 on SIGTERM, and never by itself
	mu    sync.Mutex // held while a fault acts on it
	start func(context.Context) error
	kill  func() error
	term  func() error
	ended func() <-chan struct{}
	own   *process // nil when devstack runs it
}

// stack is the whole system under test.
type stack struct {
	dir        string
	db         *postgres.DB // the judge's own connections
	pg         *devstack.Postgres
	temporal   *devstack.Temporal
	components []*component
	apis       []string // base URLs of the processes that serve the API
	fakeURL    string
	moods      sync.Mutex // held while the main product is made to misbehave
	quickpass  string     // the program
	env        []string   // its settings
	keys       map[string]string
}

// startStack starts everything in dir and seeds the shop.
func startStack(ctx context.Context, dir string, inquiry bool) (s *stack, err error) {
	s = &stack{
		dir:  dir,
		keys: map[string]string{"storefront": "qpk_" + rand.Text(), "main_product": "qpk_" + rand.Text(), "admin": "qpk_" + rand.Text()},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	say := func(step string) { fmt.Println("  " + step) }
	s.pg, err = devstack.StartPostgres(ctx, devstack.PostgresOptions{Dir: dir, Progress: say}) // not ephemeral: fsync is on
	if err != nil {
		return s, err
	}
	s.components = append(s.components, &component{
		name:  "postgres",
		start: s.pg.Restart,
		kill:  s.pg.Kill,
		term:  bounded(s.pg.Stop),
		ended: s.pg.Done,
	})
	s.temporal, err = devstack.StartTemporal(ctx, devstack.TemporalOptions{
		PostgresURL: s.pg.URL(),
		UIPort:      devstack.NoUI,
		Dir:         dir,
		Progress:    say,
	})
	if err != nil {
		return s, err
	}
	s.components = append(s.components, &component{
		name:  "temporal",
		start: s.temporal.Restart,
		kill:  s.temporal.Kill,
		term:  bounded(s.temporal.Stop),
		ended: s.temporal.Done,
	})
	if _, err = postgres.Migrate(ctx, s.pg.URL()); err != nil {
		return s, err
	}
	s.db, err = postgres.Open(ctx, postgres.Options{URL: s.pg.URL(), MaxConnections: 4, StatementTimeout: time.Minute})
	if err != nil {
		return s, err
	}
	if err = s.putKeys(ctx); err != nil {
		return s, err
	}
	if err = seedShop(ctx, s.db); err != nil {
		return s, err
	}
	if err = seedTasks(ctx, s.db); err != nil {
		return s, err
	}
	if err = seedCatalog(ctx, s.db); err != nil {
		return s, err
	}
	return s, s.startPrograms(ctx, inquiry)
}

// startPrograms starts the fake main product and QuickPass in three processes: `serve`, `api`, `worker`.
func (s *stack) startPrograms(ctx context.Context, inquiry bool) error {
	program, err := s.copyTool("fakeproduct")
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	key := rand.Text()
	s.fakeURL = "http://" + address
	if err := s.run(ctx, "fake", false, &process{
		path: program,
		env:  []string{"QUICKPASS_MAIN_PRODUCT_API_KEY=" + key},
		args: []string{"-address", address, "-books", filepath.Join(s.dir, "books.jsonl")},
		up:   answers(s.fakeURL + "/control/health"),
	}); err != nil {
		return err
	}
	s.env = []string{"QUICKPASS_DATABASE_URL=" + s.pg.URL(), "QUICKPASS_TEMPORAL_ADDRESS=" + s.temporal.Address(),
		"QUICKPASS_MAIN_PRODUCT_URL=" + s.fakeURL, "QUICKPASS_MAIN_PRODUCT_API_KEY=" + key, "QUICKPASS_HTTP_DRAIN_TIMEOUT=" + drainTimeout.String(), "QUICKPASS_STORE_PURCHASE_INTERVAL=0s"}
	if inquiry {
		s.env = append(s.env, "QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH=/api/v1/credits/orders/{order_id}")
	}
	if s.quickpass, err = s.copyTool("quickpass"); err != nil {
		return err
	}
	for _, role := range []string{"serve", "api", "worker"} {
		if address, err = freeAddress(); err != nil {
			return err
		}
		p := &process{path: s.quickpass, args: []string{role}, env: append([]string{"QUICKPASS_HTTP_ADDRESS=" + address}, s.env...)}
		if role != "worker" {
			s.apis = append(s.apis, "http://"+address)
			p.up = answers("http://" + address + "/healthz") // alive is enough: what it needs may be down too
		}
		if err := s.run(ctx, role, true, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) run(ctx context.Context, name string, ours bool, p *process) error {
	p.log = filepath.Join(s.dir, name+".log")
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.components = append(s.components, &component{name: name, ours: ours, start: p.start, kill: p.kill, ended: p.ended, own: p,
		term: func() error { return p.terminate(drainTimeout + 2*time.Second) }})
	return nil
}

// copyTool copies a program of bin/, so that a build in between does not change what is tested.
func (s *stack) copyTool(name string) (string, error) {
	from, err := devstack.FindTool(name)
	if err != nil {
		return "", err
	}
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	to := filepath.Join(s.dir, name)
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return to, errors.Join(err, out.Close())
}

func (s *stack) putKeys(ctx context.Context) error {
	for role, key := range s.keys {
		hash := sha256.Sum256([]byte(key))
		if err := s.db.PutAPIKey(ctx, postgres.APIKey{
			KeyID:     "key_chaos_" + role,
			ProjectID: project,
			Role:      role,
		}, hash[:], time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// stop ends everything, in the reverse order of starting.
func (s *stack) stop() error {
	if s.db != nil {
		s.db.Close()
	}
	var failed []error
	for i := len(s.components) - 1; i >= 0; i-- {
		c := s.components[i]
		if err := c.term(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(failed...)
}

// down names what does not run at the moment.
func (s *stack) down() []string {
	var names []string
	for _, c := range s.components {
		select {
		case <-c.ended():
			names = append(names, c.name)
		default:
		}
	}
	return names
}

func bounded(stop func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		return stop(ctx)
	}
}

func freeAddress() (string, error) {
	port, err := devstack.FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// answers asks once whether a URL is served.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return devstack.ExpectOK(ctx, url)
	}
}
