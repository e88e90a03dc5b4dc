// Command temporal-server is the whole Temporal server and its web UI in one process, on PostgreSQL.
//
// It is the same server for development, tests, benchmarks and docker-compose, so that what is measured is what is
// run. It prints one line, "ready <address>", when the namespaces can be used, and stops on SIGTERM or SIGINT.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/server/common/log"
)

// options are the command line.
type options struct {
	postgresURL        string
	database           string
	visibilityDatabase string
	address            string
	uiAddress          string
	namespaces         []string
	retention          time.Duration
	shards             int
	logLevel           string
	metricsAddress     string
	stock              bool
}

func main() {
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has printed the reason
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "temporal-server:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var (
		opts       options
		namespaces string
	)
	flags := flag.NewFlagSet("temporal-server", flag.ContinueOnError)
	flags.StringVar(&opts.postgresURL, "postgres-url", "postgres://quickpass:quickpass@127.0.0.1:5433/postgres",
		"PostgreSQL server; its user must be allowed to create databases")
	flags.StringVar(&opts.database, "database", "temporal", "database of workflows, created when absent")
	flags.StringVar(&opts.visibilityDatabase, "visibility-database", "temporal_visibility",
		"database of the search index, created when absent")
	flags.StringVar(&opts.address, "address", "127.0.0.1:7233", "IP and port of the gRPC API")
	flags.StringVar(&opts.uiAddress, "ui-address", "127.0.0.1:8233", "IP and port of the web UI; empty turns it off")
	flags.StringVar(&namespaces, "namespace", "default", "namespaces to register, separated by commas")
	flags.DurationVar(&opts.retention, "retention", 72*time.Hour,
		"how long a closed workflow is kept, for namespaces registered now")
	flags.IntVar(&opts.shards, "shards", 4, "history shards; fixed for the life of the database")
	flags.StringVar(&opts.logLevel, "log-level", "warn", "debug, info, warn or error; the log goes to stderr")
	flags.StringVar(&opts.metricsAddress, "metrics-address", "",
		"IP and port of Prometheus metrics; empty (the default) turns them off, which is faster")
	flags.BoolVar(&opts.stock, "stock", false, "the settings that Temporal ships, instead of QuickPass's recipe")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	for name := range strings.SplitSeq(namespaces, ",") {
		if name = strings.TrimSpace(name); name != "" {
			opts.namespaces = append(opts.namespaces, name)
		}
	}
	return opts, nil
}

// run serves until ctx ends.
func run(ctx context.Context, opts options) error {
	if _, set := os.LookupEnv("GOGC"); !set && !opts.stock {
		// The live heap is small beside what every workflow task allocates; measured to save a tenth of the CPU.
		debug.SetGCPercent(400)
	}
	store, err := parseStore(opts.postgresURL)
	if err != nil {
		return err
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Level: opts.logLevel}))
	if err := setUpSchemas(ctx, store, opts.database, opts.visibilityDatabase); err != nil {
		return err
	}
	server, err := newServer(opts, store, logger)
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start Temporal: %w", err)
	}
	err = serve(ctx, opts, server.frontend)
	if stopErr := server.Stop(); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("stop Temporal: %w", stopErr))
	}
	return err
}

// serve registers the namespaces, runs the UI, says "ready" and waits for the end of ctx.
func serve(ctx context.Context, opts options, frontend string) error {
	if err := registerNamespaces(ctx, frontend, opts.namespaces, opts.retention); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}
	if opts.uiAddress != "" {
		stopUI, err := startUI(ctx, opts.uiAddress, frontend, opts.namespaces)
		if err != nil {
			return err
		}
		defer stopUI()
	}
	fmt.Println("ready", opts.address)
	<-ctx.Done()
	return nil
}
