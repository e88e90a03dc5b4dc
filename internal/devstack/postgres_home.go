package devstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// home is where a server keeps its data, and as whom it runs.
type home struct {
	dir        string // of the caller
	data       string // PostgreSQL's own, readable by its user only
	credential *syscall.Credential
}

// prepareHome decides on the place and the user. PostgreSQL refuses to run as root, and a user without rights cannot
// enter a directory below, say, /root; then the data lives elsewhere, under a name derived from Dir.
func prepareHome(opts PostgresOptions) (home, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return home{}, fmt.Errorf("find directory for PostgreSQL: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return home{}, fmt.Errorf("make directory for PostgreSQL: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // as the kernel reports the directory of a process
		return home{}, fmt.Errorf("find directory for PostgreSQL: %w", err)
	}
	h := home{dir: dir, data: filepath.Join(dir, "postgres")}
	if os.Geteuid() != 0 {
		return h, nil
	}
	if h.credential, err = unprivileged(); err != nil {
		return home{}, err
	}
	if reachable(dir, h.credential) {
		return h, nil
	}
	return h, h.moveOut(opts)
}

// moveOut puts the data outside of Dir. A file in Dir remembers it: whoever removes Dir expects an empty database next.
func (h *home) moveOut(opts PostgresOptions) error {
	parent := "/var/lib"
	if opts.Ephemeral {
		parent = os.TempDir()
	}
	sum := sha256.Sum256([]byte(h.dir))
	h.data = filepath.Join(parent, "quickpass-dev-"+hex.EncodeToString(sum[:6]))
	reminder := filepath.Join(h.dir, "postgres.location")
	if _, err := os.Stat(reminder); err != nil {
		if err := terminate(context.Background(), syscall.SIGQUIT, h.processes); err != nil {
			return fmt.Errorf("stop PostgreSQL in %s: %w", h.data, err)
		}
		if err := os.RemoveAll(h.data); err != nil {
			return fmt.Errorf("remove old data of PostgreSQL: %w", err)
		}
	}
	if err := os.WriteFile(reminder, []byte(h.data+"\n"), 0o644); err != nil {
		return fmt.Errorf("note the place of PostgreSQL's data: %w", err)
	}
	if !opts.Ephemeral {
		report(opts.Progress, "PostgreSQL keeps its data in "+h.data+", because its user cannot enter "+h.dir)
	}
	return nil
}

// unprivileged is the user that PostgreSQL's package creates, or else nobody.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL must not run as root, and there is no user postgres or nobody to run it as")
}

// reachable says whether a user can enter dir, judged by the permissions of all directories on the way.
func reachable(dir string, credential *syscall.Credential) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		const othersMayEnter, ownerMayEnter = 0o001, 0o100
		stat, ok := info.Sys().(*syscall.Stat_t)
		owned := ok && stat.Uid == credential.Uid && info.Mode()&ownerMayEnter != 0
		if !owned && info.Mode()&othersMayEnter == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// processes are the ids of the postmaster and its children that work on this data.
func (h home) processes() []int { return processesIn(h.data, "postgres") }

// stopLeftOver ends a server that an earlier run left behind and removes a lock file that lost its server: its process
// id may belong to someone else by now, and PostgreSQL would not start.
func (h home) stopLeftOver(ctx context.Context) error {
	lock := filepath.Join(h.data, "postmaster.pid")
	postmaster := readPID(lock)
	if postmaster > 0 && executableName(postmaster) == "postgres" {
		// Only the postmaster is asked; it ends its children in order.
		ours := func() []int {
			for _, pid := range h.processes() {
				if pid == postmaster {
					return []int{pid}
				}
			}
			return nil
		}
		if err := terminate(ctx, syscall.SIGINT, ours); err != nil {
			return fmt.Errorf("stop PostgreSQL of an earlier run: %w", err)
		}
	}
	if err := terminate(ctx, syscall.SIGQUIT, h.processes); err != nil {
		return fmt.Errorf("stop PostgreSQL of an earlier run: %w", err)
	}
	if err := os.Remove(lock); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old lock file: %w", err)
	}
	return nil
}

// initialize creates the database cluster when there is none. It is made under another name and moved, so that a kill
// in the middle leaves nothing half done.
func (h home) initialize(ctx context.Context, programs string, ephemeral bool, progress func(string)) error {
	if _, err := os.Stat(filepath.Join(h.data, "PG_VERSION")); err == nil {
		return nil
	}
	report(progress, "creating the database in "+h.data)
	unfinished := h.data + ".new"
	if err := errors.Join(os.RemoveAll(unfinished), os.RemoveAll(h.data), os.MkdirAll(unfinished, 0o700)); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	passwordFile, err := h.writePassword()
	if err != nil {
		return err
	}
	defer os.Remove(passwordFile)
	if err := h.own(unfinished); err != nil {
		return err
	}
	args := []string{
		"-D", unfinished, "-U", postgresUser, "--pwfile=" + passwordFile, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", // knows capitals of all scripts
		"--lc-collate=C", // the same order, by code point on every machine, compared in half the time
	}
	if ephemeral {
		args = append(args, "--no-sync")
	}
	initdb := exec.CommandContext(ctx, filepath.Join(programs, "initdb"), args...)
	initdb.Dir = unfinished
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: h.credential}
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("create the database: %w: %s", err, output)
	}
	if err := os.Rename(unfinished, h.data); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

func (h home) writePassword() (string, error) {
	file, err := os.CreateTemp("", "quickpass-initdb-")
	if err != nil {
		return "", fmt.Errorf("write password for initdb: %w", err)
	}
	_, err = file.WriteString(postgresPassword + "\n")
	if err := errors.Join(err, file.Close(), h.own(file.Name())); err != nil {
		return "", fmt.Errorf("write password for initdb: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return file.Name(), nil
}

// own gives a file to the user that PostgreSQL runs as.
func (h home) own(path string) error {
	if h.credential == nil {
		return nil
	}
	if err := os.Chown(path, int(h.credential.Uid), int(h.credential.Gid)); err != nil {
		return fmt.Errorf("give %s to PostgreSQL's user: %w", path, err)
	}
	return nil
}
