package main

import dc "go.temporal.io/server/common/dynamicconfig"

// unlimited is far above what one machine can do; a limit that binds would be measured instead of the engine.
const unlimited = 1_000_000

// dynamicConfig returns the server's settings: what QuickPass measured to be better for one process on one
// PostgreSQL, or, for stock, what Temporal ships.
func dynamicConfig(stock bool) dc.StaticClient {
	settings := dc.StaticClient{
		// Calls home for news of versions: needless, and it delays the start on a closed network.
		dc.EnableServerVersionCheck.Key(): false,
	}
	if stock {
		return settings
	}
	// With four partitions and few pollers some tasks wait for a poller of their own partition:
	// p99 of an empty workflow 1550 ms, with one partition 548 ms.
	settings[dc.MatchingNumTaskqueueReadPartitions.Key()] = 1
	settings[dc.MatchingNumTaskqueueWritePartitions.Key()] = 1
	// The shipped 128,000 entries cost 1 GB more after 10,000 workflows and gain nothing.
	settings[dc.HistoryCacheHostLevelMaxSize.Key()] = 4_000
	// The first workflow task travels in the answer of the start: 5.1 write transactions a workflow instead of 8.8.
	settings[dc.EnableEagerWorkflowStart.Key()] = true
	// Each record of the search index costs 28 KB of WAL for its 74 indexes. Looking for work twice a second instead of
	// at once lets a short workflow be written once, closed, instead of twice; lists lag by half a second.
	settings[dc.VisibilityProcessorMaxPollRPS.Key()] = 2
	settings[dc.VisibilityTaskBatchSize.Key()] = 1_000
	for _, limit := range []interface{ Key() dc.Key }{
		dc.FrontendRPS,
		dc.FrontendMaxNamespaceRPSPerInstance,
		dc.FrontendMaxNamespaceVisibilityRPSPerInstance,
		dc.FrontendNamespaceReplicationInducingAPIsRPS,
		dc.FrontendMaxNamespaceNamespaceReplicationInducingAPIsRPSPerInstance,
		dc.FrontendGlobalNamespaceNamespaceReplicationInducingAPIsRPS,
		dc.FrontendPersistenceMaxQPS,
		dc.HistoryRPS,
		dc.HistoryPersistenceMaxQPS,
		dc.MatchingRPS,
		dc.MatchingPersistenceMaxQPS,
		dc.VisibilityPersistenceMaxReadQPS,
		dc.VisibilityPersistenceMaxWriteQPS,
	} {
		settings[limit.Key()] = unlimited
	}
	return settings
}
