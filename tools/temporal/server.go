package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

const (
	clusterName     = "active"
	mainStore       = "main"
	visibilityStore = "visibility"
	loopback        = "127.0.0.1"
)

// server is Temporal's four services in this process.
type server struct {
	temporal.Server
	frontend string // where this process itself reaches the gRPC API
}

// newServer builds the server by hand instead of from Temporal's YAML, so that one binary is all there is to ship.
func newServer(opts options, s store, logger log.Logger) (*server, error) {
	address, err := netip.ParseAddrPort(opts.address)
	if err != nil {
		return nil, fmt.Errorf("-address must be an IP and a port: %w", err)
	}
	frontend := opts.address
	if address.Addr().IsUnspecified() { // 0.0.0.0 is an address to listen on, not one to call
		frontend = net.JoinHostPort(loopback, strconv.Itoa(int(address.Port())))
	}
	services, hosts, err := placeServices(address, frontend)
	if err != nil {
		return nil, err
	}
	cfg := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     mainStore,
			VisibilityStore:  visibilityStore,
			NumHistoryShards: int32(opts.shards),
			DataStores: map[string]config.DataStore{
				mainStore:       {SQL: s.sql(opts.database)},
				visibilityStore: {SQL: s.sql(opts.visibilityDatabase)},
			},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services:            services,
		Archival: config.Archival{
			History:    config.HistoryArchival{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
		PublicClient: config.PublicClient{HostPort: frontend},
	}
	if opts.metricsAddress != "" {
		cfg.Global.Metrics = &metrics.Config{
			Prometheus: &metrics.PrometheusConfig{ListenAddress: opts.metricsAddress, HandlerPath: "/metrics"},
		}
	}
	built, err := temporal.NewServer(
		temporal.WithConfig(cfg),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithDynamicConfigClient(dynamicConfig(opts.stock)),
	)
	if err != nil {
		return nil, fmt.Errorf("build Temporal: %w", err)
	}
	return &server{Server: built, frontend: frontend}, nil
}

// placeServices gives the frontend its address and the other services free ports on the loopback. The hosts are
// static: with gossip instead, a server started after a kill would wait for its own ghost to be forgotten.
func placeServices(
	address netip.AddrPort, frontend string,
) (map[string]config.Service, map[primitives.ServiceName]static.Hosts, error) {
	services := map[string]config.Service{
		string(primitives.FrontendService): {
			RPC: config.RPC{BindOnIP: address.Addr().String(), GRPCPort: int(address.Port())},
		},
	}
	hosts := map[primitives.ServiceName]static.Hosts{
		primitives.FrontendService: {All: []string{frontend}, Self: frontend},
	}
	for _, name := range []primitives.ServiceName{
		primitives.HistoryService, primitives.MatchingService, primitives.WorkerService,
	} {
		// The listener stays open until all ports are chosen, so that no two services get the same one.
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return nil, nil, fmt.Errorf("find a port for the %s service: %w", name, err)
		}
		defer listener.Close()
		port := listener.Addr().(*net.TCPAddr).Port
		services[string(name)] = config.Service{RPC: config.RPC{BindOnIP: loopback, GRPCPort: port}}
		host := listener.Addr().String()
		hosts[name] = static.Hosts{All: []string{host}, Self: host}
	}
	return services, hosts, nil
}
