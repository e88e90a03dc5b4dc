package devstack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const loopback = "127.0.0.1"

// Free ports are chosen below the range that the system gives to outgoing connections (32768 and up on Linux).
// A port inside it could be lost to some client while a killed server is not yet started again.
const (
	firstFreePort = 20_000
	lastFreePort  = 32_000
	freePortTries = 200
)

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on at this moment.
func FreePort() (int, error) {
	for range freePortTries {
		port := firstFreePort + rand.IntN(lastFreePort-firstFreePort) //nolint:gosec // a port, not a secret
		if portFree(port) {
			return port, nil
		}
	}
	return 0, errors.New("no free port found on " + loopback)
}

// CheckPort returns an error that names the setting to change when port is taken.
func CheckPort(port int, setting string) error {
	if portFree(port) {
		return nil
	}
	return fmt.Errorf("port %d is taken by another program; set %s to a free one", port, setting)
}

func portFree(port int) bool {
	listener, err := net.Listen("tcp", hostPort(port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

func hostPort(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// choosePort returns port when it is free, or any free port for 0.
func choosePort(port int, setting string) (int, error) {
	if port == 0 {
		return FreePort()
	}
	return port, CheckPort(port, setting)
}
