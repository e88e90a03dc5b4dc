package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// ErrCatalogChanged: tasks were edited since the catalog was read; read it again.
var ErrCatalogChanged = errors.New("the catalog of tasks has changed")

// EventBatch is a batch of events of one project, to be counted by its tasks as of a revision.
type EventBatch struct {
	ProjectID int32
	Events    []tasks.Received
	Catalog   *tasks.Catalog
	Revision  int64 // of the catalog
}

// CountedEvents is what became of a batch.
type CountedEvents struct {
	Duplicates []bool             // of each event
	Tell       []TaskWindowChange // those whose workflows must be started or told: opened, or completed
}

// CountEvents is the commit point of event intake: each event is kept once by its key, counted in the windows of its
// user, and windows that reach their target are completed, all or nothing. Two round trips and at most eight
// statements, whatever the size of the batch; of the events themselves nothing is read back.
//
// ErrCatalogChanged asks for a newer catalog; nothing is written then.
func (db *DB) CountEvents(ctx context.Context, b EventBatch, now time.Time) (counted CountedEvents, err error) {
	now = now.Truncate(time.Microsecond)
	for range raceRetries {
		counted, err = db.countOnce(ctx, b, now)
		if !violates(err, "task_windows_number") { // another batch opened the same window; now it is found
			break
		}
	}
	if err != nil {
		return CountedEvents{}, fmt.Errorf("count events: %w", err)
	}
	return counted, nil
}

func (db *DB) countOnce(ctx context.Context, b EventBatch, now time.Time) (CountedEvents, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return CountedEvents{}, err
	}
	defer conn.Release()
	defer rollback(conn) // changes nothing after the commit

	claim := claimOf(b.Events)
	facts, err := readEventFacts(ctx, conn, b, claim, now)
	if err != nil {
		return CountedEvents{}, err
	}
	duplicates := claim.duplicates(b.Events, facts.claimed)
	news := make([]tasks.Received, 0, len(facts.claimed))
	batch := tasks.Batch{
		Now:         now,
		Events:      make([]tasks.Event, 0, len(facts.claimed)),
		Catalog:     b.Catalog,
		Users:       facts.users,
		Windows:     facts.windows,
		NewWindowID: func() string { return xid.New().String() },
	}
	for i, event := range b.Events {
		if !duplicates[i] {
			news = append(news, event)
			batch.Events = append(batch.Events, event.Event)
		}
	}
	outcome := tasks.CountBatch(batch)
	if err := writeCounted(ctx, conn, b, news, claim.repeats(facts.claimed), outcome, facts.locked, now); err != nil {
		return CountedEvents{}, err
	}
	return CountedEvents{Duplicates: duplicates, Tell: toTell(b, outcome, facts.locked)}, nil
}

// eventClaim is the distinct keys of a batch, with how often each is in it.
type eventClaim struct {
	keys  []pgtype.UUID
	times map[[16]byte]int32
}

func claimOf(events []tasks.Received) eventClaim {
	claim := eventClaim{times: make(map[[16]byte]int32, len(events))}
	for _, event := range events {
		if claim.times[event.Key]++; claim.times[event.Key] == 1 {
			claim.keys = append(claim.keys, pgtype.UUID{Bytes: event.Key, Valid: true})
		}
	}
	return claim
}

// duplicates says of each event whether an earlier batch or an earlier event of this one has its key.
func (c eventClaim) duplicates(events []tasks.Received, claimed map[[16]byte]bool) []bool {
	duplicates := make([]bool, len(events))
	first := make(map[[16]byte]bool, len(claimed))
	for i, event := range events {
		duplicates[i] = !claimed[event.Key] || first[event.Key]
		first[event.Key] = true
	}
	return duplicates
}

// repeats counts the further deliveries in this batch.
func (c eventClaim) repeats(claimed map[[16]byte]bool) (repeats sqlc.CountDuplicatesParams) {
	for _, key := range c.keys {
		times := c.times[key.Bytes]
		if claimed[key.Bytes] {
			times--
		}
		if times > 0 {
			repeats.Keys, repeats.Times = append(repeats.Keys, key), append(repeats.Times, times)
		}
	}
	return repeats
}

type eventFacts struct {
	claimed map[[16]byte]bool // keys that nobody had
	users   map[string]tasks.User
	windows map[string][]tasks.Window
	locked  map[string]windowPlace
}

// readEventFacts begins the transaction, claims the keys, and reads and locks what the rules ask for.
func readEventFacts(ctx context.Context, conn *pgxpool.Conn, b EventBatch, claim eventClaim, now time.Time) (eventFacts, error) {
	users := usersOf(b.Events)
	facts := eventFacts{claimed: make(map[[16]byte]bool, len(claim.keys)), users: make(map[string]tasks.User, len(users)),
		windows: make(map[string][]tasks.Window, len(users)), locked: make(map[string]windowPlace, len(users))}
	var batch pgx.Batch
	batch.Queue("begin")
	batch.Queue(sqlc.TaskCatalogRevision, b.ProjectID).QueryRow(func(row pgx.Row) error {
		var revision int64
		if err := row.Scan(&revision); err != nil {
			return err
		}
		if revision != b.Revision {
			return ErrCatalogChanged
		}
		return nil
	})
	readAll(&batch, func(key pgtype.UUID) error {
		facts.claimed[key.Bytes] = true
		return nil
	}, pgx.RowTo[pgtype.UUID], sqlc.ClaimEventKeys, now, claim.keys)
	readAll(&batch, func(row sqlc.ReadTaskUsersRow) (err error) {
		facts.users[row.UserID], err = taskUserOf(row)
		return err
	}, pgx.RowToStructByPos[sqlc.ReadTaskUsersRow], sqlc.ReadTaskUsers, now, users)
	if required := b.Catalog.RequiredTasks(); len(required) > 0 {
		readAll(&batch, func(row sqlc.FirstCompletionsRow) error {
			facts.users[row.UserID].CompletedAt[row.TaskID] = row.CompletedAt
			return nil
		}, pgx.RowToStructByPos[sqlc.FirstCompletionsRow], sqlc.FirstCompletions, b.ProjectID, users, required)
	}
	batch.Queue(lockEventWindows, users, b.ProjectID).Query(func(rows pgx.Rows) error {
		return readEventWindows(rows, func(window tasks.Window, at windowPlace) error {
			if _, known := b.Catalog.Task(window.TaskID, window.Version); !known && window.State == tasks.Open {
				return ErrCatalogChanged // it was opened under a version that was then the latest
			}
			facts.locked[window.WindowID] = at
			facts.windows[window.UserID] = append(facts.windows[window.UserID], window)
			return nil
		})
	})
	return facts, conn.SendBatch(ctx, &batch).Close()
}

// readAll queues a query each of whose rows goes to use.
func readAll[Row any](batch *pgx.Batch, use func(Row) error, scan pgx.RowToFunc[Row], query string, args ...any) {
	batch.Queue(query, args...).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, scan)
		for _, row := range found {
			err = errors.Join(err, use(row))
		}
		return err
	})
}

func usersOf(events []tasks.Received) []string {
	users := make([]string, len(events))
	for i, event := range events {
		users[i] = event.UserID
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// writeCounted writes the batch and commits.
func writeCounted(ctx context.Context, conn *pgxpool.Conn, b EventBatch, news []tasks.Received, repeats sqlc.CountDuplicatesParams, outcome tasks.Outcome, locked map[string]windowPlace, now time.Time) error {
	var batch pgx.Batch
	q := sqlc.New(queue{&batch})
	write := func(needed bool, statement func() error) error {
		if !needed {
			return nil
		}
		return statement()
	}
	events, err := eventColumns(b.ProjectID, news, outcome.Decisions, now)
	if err != nil {
		return err
	}
	opened, err := openedColumns(b.ProjectID, outcome.Opened, now)
	if err != nil {
		return err
	}
	changed, err := countInWindowsArgs(outcome.Changed, locked, now)
	if err != nil {
		return err
	}
	if err := errors.Join(
		write(len(news) > 0, func() error { return q.WriteEvents(ctx, events) }),
		write(len(outcome.Changed) > 0, func() error { batch.Queue(countInWindows, changed...); return nil }),
		write(len(outcome.Opened) > 0, func() error { return q.OpenWindows(ctx, opened) }),
		write(len(repeats.Keys) > 0, func() error { return q.CountDuplicates(ctx, repeats) }),
	); err != nil {
		return err
	}
	batch.Queue("commit")
	return conn.SendBatch(ctx, &batch).Close()
}

func eventColumns(projectID int32, events []tasks.Received, decisions [][]tasks.Decision, now time.Time) (sqlc.WriteEventsParams, error) {
	n := len(events)
	columns := sqlc.WriteEventsParams{
		ProjectID:  projectID,
		Now:        now,
		Keys:       make([]pgtype.UUID, 0, n),
		EventIds:   make([]string, 0, n),
		Identities: make([]string, 0, n),
		Sources:    make([]string, 0, n),
		UserIds:    make([]string, 0, n),
		EventTypes: make([]string, 0, n),
		OccurredAt: make([]time.Time, 0, n),
		Payloads:   make([]string, 0, n),
		Decisions:  make([]string, 0, n),
	}
	for i, event := range events {
		decided, err := decisionsColumn(decisions[i])
		if err != nil {
			return columns, err
		}
		columns.Keys = append(columns.Keys, pgtype.UUID{Bytes: event.Key, Valid: true})
		columns.EventIds = append(columns.EventIds, event.ID)
		columns.Identities = append(columns.Identities, string(event.IdentifiedBy))
		columns.Sources = append(columns.Sources, event.Source)
		columns.UserIds = append(columns.UserIds, event.UserID)
		columns.EventTypes = append(columns.EventTypes, event.Type)
		columns.OccurredAt = append(columns.OccurredAt, event.OccurredAt)
		columns.Payloads = append(columns.Payloads, string(event.Payload))
		columns.Decisions = append(columns.Decisions, decided)
	}
	return columns, nil
}

// decisionsColumn writes by hand what most events are, counted for one task, because the general way takes
// longer than the rules.
func decisionsColumn(decisions []tasks.Decision) (string, error) {
	if len(decisions) == 0 {
		return "", nil
	}
	buffer := make([]byte, 0, 128*len(decisions))
	for i, d := range decisions {
		if d.Code != tasks.Counted || d.Values != nil || d.Added == nil {
			encoded, err := json.Marshal(decisions)
			return string(encoded), err
		}
		if i == 0 {
			buffer = append(buffer, '[')
		} else {
			buffer = append(buffer, ',')
		}
		buffer = strconv.AppendInt(append(buffer, `{"task_id":`...), d.TaskID, 10)
		buffer = strconv.AppendInt(append(buffer, `,"version":`...), d.Version, 10)
		buffer = append(append(buffer, `,"window_id":"`...), d.WindowID...)
		buffer = append(append(buffer, `","code":"counted","added":"`...), d.Added.String()...)
		buffer = append(buffer, `"}`...)
	}
	return string(append(buffer, ']')), nil
}

func openedColumns(projectID int32, windows []tasks.Window, now time.Time) (sqlc.OpenWindowsParams, error) {
	columns := sqlc.OpenWindowsParams{ProjectID: projectID, Now: now}
	for _, window := range windows {
		seen, err := seenColumn(window)
		if err != nil {
			return columns, err
		}
		columns.WindowIds = append(columns.WindowIds, window.WindowID)
		columns.UserIds = append(columns.UserIds, window.UserID)
		columns.TaskIds = append(columns.TaskIds, window.TaskID)
		columns.Versions = append(columns.Versions, window.Version)
		columns.Numbers = append(columns.Numbers, int32(window.Number))
		columns.Anchors = append(columns.Anchors, window.Anchor)
		columns.ActivatedAt = append(columns.ActivatedAt, window.ActivatedAt)
		columns.EndsAt = append(columns.EndsAt, window.EndsAt)
		columns.ClosesAt = append(columns.ClosesAt, window.ClosesAt)
		columns.TimeZones = append(columns.TimeZones, window.TimeZone)
		columns.Targets = append(columns.Targets, window.Target)
		columns.Progress = append(columns.Progress, window.Progress)
		columns.Seen = append(columns.Seen, seen)
		columns.States = append(columns.States, string(window.State))
		columns.CompletedAt = append(columns.CompletedAt, completedColumn(window, now))
	}
	return columns, nil
}

func seenColumn(window tasks.Window) (string, error) {
	if len(window.Seen) == 0 {
		return "", nil
	}
	seen, err := json.Marshal(window.Seen)
	return string(seen), err
}

// completedColumn is only looked at where the window is completed.
func completedColumn(window tasks.Window, now time.Time) time.Time {
	if window.CompletedAt == nil {
		return now
	}
	return *window.CompletedAt
}

// toTell lists the windows whose workflows have something to do.
func toTell(b EventBatch, outcome tasks.Outcome, locked map[string]windowPlace) []TaskWindowChange {
	var tell []TaskWindowChange
	add := func(window tasks.Window, changes int32) {
		task, _ := b.Catalog.Task(window.TaskID, window.Version)
		tell = append(tell, ChangeOf(b.ProjectID, window, task.Name, int(changes)))
	}
	for _, window := range outcome.Opened {
		add(window, 1)
	}
	for _, window := range outcome.Changed {
		if window.State == tasks.Completed {
			add(window, locked[window.WindowID].changes+1)
		}
	}
	return tell
}

// ClaimForEvents stores the key of a request that brings events and tells whether it came before. The events'
// own keys are what keeps a repeat from counting twice; this one refuses another body under the same key.
func (db *DB) ClaimForEvents(ctx context.Context, projectID int32, i *Idempotency, now time.Time) (replayed bool, err error) {
	resource := "events/" + xid.New().String()
	first, err := i.claim(ctx, db.q, projectID, resource, now)
	return first != resource, err
}
