package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// Project is a main product with a catalog of its own, and users whose tokens it vouches for.
type Project struct {
	ProjectID       int32
	Name            string
	JWTSecret       string // of HS256; empty: none such are taken
	JWKSURL         string // where the keys of its users' tokens are; empty: nowhere
	DefaultLocale   string
	DefaultCurrency string
	Zone            *time.Location // of calendar periods
	Sandbox         bool           // orders may be paid with test cards
	OrderTTL        time.Duration  // until an unpaid order expires
	CartTTL         time.Duration  // until an abandoned cart does
	ReminderLead    time.Duration  // before a subscription ends; 0: no reminder
}

// GetProject reads a project; ErrNotFound when there is none.
func (db *DB) GetProject(ctx context.Context, projectID int32) (Project, error) {
	row, err := db.q.GetProject(ctx, projectID)
	if err != nil {
		return Project{}, notFound(err)
	}
	zone, err := time.LoadLocation(row.TimeZone)
	if err != nil {
		return Project{}, fmt.Errorf("project %d: %w", projectID, err)
	}
	project := Project{
		ProjectID:       row.ProjectID,
		Name:            row.Name,
		DefaultLocale:   row.DefaultLocale,
		DefaultCurrency: row.DefaultCurrency,
		Zone:            zone,
		Sandbox:         row.Sandbox,
		OrderTTL:        time.Duration(row.OrderSeconds) * time.Second,
		CartTTL:         time.Duration(row.CartSeconds) * time.Second,
		ReminderLead:    time.Duration(row.ReminderSeconds) * time.Second,
	}
	if row.JwtSecret != nil {
		project.JWTSecret = *row.JwtSecret
	}
	if row.JwksUrl != nil {
		project.JWKSURL = *row.JwksUrl
	}
	return project, nil
}

// CreateProject adds a project with the defaults of all settings, under an id of its own or the next one (0),
// and returns the id. It fails with ErrConflict when the id is taken.
func (db *DB) CreateProject(ctx context.Context, projectID int32, name, actor string, now time.Time) (created int32, err error) {
	var wanted *int32
	if projectID != 0 {
		wanted = &projectID
	}
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		if created, err = q.InsertProject(ctx, sqlc.InsertProjectParams{ProjectID: wanted, Name: name, Now: now}); err != nil {
			if violates(err, "projects_pkey") {
				return ErrConflict
			}
			return fmt.Errorf("create project: %w", err)
		}
		return audit(ctx, q, created, actor, "project.create", fmt.Sprint(created), map[string]any{"name": name}, now)
	})
	return created, err
}

// ListProjects lists the ids and names of all projects.
func (db *DB) ListProjects(ctx context.Context) ([]Project, error) {
	rows, err := db.q.ListProjects(ctx)
	if err != nil {
		return nil, fmt.Errorf("list projects: %w", err)
	}
	projects := make([]Project, len(rows))
	for i, row := range rows {
		projects[i] = Project{ProjectID: row.ProjectID, Name: row.Name}
	}
	return projects, nil
}

// EnsureUser makes a user that a token names, once.
func (db *DB) EnsureUser(ctx context.Context, projectID int32, userID string, now time.Time) error {
	if err := db.q.EnsureUser(ctx, sqlc.EnsureUserParams{ProjectID: projectID, UserID: userID, Now: now}); err != nil {
		return fmt.Errorf("ensure user: %w", err)
	}
	return nil
}

// OrderOfToken is the order that a payment token is of.
type OrderOfToken struct {
	OrderID   int64
	UserID    string
	CreatedAt time.Time
}

// FindOrderOfToken finds whose order a payment token is of, by its SHA-256; ErrNotFound when it is nobody's.
func (db *DB) FindOrderOfToken(ctx context.Context, projectID int32, hash []byte) (OrderOfToken, error) {
	row, err := db.q.FindOrderOfToken(ctx, sqlc.FindOrderOfTokenParams{ProjectID: projectID, TokenHash: hash})
	if err != nil {
		return OrderOfToken{}, notFound(err)
	}
	return OrderOfToken(row), nil
}

// ProjectEdit changes a project's settings; nil stays.
type ProjectEdit struct {
	Name            *string
	JWTSecret       *string // empty: none any more
	JWKSURL         *string // empty: nowhere any more
	DefaultLocale   *string
	DefaultCurrency *string
	TimeZone        *string
	Sandbox         *bool
	OrderSeconds    *int32
	CartSeconds     *int32
	ReminderSeconds *int32
}

// EditProject changes a project's settings and returns them; ErrNotFound when there is none. The audit does
// not keep the secret.
func (db *DB) EditProject(ctx context.Context, projectID int32, edit ProjectEdit, actor string, now time.Time) (Project, error) {
	err := db.inTx(ctx, func(q *sqlc.Queries) error {
		if _, err := q.GetProject(ctx, projectID); err != nil {
			return notFound(err)
		}
		err := q.UpdateProject(ctx, sqlc.UpdateProjectParams{
			ProjectID:       projectID,
			Name:            edit.Name,
			JwtSecret:       edit.JWTSecret,
			JwksUrl:         edit.JWKSURL,
			DefaultLocale:   edit.DefaultLocale,
			DefaultCurrency: edit.DefaultCurrency,
			TimeZone:        edit.TimeZone,
			Sandbox:         edit.Sandbox,
			OrderSeconds:    edit.OrderSeconds,
			CartSeconds:     edit.CartSeconds,
			ReminderSeconds: edit.ReminderSeconds,
		})
		if err != nil {
			return fmt.Errorf("edit project: %w", err)
		}
		told := edit
		if told.JWTSecret != nil {
			told.JWTSecret = new("changed")
		}
		return audit(ctx, q, projectID, actor, "project.update", fmt.Sprint(projectID), told, now)
	})
	if err != nil {
		return Project{}, err
	}
	return db.GetProject(ctx, projectID)
}

// AddServerKey stores the key of a project's server by its SHA-256.
func (db *DB) AddServerKey(ctx context.Context, projectID int32, keyID string, hash []byte, actor string, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		err := q.InsertAPIKey(ctx, sqlc.InsertAPIKeyParams{KeyID: keyID, ProjectID: projectID, Role: "server", KeyHash: hash, Now: now})
		if err != nil {
			return fmt.Errorf("add server key: %w", err)
		}
		return audit(ctx, q, projectID, actor, "server_key.create", keyID, nil, now)
	})
}

// RevokeServerKey ends a key of a project's server; ErrNotFound when it has none of that id that still works.
func (db *DB) RevokeServerKey(ctx context.Context, projectID int32, keyID, actor string, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		revoked, err := q.RevokeServerKey(ctx, sqlc.RevokeServerKeyParams{ProjectID: projectID, KeyID: keyID, Now: &now})
		if err != nil {
			return fmt.Errorf("revoke server key: %w", err)
		}
		if revoked == 0 {
			return ErrNotFound
		}
		return audit(ctx, q, projectID, actor, "server_key.revoke", keyID, nil, now)
	})
}
