package api

import (
	"errors"
	"strconv"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
)

const defaultLimit = 50

func limitOf(limit *int) int {
	if limit == nil {
		return defaultLimit
	}
	return *limit
}

// page cuts a list that was read with one row too many, and says where the next page starts after.
func page[T any](rows []T, limit int, cursor func(T) string) (items []T, next *string) {
	if len(rows) <= limit {
		return rows, nil
	}
	return rows[:limit], new(cursor(rows[limit-1]))
}

// each maps a list; never to null in JSON.
func each[T, B any](rows []T, body func(T) B) []B {
	bodies := make([]B, len(rows))
	for i, row := range rows {
		bodies[i] = body(row)
	}
	return bodies
}

// entryCursor is the number of the entry that a list goes on after; 0 for the start. The pattern in openapi.yaml
// keeps it within an int64.
func entryCursor(cursor *string) (int64, error) {
	number, err := strconv.ParseInt(or(cursor, "0"), 10, 64)
	if err != nil {
		return 0, invalid("cursor", "must be the next_cursor of the page before")
	}
	return number, nil
}

// value of an optional field, zero when it was left out.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// or is the value of an optional field or its default.
func or[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

// orElse names what was not found.
func orElse(err error, missing *failure) error {
	if errors.Is(err, postgres.ErrNotFound) {
		return missing
	}
	return err
}
