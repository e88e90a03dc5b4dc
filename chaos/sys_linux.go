package main

import "syscall"

// childAttributes put a child into a process group of its own and end it when this program dies, however it dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
