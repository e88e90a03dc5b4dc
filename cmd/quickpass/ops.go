package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/quickpass/quickpass/internal/telemetry"
	"github.com/quickpass/quickpass/internal/temporal"
)

// serveOps serves what operators look at, on addresses of their own, which must not be reachable from
// outside. It is there in every role: a worker has no other door. The last figures of a process that stops
// can be read too, since nothing ends it before the process.
func (p *process) serveOps(ctx context.Context) error {
	ready := telemetry.NewReadiness(map[string]telemetry.Check{
		"postgres": p.db.Ping,
		"temporal": temporal.Health{Client: p.engine}.Healthy,
	})
	context.AfterFunc(ctx, ready.Stopping)
	figures := http.NewServeMux()
	figures.HandleFunc("GET /healthz", telemetry.Alive)
	figures.Handle("GET /readyz", ready)
	figures.Handle("GET /metrics", telemetry.Metrics(p.metrics))
	if err := listenAside(p.config.Ops.Address, "QUICKPASS_OPS_ADDRESS", figures, p.logger); err != nil {
		return err
	}

	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return listenAside(p.config.HTTP.PprofAddress, "QUICKPASS_HTTP_PPROF_ADDRESS", profiles, p.logger)
}

// listenAside serves on the address until the process ends; empty: not at all.
func listenAside(address, setting string, handler http.Handler, logger *slog.Logger) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s (%s): %w", address, setting, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { logger.Warn("no longer served", "setting", setting, "error", server.Serve(listener)) }()
	return nil
}
