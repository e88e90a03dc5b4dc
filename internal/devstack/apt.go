package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
)

// aptLock lets one installation run after the other: apt-get refuses a second one.
var aptLock sync.Mutex

// installPackages uses the system's packages where it may: as root on Debian and its kin. No service is
// started: what is needed is started by this package.
func installPackages(ctx context.Context, packages ...string) error {
	apt, err := exec.LookPath("apt-get")
	if runtime.GOOS != "linux" || err != nil {
		return errors.New("there is no apt-get to install it with")
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may install it: sudo apt-get install %s", packages[0])
	}
	aptLock.Lock()
	defer aptLock.Unlock()
	allow, err := refuseServices()
	if err != nil {
		return err
	}
	if err := runApt(ctx, apt, "update"); err != nil {
		return errors.Join(err, allow())
	}
	args := []string{"install", "-y", "--no-install-recommends",
		"-o", "Dpkg::Options::=--force-confold", // keep the file of refuseMainCluster, ask nothing
	}
	return errors.Join(runApt(ctx, apt, append(args, packages...)...), allow())
}

// refuseServices keeps packages from starting what they install, unless somebody has decided on that already.
func refuseServices() (allow func() error, err error) {
	const file = "/usr/sbin/policy-rc.d"
	if _, err := os.Stat(file); err == nil {
		return func() error { return nil }, nil
	}
	// 101 is "forbidden by policy" to invoke-rc.d.
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return nil, fmt.Errorf("prepare the installation: %w", err)
	}
	return func() error { return os.Remove(file) }, nil
}

func runApt(ctx context.Context, apt string, args ...string) error {
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastBytes(output, logTailSize))
	}
	return nil
}

func lastBytes(data []byte, n int) []byte { return data[max(0, len(data)-n):] }
