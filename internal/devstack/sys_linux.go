package devstack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func childAttributes(orphan syscall.Signal, credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: orphan, Credential: credential}
}

// executableName is the file name of a running process's program, or "" for none.
func executableName(pid int) string {
	path, err := os.Readlink(procPath(pid, "exe"))
	if err != nil {
		return ""
	}
	// The kernel marks a program that was rebuilt since.
	return filepath.Base(strings.TrimSuffix(path, " (deleted)"))
}

// processesIn finds the processes of a program whose working directory is dir. PostgreSQL's processes all work in
// their data directory, so this tells one server's from another's.
func processesIn(dir, program string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		workDir, err := os.Readlink(procPath(pid, "cwd"))
		if err == nil && workDir == dir && executableName(pid) == program {
			found = append(found, pid)
		}
	}
	return found
}

func procPath(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }
