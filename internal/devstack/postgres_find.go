package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const postgresBinSetting = "QUICKPASS_DEV_POSTGRES_BIN"

// findPostgres returns the directory of PostgreSQL's server programs, installing them when that is possible.
// Existing data wants the version that made it.
func findPostgres(ctx context.Context, data string, progress func(string)) (string, error) {
	if dir := os.Getenv(postgresBinSetting); dir != "" {
		if !hasPostgres(dir) {
			return "", fmt.Errorf("%s is %s, which has no initdb and postgres", postgresBinSetting, dir)
		}
		return dir, nil
	}
	if dir := installedPostgres(data); dir != "" {
		return dir, nil
	}
	if err := installPostgres(ctx, progress); err != nil {
		return "", fmt.Errorf("PostgreSQL is not installed (install the package postgresql of your system, "+
			"or set %s to the directory of initdb and postgres): %w", postgresBinSetting, err)
	}
	if dir := installedPostgres(data); dir != "" {
		return dir, nil
	}
	return "", errors.New("PostgreSQL was installed, but its server programs are not in /usr/lib/postgresql")
}

func installedPostgres(data string) string {
	var candidates []string
	if version, err := os.ReadFile(filepath.Join(data, "PG_VERSION")); err == nil {
		candidates = append(candidates, filepath.Join("/usr/lib/postgresql", strings.TrimSpace(string(version)), "bin"))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // the PostgreSQL project's RPMs
		"/opt/homebrew/opt/postgresql@*/bin", // macOS
		"/usr/local/opt/postgresql@*/bin",    // macOS on Intel
		"/usr/local/lib/postgresql/*/bin",    // built by hand
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // the patterns are constants
		}
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(majorVersion(b), majorVersion(a)) })
		candidates = append(candidates, found...)
	}
	for _, dir := range candidates {
		if hasPostgres(dir) {
			return dir
		}
	}
	return ""
}

// majorVersion is the number in a path such as /usr/lib/postgresql/15/bin.
func majorVersion(path string) int {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, path)
	version, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return version
}

func hasPostgres(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

func installPostgres(ctx context.Context, progress func(string)) error {
	report(progress, "installing PostgreSQL with apt-get, about a minute")
	if os.Geteuid() == 0 {
		if err := refuseMainCluster(); err != nil {
			return err
		}
	}
	return installPackages(ctx, "postgresql")
}

// refuseMainCluster keeps the package from creating and starting a server of its own on port 5432.
func refuseMainCluster() error {
	const file = "/etc/postgresql-common/createcluster.conf"
	if _, err := os.Stat(file); err == nil {
		return nil // somebody has decided already
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("prepare the installation: %w", err)
	}
	if err := os.WriteFile(file, []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return fmt.Errorf("prepare the installation: %w", err)
	}
	return nil
}
