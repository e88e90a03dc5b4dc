package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	defaultReadyTimeout = 60 * time.Second
	defaultStopTimeout  = 20 * time.Second
	// outputGrace is how long output is still read from helpers that outlive their program.
	outputGrace = time.Second
	logTailSize = 2_000 // bytes of the log that an error repeats
)

// ProcessOptions describe a child process.
type ProcessOptions struct {
	Name string   // for messages, such as "Temporal"
	Path string   // the program
	Args []string // without the program's name
	Env  []string // "KEY=value", on top of this process's environment
	Dir  string   // working directory; empty: this process's

	LogFile string // stdout and stderr are appended here
	PIDFile string // optional; the same program left running under this file by an earlier run is stopped first

	// The process is ready when a line of its stdout starts with ReadyLine and Ready, called again and again,
	// returns nil. Either may be left out.
	ReadyLine    string
	Ready        func(context.Context) error
	ReadyTimeout time.Duration // 60 s when 0

	StopSignal  syscall.Signal // SIGTERM when 0
	StopTimeout time.Duration  // 20 s when 0; then SIGKILL
	// OrphanSignal is what the kernel sends when this process dies, however it dies; SIGKILL when 0. Linux only.
	OrphanSignal syscall.Signal
	Credential   *syscall.Credential // user to run as; nil: the same
}

// Process is a child process in a process group of its own. Its methods may be called from several goroutines, but
// Restart, Stop and Kill not at the same time.
type Process struct {
	opts ProcessOptions

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; set before done is closed
}

// StartProcess starts a program and returns when it is ready. The context bounds the start, not the life of
// the process.
func StartProcess(ctx context.Context, opts ProcessOptions) (*Process, error) {
	if opts.ReadyTimeout == 0 {
		opts.ReadyTimeout = defaultReadyTimeout
	}
	if opts.StopTimeout == 0 {
		opts.StopTimeout = defaultStopTimeout
	}
	if opts.StopSignal == 0 {
		opts.StopSignal = syscall.SIGTERM
	}
	if opts.OrphanSignal == 0 {
		opts.OrphanSignal = syscall.SIGKILL
	}
	if opts.PIDFile != "" {
		if err := stopLeftOver(ctx, opts.PIDFile, opts.Path); err != nil {
			return nil, fmt.Errorf("stop %s of an earlier run: %w", opts.Name, err)
		}
	}
	p := &Process{opts: opts}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Process) start(ctx context.Context) error {
	logFile, err := os.OpenFile(p.opts.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.opts.Name, err)
	}
	defer logFile.Close() // the child has its own descriptor

	cmd := exec.Command(p.opts.Path, p.opts.Args...)
	cmd.Dir = p.opts.Dir
	cmd.Env = append(os.Environ(), p.opts.Env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttributes(p.opts.OrphanSignal, p.opts.Credential)
	cmd.WaitDelay = outputGrace
	lineSeen := make(chan struct{})
	if p.opts.ReadyLine == "" {
		close(lineSeen)
	} else {
		output, err := os.OpenFile(p.opts.LogFile, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open log of %s: %w", p.opts.Name, err)
		}
		cmd.Stdout = &lineWatcher{out: output, prefix: []byte(p.opts.ReadyLine), seen: lineSeen}
	}
	if err := StartFromLastingThread(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.opts.Name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done, p.err = cmd, done, nil
	p.mu.Unlock()
	go func() {
		err := cmd.Wait()
		if watcher, ok := cmd.Stdout.(*lineWatcher); ok {
			_ = watcher.out.Close() // only copies of what the child wrote
		}
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
	if p.opts.PIDFile != "" {
		if err := writePID(p.opts.PIDFile, cmd.Process.Pid); err != nil {
			return errors.Join(err, p.Kill())
		}
	}
	if err := p.waitReady(ctx, lineSeen); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

func (p *Process) waitReady(ctx context.Context, lineSeen <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, p.opts.ReadyTimeout)
	defer cancel()
	select {
	case <-lineSeen:
	case <-p.Done():
		return fmt.Errorf("%s ended while starting: %w%s", p.opts.Name, p.exitError(), p.logTail())
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w%s", p.opts.Name, ctx.Err(), p.logTail())
	}
	if p.opts.Ready == nil {
		return nil
	}
	var last error
	ready := poll(ctx, func() bool {
		last = p.opts.Ready(ctx)
		return last == nil || !p.Running()
	})
	switch {
	case last == nil:
		return nil
	case ready:
		return fmt.Errorf("%s ended while starting: %w%s", p.opts.Name, p.exitError(), p.logTail())
	default:
		return fmt.Errorf("%s is not ready: %w: %w%s", p.opts.Name, ctx.Err(), last, p.logTail())
	}
}

// PID is the process id of the current incarnation.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Done is closed when the process has ended. After Restart there is a new channel.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// LogFile is where the process's output goes.
func (p *Process) LogFile() string { return p.opts.LogFile }

// Signal sends a signal to the process, not to its children; to one that has ended it does nothing.
func (p *Process) Signal(signal syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := syscall.Kill(p.PID(), signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to %s: %w", signal, p.opts.Name, err)
	}
	return nil
}

// Stop asks the process to end and waits. When StopTimeout passes or ctx ends first, it is killed and an
// error returned.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(p.opts.StopSignal); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.StopTimeout)
	defer cancel()
	select {
	case <-p.Done():
		return p.removePIDFile()
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not stop in time and was killed", p.opts.Name), p.Kill())
	}
}

// Kill sends SIGKILL to the whole process group and waits for the end.
func (p *Process) Kill() error {
	if p.Running() {
		if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %s: %w", p.opts.Name, err)
		}
	}
	<-p.Done()
	return p.removePIDFile()
}

// Restart starts the process again with the same options, after stopping it when it still runs.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.start(ctx)
}

func (p *Process) removePIDFile() error {
	if p.opts.PIDFile == "" {
		return nil
	}
	if err := os.Remove(p.opts.PIDFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pid file of %s: %w", p.opts.Name, err)
	}
	return nil
}

func (p *Process) exitError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// logTail is the end of the log, to be put behind an error.
func (p *Process) logTail() string {
	file, err := os.Open(p.opts.LogFile)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > logTailSize {
		if _, err := file.Seek(-logTailSize, io.SeekEnd); err != nil {
			return ""
		}
	}
	tail, err := io.ReadAll(file)
	if err != nil || len(bytes.TrimSpace(tail)) == 0 {
		return ""
	}
	return fmt.Sprintf("\nend of %s:\n%s", p.opts.LogFile, strings.TrimSpace(string(tail)))
}

// lineWatcher copies output to a file and closes seen at the first line that starts with prefix.
type lineWatcher struct {
	out    *os.File
	prefix []byte
	seen   chan struct{}
	line   []byte
	found  bool
}

func (w *lineWatcher) Write(data []byte) (int, error) {
	if !w.found {
		w.line = append(w.line, data...)
		for {
			line, rest, complete := bytes.Cut(w.line, []byte("\n"))
			if !complete {
				break
			}
			w.line = rest
			if bytes.HasPrefix(line, w.prefix) {
				w.found, w.line = true, nil
				close(w.seen)
				break
			}
		}
	}
	return w.out.Write(data)
}

// starts are done by one goroutine that keeps its thread: the kernel sends OrphanSignal when the *thread* that started
// the child ends, and the Go runtime may end any other one.
var starts = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

// StartFromLastingThread starts a child that is to be sent OrphanSignal when this process ends, and not before.
func StartFromLastingThread(cmd *exec.Cmd) error {
	result := make(chan error)
	starts() <- func() { result <- cmd.Start() }
	return <-result
}
