package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
)

// uiWait bounds the start of the UI, which only has to open its port.
const uiWait = 10 * time.Second

// startUI serves the web UI and returns, once it answers, the function that stops it.
func startUI(ctx context.Context, address, frontend string, namespaces []string) (stop func(), err error) {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("-ui-address must be an IP and a port: %w", err)
	}
	cfg := &uiconfig.Config{
		TemporalGRPCAddress: frontend,
		Host:                parsed.Addr().String(),
		Port:                int(parsed.Port()),
		EnableUI:            true,
		CORS:                uiconfig.CORS{CookieInsecure: true}, // plain HTTP on a local address
		// Nothing is fetched from outside.
		DisableNewsFetch:   true,
		NotifyOnNewVersion: false,
		HideLogs:           true, // stdout carries only the line "ready"
	}
	if len(namespaces) > 0 {
		cfg.DefaultNamespace = namespaces[0]
	}
	ui := uiserver.NewServer(uioptions.WithConfigProvider(cfg))
	failed := make(chan error, 1)
	go func() { failed <- ui.Start() }()

	host := parsed
	if host.Addr().IsUnspecified() {
		host = netip.AddrPortFrom(netip.MustParseAddr(loopback), host.Port())
	}
	ctx, cancel := context.WithTimeout(ctx, uiWait)
	defer cancel()
	for !answers(ctx, "http://"+host.String()+"/healthz") {
		select {
		case err := <-failed:
			return nil, fmt.Errorf("start the UI at %s: %v", address, err)
		case <-ctx.Done():
			ui.Stop()
			return nil, fmt.Errorf("the UI at %s does not answer: %w", address, ctx.Err())
		case <-time.After(retryInterval):
		}
	}
	return ui.Stop, nil
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}
