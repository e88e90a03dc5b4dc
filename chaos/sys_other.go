//go:build !linux

package main

import "syscall"

// childAttributes put a child into a process group of its own. Only Linux can tell it that its parent has died.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
