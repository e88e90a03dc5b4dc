package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/quickpass/quickpass/internal/devstack"
)

// process is a child whose exit code matters: a SIGTERM must end in 0. (devstack's processes do not tell theirs.)
type process struct {
	path string
	args []string
	env  []string
	log  string                      // stdout and stderr are appended here
	up   func(context.Context) error // nil when the process serves; the field may be nil

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := devstack.StartFromLastingThread(cmd); err != nil {
		return err
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
		close(done)
	}()
	return p.waitUp(ctx)
}

func (p *process) waitUp(ctx context.Context) error {
	for p.up != nil {
		err := p.up(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended():
			return fmt.Errorf("ended while starting with exit code %d, see %s", p.exitCode(), p.log)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// ended is closed when the process is over.
func (p *process) ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// exitCode is -1 for a process that a signal ended. Only for one that has ended.
func (p *process) exitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) kill() error {
	p.signal(syscall.SIGKILL)
	<-p.ended()
	return nil
}

// signal goes to the whole process group; to one that is gone it does nothing.
func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done: // its number may be another's by now
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, signal)
	}
}

// terminate asks the process to end and fails when it does not, or not with exit code 0.
func (p *process) terminate(bound time.Duration) error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended():
	case <-time.After(bound):
		return errors.Join(fmt.Errorf("still ran %s after SIGTERM", bound), p.kill())
	}
	if code := p.exitCode(); code != 0 {
		return fmt.Errorf("ended with exit code %d after SIGTERM", code)
	}
	return nil
}

// pause waits, or returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
