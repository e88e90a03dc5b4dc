package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leftOverGrace is how long a process of an earlier run may take to stop before it is killed.
const leftOverGrace = 10 * time.Second

func writePID(file string, pid int) error {
	if err := os.WriteFile(file, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

// readPID returns the number in a file's first line, or 0.
func readPID(file string) int {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0
	}
	return pid
}

// stopLeftOver stops the process of a pid file. Process ids are used again, so it must still run the same program.
func stopLeftOver(ctx context.Context, file, program string) error {
	pid := readPID(file)
	if pid > 0 && executableName(pid) == filepath.Base(program) {
		if err := terminate(ctx, syscall.SIGTERM, func() []int {
			if executableName(pid) == "" {
				return nil
			}
			return []int{pid}
		}); err != nil {
			return err
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// terminate sends a signal to the processes, and SIGKILL when some remain after a while; it returns when none is left.
func terminate(ctx context.Context, signal syscall.Signal, processes func() []int) error {
	sendAll(processes(), signal)
	gone := func() bool { return len(processes()) == 0 }
	graceCtx, cancel := context.WithTimeout(ctx, leftOverGrace)
	defer cancel()
	if poll(graceCtx, gone) {
		return nil
	}
	sendAll(processes(), syscall.SIGKILL)
	killCtx, cancel := context.WithTimeout(ctx, leftOverGrace)
	defer cancel()
	if !poll(killCtx, gone) {
		return fmt.Errorf("processes %v cannot be stopped", processes())
	}
	return nil
}

func sendAll(pids []int, signal syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, signal) // one that is gone already is as good
	}
}
