package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/webhook"
)

// ErrSecretNeeded: an endpoint can't be set up without a secret.
var ErrSecretNeeded = errors.New("a new endpoint needs a secret")

// WebhookEndpoint is where a project's own server is told of its orders.
type WebhookEndpoint struct {
	ProjectID     int32
	URL           string
	Enabled       bool
	Format        int // of bodies
	Events        []webhook.Event
	Version       int64 // of these settings
	PreviousUntil *time.Time
	UpdatedAt     time.Time

	secret, previous string
}

func endpointOf(row sqlc.WebhookEndpoint) WebhookEndpoint {
	e := WebhookEndpoint{
		ProjectID:     row.ProjectID,
		URL:           row.Url,
		Enabled:       row.IsEnabled,
		Format:        int(row.Format),
		Version:       row.Version,
		PreviousUntil: row.PreviousUntil,
		UpdatedAt:     row.UpdatedAt,
		secret:        row.Secret,
		previous:      orZero(row.PreviousSecret),
	}
	for _, event := range row.Events {
		e.Events = append(e.Events, webhook.Event(event))
	}
	return e
}

// Secrets are those that sign at this moment, the current one first.
func (e WebhookEndpoint) Secrets(now time.Time) []string {
	if e.PreviousUntil != nil && now.Before(*e.PreviousUntil) {
		return []string{e.secret, e.previous}
	}
	return []string{e.secret}
}

// GetWebhookEndpoint reads a project's endpoint; ErrNotFound when it has none.
func (db *DB) GetWebhookEndpoint(ctx context.Context, projectID int32) (WebhookEndpoint, error) {
	row, err := db.q.GetWebhookEndpoint(ctx, projectID)
	if err != nil {
		return WebhookEndpoint{}, notFound(err)
	}
	return endpointOf(row), nil
}

// WebhookEdit replaces a project's endpoint. The caller has checked it.
type WebhookEdit struct {
	ProjectID     int32
	URL           string
	Secret        string     // empty: the one that is there
	PreviousUntil *time.Time // how long the secret before it signs, too; nil: as long as it would, and RotationOverlap after a change
	Enabled       bool
	Format        int
	Events        []webhook.Event
	Version       int64 // which the edit must find; 0: any
	Actor         string
}

// PutWebhookEndpoint sets a project's endpoint up, or changes it. It fails with ErrConflict when the version
// is another, and with ErrSecretNeeded.
func (db *DB) PutWebhookEndpoint(ctx context.Context, edit WebhookEdit, now time.Time) (e WebhookEndpoint, err error) {
	now = now.UTC().Truncate(time.Microsecond)
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.LockWebhookEndpoint(ctx, edit.ProjectID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			err = addEndpoint(ctx, q, edit, now)
		case err == nil:
			err = changeEndpoint(ctx, q, endpointOf(row), edit, now)
		}
		if err != nil {
			return err
		}
		if row, err = q.GetWebhookEndpoint(ctx, edit.ProjectID); err != nil {
			return fmt.Errorf("read endpoint: %w", err)
		}
		e = endpointOf(row)
		told := map[string]any{
			"url":            e.URL,
			"is_enabled":     e.Enabled,
			"version":        e.Format,
			"events":         e.Events,
			"secret_changed": edit.Secret != "",
			"previous_until": e.PreviousUntil,
		}
		return audit(ctx, q, edit.ProjectID, edit.Actor, "webhook.update", strconv.Itoa(int(edit.ProjectID)), told, now)
	})
	return e, err
}

func addEndpoint(ctx context.Context, q *sqlc.Queries, edit WebhookEdit, now time.Time) error {
	switch {
	case edit.Version != 0:
		return ErrConflict
	case edit.Secret == "":
		return ErrSecretNeeded
	}
	added, err := q.InsertWebhookEndpoint(ctx, sqlc.InsertWebhookEndpointParams{
		ProjectID: edit.ProjectID,
		Url:       edit.URL,
		Secret:    edit.Secret,
		IsEnabled: edit.Enabled,
		Format:    int16(edit.Format),
		Events:    eventNames(edit.Events),
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("add endpoint: %w", err)
	}
	if added == 0 {
		return ErrConflict // somebody else was faster
	}
	return nil
}

func changeEndpoint(ctx context.Context, q *sqlc.Queries, current WebhookEndpoint, edit WebhookEdit, now time.Time) error {
	if edit.Version != 0 && edit.Version != current.Version {
		return ErrConflict
	}
	params := sqlc.UpdateWebhookEndpointParams{
		ProjectID: edit.ProjectID,
		Url:       edit.URL,
		Secret:    current.secret,
		IsEnabled: edit.Enabled,
		Format:    int16(edit.Format),
		Events:    eventNames(edit.Events),
		Now:       now,
	}
	previous, until := current.previous, current.PreviousUntil
	if edit.Secret != "" && edit.Secret != current.secret {
		params.Secret, previous, until = edit.Secret, current.secret, new(now.Add(webhook.RotationOverlap))
	}
	if edit.PreviousUntil != nil {
		until = edit.PreviousUntil
	}
	if previous != "" && until.After(now) {
		params.PreviousSecret, params.PreviousUntil = &previous, until
	}
	if err := q.UpdateWebhookEndpoint(ctx, params); err != nil {
		return fmt.Errorf("change endpoint: %w", err)
	}
	return nil
}

func eventNames(events []webhook.Event) []string {
	names := make([]string, len(events))
	for i, event := range events {
		names[i] = string(event)
	}
	return names
}
