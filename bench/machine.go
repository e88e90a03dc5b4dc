package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/temporal"
)

// machine is what the figures were taken on. It names no host.
type machine struct {
	processor string
	cores     int
	memoryGB  float64
	sync      time.Duration // of one small write
	postgres  string
	temporal  string
	date      time.Time
}

// describeMachine leaves out what it cannot find.
func describeMachine(ctx context.Context, st *stack) machine {
	m := machine{processor: "unknown processor", cores: runtime.NumCPU(), date: time.Now().UTC(), postgres: "?", temporal: "?"}
	if name := procValue("/proc/cpuinfo", "model name"); name != "" {
		m.processor = name
	}
	if fields := strings.Fields(procValue("/proc/meminfo", "MemTotal")); len(fields) > 0 {
		kb, _ := strconv.ParseFloat(fields[0], 64)
		m.memoryGB = kb / 1024 / 1024
	}
	m.sync = timeSync(st.dir)
	_ = st.plain.Pool().QueryRow(ctx, "SHOW server_version").Scan(&m.postgres)
	if info, err := st.engine.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{}); err == nil {
		m.temporal = info.GetServerVersion()
	}
	return m
}

func procValue(file, name string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// timeSync is the median time to get a block to the disk: much of what a durable commit costs.
func timeSync(dir string) time.Duration {
	file, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0
	}
	defer os.Remove(file.Name())
	defer file.Close()
	var times []time.Duration
	block := make([]byte, 8192)
	for range 50 {
		begin := time.Now()
		if _, err := file.WriteAt(block, 0); err != nil {
			return 0
		}
		if err := file.Sync(); err != nil {
			return 0
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return percentile(times, 50)
}

func (m machine) text(s settings, took time.Duration) string {
	return fmt.Sprintf(`- %s, in %s: `+"`go run ./bench %s`"+`
- %s, %d cores, %.0f GB of memory; everything on this one machine, the callers too; fsync of a block takes %d µs
- %s, PostgreSQL %s, Temporal server %s, Temporal SDK %s
`, m.date.Format(time.DateOnly), took, s.command(), m.processor, m.cores, m.memoryGB, m.sync.Microseconds(), runtime.Version(), m.postgres, m.temporal, temporal.SDKVersion)
}

// command repeats the flags, without paths of this machine.
func (s settings) command() string {
	command := fmt.Sprintf("-repeats %d -cell %s -callers %d -memory-purchases %d -slow-rate %g -windows %d -messages %d -subscriptions %d -phases %s",
		s.repeats, s.cell, s.callers, s.memoryPurchases, s.slowRate, s.windows, s.messages, s.subscriptions, strings.Join(s.phases, ","))
	if s.trimVisibility {
		command += " -trim-visibility"
	}
	return command
}
