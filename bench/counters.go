package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what the whole PostgreSQL cluster (QuickPass's and Temporal's databases) and the processes have used
// up to now.
type usage struct {
	transactions int64 // ids given out: one for each transaction that writes
	walBytes     int64
	cpu          map[string]time.Duration // by part
}

// cost is what one purchase or event used of it.
type cost struct {
	writeTx float64
	walKB   float64            // of 1,024 bytes
	cpuMS   map[string]float64 // by part
}

// The parts of the CPU time.
const (
	cpuBench      = "bench"
	cpuServe      = "serve"
	cpuTemporal   = "Temporal"
	cpuOurTables  = "PostgreSQL for us"
	cpuTemporalDB = "PostgreSQL for Temporal"
	cpuBackground = "PostgreSQL itself"
	cpuProduct    = "main product"
	cpuIngest     = "ingest"
	cpuRabbit     = "RabbitMQ"
)

func cpuParts() []string {
	return []string{cpuBench, cpuServe, cpuTemporal, cpuOurTables, cpuTemporalDB, cpuBackground, cpuProduct}
}

// eventCPUParts are those that events pass through.
func eventCPUParts() []string {
	return []string{cpuBench, cpuServe, cpuIngest, cpuRabbit, cpuTemporal, cpuOurTables, cpuTemporalDB, cpuBackground}
}

func (st *stack) usage(ctx context.Context) (usage, error) {
	var u usage
	// Neither function takes a transaction id of its own.
	err := st.plain.Pool().QueryRow(ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint").
		Scan(&u.transactions, &u.walBytes)
	if err != nil {
		return u, fmt.Errorf("counters of PostgreSQL: %w", err)
	}
	u.cpu = map[string]time.Duration{
		cpuBench:    cpuOf(os.Getpid()),
		cpuTemporal: cpuOf(st.temporal.PID()),
		cpuProduct:  cpuOf(st.product.process.PID()),
	}
	if st.serve != nil {
		u.cpu[cpuServe] = cpuOf(st.serve.PID())
	}
	if st.ingest != nil {
		u.cpu[cpuIngest] = cpuOf(st.ingest.PID())
	}
	if st.rabbit != nil {
		u.cpu[cpuRabbit] = cpuOf(st.rabbit.PID())
	}
	for part, spent := range postgresCPU(st.postgres.PID()) {
		u.cpu[part] = spent
	}
	return u, nil
}

// per divides what was used since an earlier moment by the purchases or events made.
func (u usage) per(made int, since usage) cost {
	n := float64(max(made, 1))
	c := cost{
		writeTx: float64(u.transactions-since.transactions) / n,
		walKB:   float64(u.walBytes-since.walBytes) / n / 1024,
		cpuMS:   map[string]float64{},
	}
	for part, spent := range u.cpu {
		c.cpuMS[part] = float64((spent - since.cpu[part]).Microseconds()) / 1000 / n
	}
	return c
}

// ticksPerSecond is the unit of CPU times in /proc, fixed for programs on Linux.
const ticksPerSecond = 100

// cpuOf is the CPU time of a process so far; 0 where there is no /proc.
func cpuOf(pid int) time.Duration {
	fields := statOf(pid)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// statOf returns the fields of /proc/<pid>/stat from the third on: the state, the parent, ...
func statOf(pid int) []string {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(content), ") ") // the second field is a name that may contain spaces
	return strings.Fields(rest)
}

// postgresCPU sums the server's processes by whom they work for, which their titles tell.
func postgresCPU(postmaster int) map[string]time.Duration {
	spent := map[string]time.Duration{cpuBackground: cpuOf(postmaster)}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return spent
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := statOf(pid); len(fields) < 2 || fields[1] != strconv.Itoa(postmaster) {
			continue
		}
		title, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		spent[worksFor(string(title))] += cpuOf(pid)
	}
	return spent
}

// worksFor reads a title such as "postgres: user database 127.0.0.1(4711) idle".
func worksFor(title string) string {
	fields := strings.Fields(title)
	switch {
	case len(fields) < 4 || !strings.Contains(fields[3], "("):
		return cpuBackground
	case strings.HasPrefix(fields[2], "temporal"):
		return cpuTemporalDB
	default:
		return cpuOurTables
	}
}

// residentMB is the memory of a process in MB of 1,024 KB; 0 where there is no /proc.
func residentMB(pid int) float64 {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kb, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kb / 1024
		}
	}
	return 0
}
