package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	knownFor   = 10 * time.Second // how long a revoked key may still work
	unknownFor = time.Second      // how long a new key may still be refused
	maxKeySize = 256
	devPrefix  = "dev-" // the fixed keys of `quickpass dev`
)

// keyring finds API keys by their hash and remembers them for a while. Unknown keys have a small memory
// of their own, so that guessing neither fills the one of good keys nor reaches the database each time.
//
// The key is hashed before it is compared with anything, so how long a look-up takes says nothing
// about how much of a guess was right.
type keyring struct {
	db      *postgres.DB
	dev     bool
	clock   func() time.Time
	known   *lru.Cache[[sha256.Size]byte, knownKey]
	unknown *lru.Cache[[sha256.Size]byte, time.Time]
}

type knownKey struct {
	key   postgres.APIKey
	until time.Time
}

func newKeyring(db *postgres.DB, dev bool, clock func() time.Time) (*keyring, error) {
	// Not lru/expirable: it starts a goroutine that can't be stopped.
	known, err := lru.New[[sha256.Size]byte, knownKey](4096)
	if err != nil {
		return nil, err
	}
	unknown, err := lru.New[[sha256.Size]byte, time.Time](256)
	if err != nil {
		return nil, err
	}
	return &keyring{db: db, dev: dev, clock: clock, known: known, unknown: unknown}, nil
}

var errUnauthorized = fail(ProblemCodeUnauthorized, "send a valid key as Authorization: Bearer <key>")

// find tells whose key it is; a failure `unauthorized` when it is nobody's.
func (k *keyring) find(ctx context.Context, key string) (postgres.APIKey, error) {
	if key == "" || len(key) > maxKeySize || (!k.dev && strings.HasPrefix(key, devPrefix)) {
		return postgres.APIKey{}, errUnauthorized
	}
	hash, now := sha256.Sum256([]byte(key)), k.clock()
	if known, ok := k.known.Get(hash); ok && now.Before(known.until) {
		return known.key, nil
	}
	if until, ok := k.unknown.Get(hash); ok && now.Before(until) {
		return postgres.APIKey{}, errUnauthorized
	}
	found, err := k.db.FindAPIKey(ctx, hash[:])
	if errors.Is(err, postgres.ErrNotFound) {
		k.known.Remove(hash)
		k.unknown.Add(hash, now.Add(unknownFor))
		return postgres.APIKey{}, errUnauthorized
	}
	if err != nil {
		return postgres.APIKey{}, err
	}
	k.known.Add(hash, knownKey{found, now.Add(knownFor)})
	return found, nil
}

// authorize lets a call through when its key has one of the roles that openapi.yaml lists for it.
func (s *Server) authorize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		call := callOf(c.Request().Context())
		switch {
		case call.operation == nil || call.operation.signed:
			return next(c)
		case len(call.operation.auth) > 0:
			if err := s.authorizeV2(c, call); err != nil {
				return err
			}
			return next(c)
		}
		scheme, key, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return errUnauthorized
		}
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.options.RequestTimeout)
		found, err := s.keys.find(ctx, strings.TrimSpace(key))
		cancel()
		if err != nil {
			return err
		}
		call.key = found
		if !slices.Contains(call.operation.roles, found.Role) {
			return fail(ProblemCodeForbidden, "the call is for "+strings.Join(call.operation.roles, ", ")+"; the key's role is "+found.Role)
		}
		return next(c)
	}
}
