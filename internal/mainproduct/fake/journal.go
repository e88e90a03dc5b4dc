package fake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Sync says how safe a line of the books is before the call that wrote it is answered.
type Sync string

const (
	// SyncGroup calls fsync once for all the lines that wait: survives the loss of power, and many
	// concurrent calls share the price. The default.
	SyncGroup Sync = "group"
	// SyncEach calls fsync for every line by itself.
	SyncEach Sync = "each"
	// SyncNever leaves the lines to the operating system: survives kill -9, not the loss of power.
	SyncNever Sync = "never"
)

// journal is an append-only file of lines. A line is appended first, in the order that the books
// decide, and waited for afterwards, outside of their lock.
type journal struct {
	mode Sync
	file *os.File // nil: the books live in memory only

	mu         sync.Mutex
	written    sync.Cond
	pending    []byte // lines not yet given to the file
	spare      []byte // the buffer that the last write emptied
	appended   int64  // lines appended so far
	durable    int64  // lines that are as safe as mode promises
	committing bool   // one caller writes for all
	err        error  // first failure; after a failed fsync nothing can be trusted, so it stays
}

// openJournal opens or creates the file at path and hands every line in it to apply. A torn last line,
// which is what a crash leaves, is cut off; any other bad line is an error.
func openJournal(path string, mode Sync, apply func(line []byte) error) (*journal, error) {
	switch mode {
	case "":
		mode = SyncGroup
	case SyncGroup, SyncEach, SyncNever:
	default:
		return nil, fmt.Errorf("unknown sync mode %q: group, each or never", mode)
	}
	j := &journal{mode: mode}
	j.written.L = &j.mu
	if path == "" {
		return j, nil
	}

	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the books: %w", err)
	}
	if err := replay(file, apply); err != nil {
		return nil, errors.Join(fmt.Errorf("read the books %s: %w", path, err), file.Close())
	}
	j.file = file
	return j, nil
}

func replay(file *os.File, apply func(line []byte) error) error {
	data, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	var good int64
	for number := 1; len(data) > 0; number++ {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		if !ended {
			break
		}
		if err := apply(line); err != nil {
			if len(rest) == 0 {
				break // complete by length only: the disk kept the end of it and not the beginning
			}
			return fmt.Errorf("line %d: %w", number, err)
		}
		good += int64(len(line)) + 1
		data = rest
	}
	// Cut it off, or the next line would be glued to it.
	return file.Truncate(good)
}

// append adds one line and returns the number to wait for.
func (j *journal) append(line []byte) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.appended++
	if j.file == nil {
		j.durable = j.appended
		return j.appended
	}
	j.pending = append(append(j.pending, line...), '\n')
	if j.mode == SyncEach && j.err == nil {
		j.err = j.write(j.pending)
		j.pending, j.durable = j.pending[:0], j.appended
	}
	return j.appended
}

// last is the number of the newest line. Who answers from what is in memory waits for it, as the line
// behind the answer may not be safe yet.
func (j *journal) last() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.appended
}

// wait returns when line number n is as safe as the mode promises. The first caller that finds nobody
// writing writes for all who wait.
func (j *journal) wait(n int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.err == nil && j.durable < n {
		if j.committing {
			j.written.Wait()
			continue
		}
		lines, upTo := j.pending, j.appended
		j.pending, j.committing = j.spare[:0], true
		j.mu.Unlock()
		err := j.write(lines)
		j.mu.Lock()
		j.spare, j.committing = lines, false
		if err != nil {
			j.err = err
		} else {
			j.durable = upTo
		}
		j.written.Broadcast()
	}
	return j.err
}

func (j *journal) write(lines []byte) error {
	if _, err := j.file.Write(lines); err != nil {
		return fmt.Errorf("write the books: %w", err)
	}
	if j.mode == SyncNever {
		return nil
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("sync the books: %w", err)
	}
	return nil
}

// truncate forgets every line.
func (j *journal) truncate() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.committing {
		j.written.Wait()
	}
	j.pending, j.durable = j.pending[:0], j.appended
	if j.file == nil {
		return nil
	}
	if err := j.file.Truncate(0); err != nil {
		return fmt.Errorf("truncate the books: %w", err)
	}
	return nil
}

// close writes what is pending and closes the file.
func (j *journal) close() error {
	err := j.wait(j.last())

	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return err
	}
	if j.err == nil {
		j.err = errors.New("the books are closed")
	}
	return errors.Join(err, j.file.Close())
}
